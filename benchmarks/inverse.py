"""Posterior sampling: errors against closed forms, calibration of what it claims, and three tasks on real digits.

- *closed form*: a linear-Gaussian problem in 16 dimensions, where the posterior of the discretised chain is known:
  errors of mean, covariance and evidence of every proposal with weights, and of the same guidance without;
- *calibration*: a mixture prior in 8 dimensions; x from the plain chain, y given x, then the rank of x among the draws
  given y, which is uniform for a right posterior (simulation-based calibration), and coverage of 90 % intervals;
- *digits*: inpainting, 2 × super-resolution and deblurring of held-out digits by a trained model (`--run FOLDER`, or
  trained here from configs/digits.yaml): see `inverse_digits`.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import fkdiff as fk
from benchmarks import inverse_digits
from benchmarks.common import arguments, folder, save, table
from fkdiff import inverse_problems, smc

PATH, SOLVER = fk.paths.variance_preserving(), fk.solvers.ddim(eta=1.0)
METHODS = {
    # name: (proposal, with weights, data covariance as the reference)
    "adapted": ("adapted", True, False),
    "adapted, data covariance": ("adapted", True, True),
    "ΠGDM": ("pigdm", True, False),
    "TMPD": ("tmpd", True, False),
    "DPS": ("dps", True, False),
    "adapted, no weights": ("adapted", False, False),
    "ΠGDM, no weights": ("pigdm", False, False),
    "TMPD, no weights": ("tmpd", False, False),
    "DPS, no weights": ("dps", False, False),
}
QUICK = ("adapted", "ΠGDM", "ΠGDM, no weights")


def methods(quick: bool) -> dict:
    """All of them, or three for a look."""
    return {name: METHODS[name] for name in QUICK} if quick else METHODS


# Closed form -----------------------------------------------------------------------------------------------


def linear_problem(d: int = 16, m: int = 6):
    """Mean and covariance of the data, A, and an observation with noise 0.3."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(d, d)))[0]
    covariance, mean = (axes * np.geomspace(0.3, 2.0, d)) @ axes.T, 0.7 * rng.normal(size=d)
    operator = rng.normal(size=(m, d)) / np.sqrt(d)
    truth = mean + np.linalg.cholesky(covariance) @ rng.normal(size=d)
    return mean, covariance, operator, operator @ truth + 0.3 * rng.normal(size=m), 0.3


def chain_law(pred, grid, mean, covariance):
    """Mean and covariance that a walk reaches, from the affine steps themselves."""

    @jax.jit
    def affine(t0, t1):
        step = lambda x: SOLVER.step(pred, SOLVER.init(pred, x, t0), t0, t1)[0]  # noqa: E731
        origin = jnp.zeros(pred.shape)
        return jax.jacfwd(lambda x: step(x).mean)(origin), step(origin)

    for t0, t1 in itertools.pairwise(grid):
        slope, step = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), affine(t0, t1))
        mean = slope @ mean + step.mean
        covariance = slope @ covariance @ slope.T + step.scale**2 * np.eye(len(mean))
    return mean, covariance


def closed_form(quick: bool) -> list[dict]:
    """Errors of single runs against the posterior of the discretised chain."""
    count, steps, runs = (512, 16, 4) if quick else (2048, 32, 40)
    mean, covariance, matrix, y, tau = linear_problem()
    pred, grid, rows = fk.targets.gaussian(mean, covariance).predictor(PATH), fk.grid(steps, PATH), []
    operator, d = inverse_problems.matrix(matrix), len(mean)
    alpha, sigma = float(PATH.alpha(PATH.t_min)), float(PATH.sigma(PATH.t_min))
    laws = {
        False: chain_law(pred, grid, np.zeros(d), (alpha**2 + sigma**2) * np.eye(d)),
        True: chain_law(pred, grid, alpha * mean, alpha**2 * covariance + sigma**2 * np.eye(d)),
    }
    for name, (proposal, weighted, informed) in methods(quick).items():
        prior_mean, prior = laws[informed]
        total = matrix @ prior @ matrix.T + tau**2 * np.eye(len(y))
        residual, gain = y - matrix @ prior_mean, prior @ matrix.T @ np.linalg.inv(total)
        law = prior_mean + gain @ residual, prior - gain @ matrix @ prior
        evidence = -0.5 * (residual @ np.linalg.solve(total, residual) + np.linalg.slogdet(2 * np.pi * total)[1])
        reference = (mean, covariance) if informed else (0.0, 1.0)
        model = fk.inverse(pred, SOLVER, operator, y, tau, proposal=proposal, reference=reference)
        many = fk.replicate(jax.random.key(1), runs, model if weighted else smc.unweighted(model), grid, count)
        found = [moment_errors(many.population(r), *law) for r in range(runs)]
        log_z = np.asarray(many.runs.log_normalizer, np.float64) - evidence
        rows.append(
            {
                "method": name,
                "mean error": float(np.mean([f[0] for f in found])),
                "covariance error": float(np.mean([f[1] for f in found])),
                "log p(y) error": float(log_z.mean()) if weighted else "",
                "log p(y) sd": float(log_z.std(ddof=1)) if weighted else "",
                "min ESS / N": float(np.asarray(many.runs.info.ess).min(axis=1).mean() / count) if weighted else "",
                "calls": int(many.runs.info.evaluations[0] + many.runs.info.jvps[0]),
                "N": count,
                "steps": steps,
                "runs": runs,
            }
        )
        print(table(rows[-1:]).splitlines()[1], flush=True)
    rng = np.random.default_rng(2)
    floor = [
        moment_gap(rng.normal(size=(count, d)), np.full(count, 1 / count), np.zeros(d), np.eye(d)) for _ in range(20)
    ]
    rows.append(
        {
            "method": "floor: N exact draws",
            "mean error": float(np.mean([f[0] for f in floor])),
            "covariance error": float(np.mean([f[1] for f in floor])),
            **dict.fromkeys(("log p(y) error", "log p(y) sd", "min ESS / N", "calls"), ""),
            "N": count,
            "steps": steps,
            "runs": 20,
        }
    )
    return rows


def moment_errors(out, mean, covariance) -> tuple[float, float]:
    """Of one run."""
    weights = np.asarray(jax.nn.softmax(out.log_weights), np.float64)
    return moment_gap(np.asarray(out.particles, np.float64), weights, mean, covariance)


def moment_gap(x, weights, mean, covariance) -> tuple[float, float]:
    """RMS error of the mean, and of the covariance's entries, in coordinates where the truth is N(0, I)."""
    z = (x - mean) @ np.linalg.inv(np.linalg.cholesky(covariance)).T
    found = weights @ z
    second = (z * weights[:, None]).T @ z - np.outer(found, found)
    return float(np.sqrt(np.mean(found**2))), float(np.sqrt(np.mean((second - np.eye(len(mean))) ** 2)))


# Calibration -----------------------------------------------------------------------------------------------


def calibration(quick: bool) -> tuple[list[dict], dict[str, np.ndarray]]:
    """Ranks of the truth under each method's posterior, over pairs (x, y) from the chain itself."""
    count, steps, pairs = (128, 16, 60) if quick else (1024, 32, 1000)
    rng, d, tau = np.random.default_rng(7), 8, 0.5
    means = 1.6 * rng.normal(size=(3, d))
    prior = fk.targets.gaussian_mixture(means, rng.uniform(0.1, 0.6, (3, d)), [0.5, 0.3, 0.2])
    pred, grid, operator = (
        prior.predictor(PATH),
        fk.grid(steps, PATH),
        inverse_problems.matrix(rng.normal(size=(2, d)) / np.sqrt(d)),
    )
    plain = (0.0, 1.0)
    truth = fk.integrate(jax.random.key(3), pred, SOLVER, grid, pairs, reference=plain)
    noise = tau * jax.random.normal(jax.random.key(4), (pairs, 2))
    observations = jax.vmap(operator.apply)(truth) + noise
    # Every coordinate, what is observed, and where x lies between two modes: functions of one example, without ties.
    between = jnp.asarray(means[:1] - means[1:2], jnp.float32)
    look = lambda x: jnp.concatenate([x, operator.apply(x), between @ x])  # noqa: E731
    rows, ranks, keys = [], {}, jax.random.split(jax.random.key(5), pairs)
    for name, (proposal, weighted, informed) in methods(quick).items():
        if informed:
            continue

        @eqx.filter_jit
        def ask(keys, ys, truths, proposal=proposal, weighted=weighted):
            def one(pair):
                key, y, x = pair
                model = fk.inverse(pred, SOLVER, operator, y, tau, proposal=proposal, reference=plain)
                out = fk.run_smc(key, model if weighted else smc.unweighted(model), grid, count)
                below = jax.vmap(look)(out.particles) < look(x)[None]
                return jax.nn.softmax(out.log_weights) @ below.astype(x.dtype)

            return jax.lax.map(one, (keys, ys, truths))

        ranks[name] = np.asarray(ask(keys, observations, truth), np.float64)
        rows.append({"method": name, **calibrated(ranks[name]), "pairs": pairs, "N": count, "steps": steps})
        print(table(rows[-1:]).splitlines()[1], flush=True)
    floor = np.random.default_rng(6).uniform(size=(pairs, 11))
    rows.append({"method": "floor: uniform ranks", **calibrated(floor), "pairs": pairs, "N": "", "steps": ""})
    return rows, ranks


def calibrated(ranks: np.ndarray) -> dict:
    """Coverage of 90 % intervals, by function, and the distance of ranks from uniform (Kolmogorov)."""
    covered = ((ranks >= 0.05) & (ranks <= 0.95)).mean(axis=0)
    ordered, n = np.sort(ranks, axis=0), len(ranks)
    steps = np.arange(n)[:, None] / n
    distance = np.maximum(ordered - steps, steps + 1 / n - ordered).max(axis=0)
    return {
        "covered, mean": covered.mean(),
        "covered, lowest": covered.min(),
        "KS, mean": distance.mean(),
        "KS, largest": distance.max(),
        "KS that chance exceeds in 5 %": 1.358 / np.sqrt(n),
    }


def draw(rows: list[dict], ranks: dict[str, np.ndarray]) -> Figure:
    """Errors by method, and distribution functions of the ranks."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = [row["method"] for row in rows]
    for shift, what in ((-0.2, "mean error"), (0.2, "covariance error")):
        left.bar(np.arange(len(rows)) + shift, [row[what] for row in rows], 0.4, label=what)
    left.set_yscale("log")
    left.set_xticks(range(len(rows)), [n.replace(", ", ",\n") for n in names], fontsize=6, rotation=60)
    left.set_title("single runs against the exact posterior, in posterior deviations", fontsize=9)
    left.legend(fontsize=7)
    levels = np.linspace(0, 1, 201)
    right.plot([0, 1], [0, 0], color="grey", lw=0.8, ls=":")
    for name, values in ranks.items():
        gap = (values.reshape(-1)[None] <= levels[:, None]).mean(axis=1) - levels
        right.plot(levels, gap, "--" if "no weights" in name else "-", label=name, lw=1)
    right.set_title("distribution of the truth's rank, less uniform", fontsize=9)
    right.legend(fontsize=6)
    return figure


def main() -> None:
    args = arguments(
        __doc__ or "",
        lambda parser: parser.add_argument("--run", type=Path, default=None, help="a trained run of the digits"),
    )
    args.started = time.time()
    rows = closed_form(args.quick)
    print(table(rows))
    calibration_rows, ranks = calibration(args.quick)
    print(table(calibration_rows))
    digits, picture = inverse_digits.study(args.run, args.quick)
    print(table(digits))
    picture.savefig(folder(args) / "inverse_digits.png", dpi=110)
    save(args, "inverse", rows, draw(rows, ranks), calibration=calibration_rows, digits=digits)


if __name__ == "__main__":
    main()
