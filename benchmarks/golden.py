"""The golden table: every rule on every path, controlled and not, at 64 evaluations and N = 4,096, mean over 6 seeds.

Exact values come from quadrature in `common`. Also the weak order of the exponential step, without and with control.
"""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import fkdiff as fk
from benchmarks.common import arguments, golden, save, table

PATHS = ("variance_preserving", "cosine", "variance_exploding", "linear")
METHODS = {
    # name: (step, steps for 64 evaluations of each model, noise, control)
    "heun, control": ("heun", 32, 0.0, True),
    "rk4, control": ("rk4", 16, 0.0, True),
    "exponential ν=2, control": ("exponential", 64, 2.0, True),
    "exponential ν=2, none": ("exponential", 64, 2.0, False),
}


def run(model, grid, row, num_particles, seeds):
    """Errors of log Z and P(x < 0) over seeds, with ESS and R."""
    found = []
    for seed in range(seeds):
        out = fk.run_smc(jax.random.key(seed), model, grid, num_particles, safety=False)
        left = jax.nn.softmax(out.log_weights) @ (out.particles[:, 0] < 0).astype(jnp.float32)
        low = jnp.min(out.info.ess) / num_particles
        found.append((out.log_normalizer, left, low, out.info.R, out.info.evaluations))
    log_z, left, ess, residual, evaluations = np.asarray(found, np.float64).T
    return {
        "log Z error": (log_z - row.log_z).mean(),
        "sd": log_z.std(ddof=1),
        "P(x<0) error": (left - row.left).mean(),
        "sd P": left.std(ddof=1),
        "min ESS": ess.mean(),
        "R": residual.mean(),
        "evaluations": evaluations.mean(),
    }


def main() -> None:
    args = arguments(__doc__)
    args.started = time.time()
    num_particles, seeds = (512, 2) if args.quick else (4096, 6)
    paths = PATHS[:1] if args.quick else PATHS
    rows = []
    for path_name in paths:
        path = getattr(fk.paths, path_name)()
        for name, row in golden(path).items():
            for method, (step, steps, noise, control) in METHODS.items():
                model = row.target.feynman_kac(step, noise, control)
                found = run(model, fk.grid(steps, path), row, num_particles, seeds)
                rows.append({"path": path_name, "target": name, "method": method, **found})
                print(table(rows[-1:]).splitlines()[1], flush=True)
    order = weak_order(num_particles, seeds, args.quick)
    heun = [row for row in rows if row["method"] == "heun, control"]
    worst = {
        "heun, control: worst |log Z error|": max(abs(r["log Z error"]) for r in heun),
        "heun, control: worst |P(x<0) error|": max(abs(r["P(x<0) error"]) for r in heun),
    }
    print(worst)
    save(args, "golden", rows, draw(rows, order), num_particles=num_particles, seeds=seeds, **worst, weak_order=order)


def weak_order(num_particles, seeds, quick) -> list[dict]:
    """log Z error of A² against the number of exponential steps at ν = 2."""
    path = fk.paths.variance_preserving()
    row, found = golden(path)["A²"], []
    for steps in (16, 32, 64) if quick else (25, 50, 64, 100, 200, 400):
        for control in (False, True):
            model = row.target.feynman_kac("exponential", 2.0, control)
            result = run(model, fk.grid(steps, path), row, num_particles, seeds)
            found.append({"steps": steps, "control": control, **result})
    return found


def draw(rows, order) -> Figure:
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[2, 1])
    targets = list(dict.fromkeys(r["target"] for r in rows))
    for i, method in enumerate(METHODS):
        chosen = [r for r in rows if r["method"] == method]
        at = [targets.index(r["target"]) + 0.18 * (i - 1.5) for r in chosen]
        left.scatter(at, [max(abs(r["log Z error"]), 1e-4) for r in chosen], s=14, label=method)
    left.axhline(0.03, color="grey", lw=0.8, ls=":")
    left.set_yscale("log")
    left.set_xticks(range(len(targets)), targets)
    left.set_ylabel("|mean log Z error| over seeds")
    left.legend(fontsize=7)
    left.set_title("each target on four paths, 64 evaluations per model", fontsize=9)
    for control in (False, True):
        chosen = [r for r in order if r["control"] == control]
        label = "with control" if control else "without"
        right.plot([r["steps"] for r in chosen], [abs(r["log Z error"]) for r in chosen], "o-", ms=3, label=label)
    steps = np.array([r["steps"] for r in order])
    right.plot(steps, 9 / steps, color="grey", lw=0.8, ls=":", label="order 1")
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_xticks(steps, [str(n) for n in steps])
    right.minorticks_off()
    right.set_xlabel("exponential steps, ν = 2")
    right.legend(fontsize=7)
    right.set_title("|log Z error| of A²", fontsize=9)
    return figure


if __name__ == "__main__":
    main()
