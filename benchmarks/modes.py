"""Modes that keep their mass, and a mode that must grow: plain correctors beside control at equal calls.

Powers of separated mixtures in 2, 8 and 32 dimensions, where mode masses and log Z have closed forms. *Balanced*: four
modes of equal width. *Starved*: a mode that has 1 % of the target's mass at the start, where widths do not tell yet,
is so narrow that it holds half of it at the end: it must grow 50-fold. *Unseen*: the same with 0.025 %, about one
particle of 4,096: a mode that no particle starts in leaves no trace, and no diagnostic of one run can see it. The plain
corrector is the published one: ungauged drift, noise 1, Euler–Maruyama, no control.
"""

from __future__ import annotations

import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import fkdiff as fk
from benchmarks.common import arguments, save, table

BETA, WIDTH = 2.0, 0.25  # variance of a wide mode
EARLY = {"starved": 0.01, "unseen": 0.00025}  # mass of the small mode at the start
STEPS = 32  # Heun steps of the controlled run


def problem(kind: str, dimension: int):
    """A mixture, the masses of its modes under the power, and log Z of the power at t_max of `path`."""
    rng = np.random.default_rng(5)
    weights, variances = np.array([0.35, 0.27, 0.22, 0.16]), np.full(4, WIDTH)
    if kind in EARLY:
        early = EARLY[kind]
        # While the modes have one width in the noise, the target's masses are ∝ w^β; later widths decide.
        powers = np.array([0.45, 0.31, 0.24]) ** BETA
        weights = np.append(powers, powers.sum() * early / (1 - early)) ** (1 / BETA)
        weights /= weights.sum()
        variances[3] = WIDTH * (early / (1 - early)) ** (2 / (dimension * (BETA - 1)))
    directions = np.linalg.qr(rng.normal(size=(max(dimension, 4), 4)))[0].T[:, :dimension]
    if dimension == 2:
        angle = np.array([0.3, 1.7, 3.4, 5.0])
        directions = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    means = 4.0 * directions
    path = fk.paths.variance_preserving()
    alpha, sigma = float(path.alpha(path.t_max)), float(path.sigma(path.t_max))
    final = alpha**2 * variances + sigma**2
    log_mass = BETA * np.log(weights) + 0.5 * dimension * ((1 - BETA) * np.log(2 * np.pi * final) - np.log(BETA))
    log_z = np.logaddexp.reduce(log_mass)
    mixture = fk.targets.gaussian_mixture(means, variances, weights)
    return path, mixture, np.exp(log_mass - log_z), log_z


def floor(masses: np.ndarray, count: int) -> float:
    """Mean L1 error of multinomial counts: what exact draws would show."""
    return float(np.sum(np.sqrt(2 * masses * (1 - masses) / (np.pi * count))))


def is_wrong(errors: dict, least: float) -> bool:
    """An answer that should not pass without a doubt: `least` is the multinomial floor of L1."""
    return bool(not errors["L1"] <= max(6 * least, 0.1) or not abs(errors["log Z error"]) <= 0.2)


def methods(pred, dimension: int) -> dict[str, tuple]:
    """Models with their step counts, equal in evaluations + jvps of the moves."""
    target = fk.correctors.anneal(pred, BETA)
    jvps = dimension if dimension <= 4 else 1
    calls = 2 * STEPS * (1 + jvps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fk.FkdiffWarning)
        plain = target.feynman_kac("euler", 1.0, control=False, gauge="published")
    return {"plain FKC": (plain, calls), "control": (target.feynman_kac("heun"), STEPS)}


def measure(out, mixture, masses, log_z, path) -> dict:
    """Errors of one run, and whether `check` doubts it."""
    means = float(path.alpha(path.t_max)) * np.asarray(mixture.means)
    x, weights = np.asarray(out.particles), np.asarray(jax.nn.softmax(out.log_weights), np.float64)
    owner = np.argmin(((x[:, None] - means[None]) ** 2).sum(axis=2), axis=1)
    found = np.bincount(owner, weights=weights, minlength=len(masses))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", fk.FkdiffWarning)
        fk.check(out)
    return {
        "L1": np.abs(found - masses).sum(),
        "log Z error": float(out.log_normalizer) - log_z,
        "min ESS": float(jnp.min(out.info.ess)) / len(x),
        "R": float(out.info.R),
        "flagged": bool(caught),
    }


def main() -> None:
    args = arguments(__doc__)
    args.started = time.time()
    dimensions, counts, seeds = ((2,), (512,), 2) if args.quick else ((2, 8, 32), (4096, 16384), 5)
    rows = []
    for kind in ("balanced", "starved", "unseen"):
        for dimension in dimensions if kind != "unseen" else dimensions[:1]:
            path, mixture, masses, log_z = problem(kind, dimension)
            for count in counts if kind != "unseen" else counts[:1]:
                for method, (model, steps) in methods(mixture.predictor(path), dimension).items():
                    runs = [
                        fk.run_smc(jax.random.key(s), model, fk.grid(steps, path), count, safety=False)
                        for s in range(seeds)
                    ]
                    found = [measure(out, mixture, masses, log_z, path) for out in runs]
                    least = floor(masses, count)
                    wrong = [is_wrong(f, least) for f in found]
                    mean = {k: float(np.mean([f[k] for f in found])) for k in ("L1", "log Z error", "min ESS", "R")}
                    rows.append(
                        {
                            "kind": kind,
                            "d": dimension,
                            "N": count,
                            "method": method,
                            "calls": int(runs[0].info.evaluations + runs[0].info.jvps),
                            **mean,
                            "floor": least,
                            "L1/floor": mean["L1"] / least,
                            "log Z sd": float(np.std([f["log Z error"] for f in found], ddof=1)),
                            "wrong runs": sum(wrong),
                            "of them flagged": sum(w and f["flagged"] for w, f in zip(wrong, found, strict=True)),
                        }
                    )
                    print(table(rows[-1:]).splitlines()[1], flush=True)
    curve = error_against_calls(args.quick)
    print(table(rows))
    missed = dict.fromkeys(dict.fromkeys(r["kind"] for r in rows), 0)
    for row in rows:
        missed[row["kind"]] += row["wrong runs"] - row["of them flagged"]
    print(f"wrong runs that check did not flag: {missed}")
    save(args, "modes", rows, draw(curve), seeds=seeds, unflagged_wrong_runs=missed, error_against_calls=curve)


def error_against_calls(quick: bool) -> list[dict]:
    """Root mean square error of log Z of the balanced 8-D problem against calls per particle."""
    dimension, count, seeds = 8, 512 if quick else 4096, 2 if quick else 5
    path, mixture, _, log_z = problem("balanced", dimension)
    target, found = fk.correctors.anneal(mixture.predictor(path), BETA), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fk.FkdiffWarning)
        choices = {
            "plain FKC": (target.feynman_kac("euler", 1.0, control=False, gauge="published"), 1),
            "gauge alone, exponential ν=2": (target.feynman_kac("exponential", 2.0, control=False), 1),
            "gauge + control, Heun": (target.feynman_kac("heun"), 4),
        }
    for name, (model, per_step) in choices.items():
        for calls in (32, 128) if quick else (32, 64, 128, 256, 512):
            outs = [
                fk.run_smc(jax.random.key(s), model, fk.grid(calls // per_step, path), count, safety=False)
                for s in range(seeds)
            ]
            errors = np.array([float(out.log_normalizer) - log_z for out in outs])
            found.append({"method": name, "calls": calls, "rms log Z error": float(np.sqrt(np.mean(errors**2)))})
            print(found[-1], flush=True)
    return found


def draw(curve) -> Figure:
    figure = Figure(figsize=(5.2, 3.8), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(r["method"] for r in curve):
        chosen = [r for r in curve if r["method"] == name]
        axes.plot([r["calls"] for r in chosen], [r["rms log Z error"] for r in chosen], "o-", ms=4, label=name)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("model calls per particle (evaluations + jvps)")
    axes.set_ylabel("root mean square error of log Z, nats")
    axes.set_title("squaring a balanced mixture in 8 dimensions", fontsize=10)
    axes.legend(fontsize=8)
    return figure


if __name__ == "__main__":
    main()
