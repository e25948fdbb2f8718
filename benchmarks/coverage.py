"""Coverage: do nominal 95 % intervals of log Z and of an expectation hold the truth in 92 to 100 % of 200 runs?

Intervals of a single run, and of `replicate` with 5 populations, for every golden row, by three methods:

- "SDE": noise 1, Heun, 128 steps, control fitted to the population;
- "flow": noise 0, RK4, 32 steps, control fitted to the population (a bias of O(1/N), which no interval knows of);
- "flow, frozen": the same with control frozen from a pilot of 1,024 particles (no such bias).

A flow moves its particles along one map, and where that map leaves a tail of the target empty, a few particles carry
huge weights: log Z is then skewed and no error bar read from the weights is wide enough ((AC)² shows it). Noise mends
that: particles find the tail. Truth is that of the law at t_max.
"""

from __future__ import annotations

import time

import jax
import numpy as np
from matplotlib.figure import Figure

import fkdiff as fk
from benchmarks.common import arguments, golden, save, table
from fkdiff.smc.results.estimate import Estimate

GROUP, PILOT = 5, 1024
METHODS = {
    # name: (step, steps, noise, frozen)
    "SDE": ("heun", 128, 1.0, False),
    "flow": ("rk4", 32, 0.0, False),
    "flow, frozen": ("rk4", 32, 0.0, True),
}


def first(x):
    """The expectation asked for: E x."""
    return x[0]


def main() -> None:
    args = arguments(__doc__)
    args.started = time.time()
    runs, count = (20, 128) if args.quick else (200, 1024)
    path, rows = fk.paths.variance_preserving(), []
    for name, row in golden(path, reached=True).items():
        for method, (step, steps, noise, frozen) in METHODS.items():
            grid, model = fk.grid(steps, path), row.target.feynman_kac(step, noise)
            if frozen:
                model = fk.smc.freeze(jax.random.key(12), model, grid, PILOT)
            many = fk.replicate(jax.random.key(11), runs * GROUP, model, grid, count, safety=False)
            rows.append({"target": name, "method": method, **coverage(many, row, runs)})
            print(table(rows[-1:]).splitlines()[1], flush=True)
    print(table(rows))
    shares = {m: [r[k] for r in rows if r["method"] == m for k in r if "covered" in k] for m in METHODS}
    extremes = {f"{m}: lowest, highest coverage": [min(s), max(s)] for m, s in shares.items()}
    print(extremes)
    save(args, "coverage", rows, draw(rows), runs=runs, num_particles=count, populations=GROUP, **extremes)


def coverage(many, row, runs: int) -> dict:
    """Shares of intervals that hold the truth, and what log Z does."""
    log_z, errors, means, mean_errors = (np.asarray(v, np.float64) for v in _single(many.runs))
    covered = {
        "log Z": hits(log_z[:runs], errors[:runs], row.log_z),
        "E x": hits(means[:runs], mean_errors[:runs], row.mean),
    }
    groups = [_group(many, r) for r in range(runs)]
    for what, pick, truth in (("log Z", 0, row.log_z), ("E x", 1, row.mean)):
        values, spreads = np.asarray([[g[pick].value, g[pick].standard_error] for g in groups], np.float64).T
        covered[f"{what}, replicate"] = hits(values, spreads, truth, GROUP - 1)
    return {
        **{f"covered {what}": share for what, share in covered.items()},
        "log Z bias": log_z.mean() - row.log_z,
        "log Z sd": log_z.std(ddof=1),
        "mean reported sd": errors.mean(),
    }


def hits(values, errors, truth: float, dof: int | None = None) -> float:
    """The share of 95 % intervals that hold the truth."""
    low, high = Estimate(values, errors, dof).interval()
    return float(np.mean((np.asarray(low) <= truth) & (truth <= np.asarray(high))))


def _group(many, r: int) -> tuple[Estimate, Estimate]:
    group = fk.smc.Replicates(jax.tree.map(lambda leaf: leaf[r * GROUP : (r + 1) * GROUP], many.runs))
    return group.evidence, group.expectation(first)


@jax.jit
def _single(runs):
    def one(out):
        estimate = fk.expectation(out, first)
        error = fk.smc.log_normalizer_error(out).standard_error
        return out.log_normalizer, error, estimate.value, estimate.standard_error

    return jax.lax.map(one, runs)


def draw(rows: list[dict]) -> Figure:
    """Coverage of every interval, by target; the band is what is asked for."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    panels = figure.subplots(1, len(METHODS), sharey=True)
    kinds = [name for name in rows[0] if name.startswith("covered")]
    for axes, method in zip(panels, METHODS, strict=True):
        chosen = [r for r in rows if r["method"] == method]
        axes.axhspan(0.92, 1.0, color="0.93")
        axes.axhline(0.95, color="grey", lw=0.8, ls=":")
        for i, kind in enumerate(kinds):
            at = np.arange(len(chosen)) + 0.15 * (i - 1.5)
            axes.scatter(at, [r[kind] for r in chosen], s=16, label=kind.removeprefix("covered "))
        axes.set_xticks(range(len(chosen)), [r["target"] for r in chosen], fontsize=7)
        axes.set_title(method, fontsize=9)
    panels[0].set_ylabel("share of 95 % intervals that hold the truth", fontsize=8)
    panels[-1].legend(fontsize=7, loc="lower left")
    return figure


if __name__ == "__main__":
    main()
