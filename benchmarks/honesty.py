"""Are error bars true? Thousands of runs on random problems whose answers are known in closed form.

    python -m benchmarks.honesty [--runs 120] [--minutes 60]     resumes what results/honesty.json holds

Every cell is a family of random mixtures (see `mixtures`), a dimension and a target: a power, a product of two, or a
quadratic tilt. In every other cell the models keep their densities to themselves, as networks do. VP path, Heun, 32
steps, 1,024 particles, everything else by default. Of each run are kept the error of log Z and of the mass of a
half-space whose true value is ½, their bars, the doubts and the calls; the same runs without the safety runs stand
beside. A run is *confident and wrong* where nothing is doubted and some error exceeds 4 bars and 0.05.
"""

from __future__ import annotations

import json
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from scipy.stats import beta as beta_law

import fkdiff as fk
from benchmarks.common import arguments, folder, save, table
from benchmarks.mixtures import Mixture, family, predictor

PATH = fk.paths.variance_preserving()
STEPS, PARTICLES = 32, 1024
FAMILIES = {"ridge": (2, 4), "cov": (2, 4, 8, 16), "sep": (2, 8), "funnel": (6,)}
TARGETS = ("power 2", "power 3", "product", "tilt")
EXTREME = {("ridge", 2, "power 4"), ("cov", 2, "power 4")}


class Quadratic(eqx.Module):
    """−½ (x − centre)ᵀ precision (x − centre)."""

    centre: jax.Array
    precision: jax.Array

    def __call__(self, x):
        gap = x - self.centre
        return -0.5 * gap @ self.precision @ gap


def problem(cell: tuple[str, int, str], seed: int):
    """A corrector's target and its exact law at t_max."""
    name, dimension, target = cell
    rng = np.random.default_rng([seed, dimension, *name.encode(), *target.encode()])
    law = family(name, rng, dimension)
    known = (dimension // 2 + TARGETS.index(target)) % 2 == 0 if target in TARGETS else True
    pred, reached = predictor(law, PATH, known), law._replace(logs=law.logs - law.log_mass).noised(PATH)
    if target.startswith("power"):
        exponent = int(target.split()[1])
        return fk.correctors.anneal(pred, float(exponent)), reached.power(exponent)
    if target == "product":
        other = family(name, rng, dimension)
        second = other._replace(logs=other.logs - other.log_mass).noised(PATH)
        return fk.correctors.product([pred, predictor(other, PATH, known)]), reached.times(second)
    wide = np.stack([np.asarray(c) for c in law.covariances]).mean(axis=0)
    spread = np.linalg.inv(wide) * rng.uniform(0.5, 3.0)
    centre = law.means[rng.integers(len(law.means))] + 0.5 * rng.normal(size=dimension)
    reward = Quadratic(jnp.asarray(centre, jnp.float32), jnp.asarray(spread, jnp.float32))
    covariance = np.linalg.inv(spread)
    _, volume = np.linalg.slogdet(2 * np.pi * covariance)
    bump = Mixture(centre[None], covariance[None], np.array([0.5 * volume]))
    return fk.correctors.tilt(pred, reward), reached.times(bump)


def halfspace(x, direction, place):
    """Whether x lies on one side."""
    return jnp.where(x @ direction < place, 1.0, 0.0)


@eqx.filter_jit
def estimated(out, direction, place):
    """The mass of the half-space, with its bar."""
    found = fk.expectation(out, lambda x: halfspace(x, direction, place))
    return found.value, found.standard_error


def one(cell: tuple[str, int, str], seed: int, safety: bool) -> dict:
    """One run, and how far it is off."""
    target, law = problem(cell, seed)
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=cell[1])
    direction /= np.linalg.norm(direction)
    place = law.median(direction)
    out = fk.run_smc(jax.random.key(seed), target.feynman_kac(), fk.grid(STEPS, PATH), PARTICLES, safety=safety)
    errors, doubts = out.problems()
    bar = fk.smc.log_normalizer_error(out)
    mass, spread = estimated(out, jnp.asarray(direction, jnp.float32), jnp.float32(place))
    read = lambda value: float("nan") if value is None else float(value)  # noqa: E731
    return {
        "error": float(out.log_normalizer) - law.log_mass,
        "bar": float(bar.standard_error),
        "steps": read(bar.steps),
        "mass error": float(mass) - 0.5,
        "mass bar": float(spread),
        "missing": read(out.info.missing),
        "tail": read(out.info.tail),
        "resamplings": int(out.info.resamplings),
        "calls": int(out.info.evaluations) + int(out.info.jvps),
        "doubts": [sentence.rsplit("#", 1)[-1] for sentence in errors + doubts] + ["bound"] * bool(bar.is_lower_bound),
    }


def summary(name: str, runs: list[dict], calls: float) -> dict:
    """What a cell, or all of them, comes to."""
    column = lambda key: np.array([r[key] for r in runs], float)  # noqa: E731
    error, bar, doubted = column("error"), column("bar"), np.array([bool(r["doubts"]) for r in runs])
    off = (np.abs(error) > 4 * bar) & (np.abs(error) > 0.05)
    off |= (np.abs(column("mass error")) > 4 * column("mass bar")) & (np.abs(column("mass error")) > 0.05)
    wrong, sure = off & ~doubted, ~doubted
    held = (np.abs(error) <= 1.96 * bar)[sure]
    low, high = interval(int(held.sum()), len(held), 0.99)
    right = (np.abs(error) <= 0.05) & (bar <= 0.1)
    return {
        "cell": name,
        "runs": len(runs),
        "confident and wrong": int(wrong.sum()),
        "share": wrong.mean(),
        "at most (95 %)": interval(int(wrong.sum()), len(runs), 0.90)[1],
        "coverage": held.mean() if len(held) else float("nan"),
        "coverage low (99 %)": low,
        "coverage high (99 %)": high,
        "width ratio": 3.92 * bar[sure].mean() / (3.92 * np.sqrt((error[sure] ** 2).mean())) if sure.any() else 0.0,
        "doubted": doubted.mean(),
        "doubted of the right": doubted[right].mean() if right.any() else float("nan"),
        "rms": np.sqrt((error[sure] ** 2).mean()) if sure.any() else float("nan"),
        "calls ratio": column("calls").mean() / calls,
    }


def interval(hits: int, total: int, level: float) -> tuple[float, float]:
    """Clopper–Pearson."""
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(beta_law.ppf(tail, hits, total - hits + 1))
    return low, 1.0 if hits == total else float(beta_law.ppf(1 - tail, hits + 1, total - hits))


def cells() -> list[tuple[str, int, str]]:
    """Family, dimension, target."""
    usual = [(name, d, target) for name, dims in FAMILIES.items() for d in dims for target in TARGETS]
    return usual + sorted(EXTREME)


def main() -> None:
    def add(parser):
        parser.add_argument("--runs", type=int, default=80, help="runs of each cell")
        parser.add_argument("--minutes", type=float, default=600.0, help="stop after this long; --runs goes on later")

    args = arguments(__doc__ or "", add)
    args.started, wanted = time.time(), 1 if args.quick else args.runs
    file = folder(args) / "honesty_runs.json"
    kept: dict = json.loads(file.read_text()) if file.exists() else {}
    for round_ in range(0, wanted, 5):
        for cell in cells():
            key = " ".join(map(str, cell))
            runs = kept.setdefault(key, {"safe": [], "bare": []})
            for seed in range(len(runs["safe"]), min(round_ + 5, wanted)):
                runs["safe"].append(one(cell, 40_000 + seed, True))
                runs["bare"].append(one(cell, 40_000 + seed, False))
            file.write_text(json.dumps(kept))
            if time.time() - args.started > 60 * args.minutes:
                break
        print(f"{round_ + 5} runs of each cell, {time.time() - args.started:.0f} s", flush=True)
        if time.time() - args.started > 60 * args.minutes:
            break
    rows = []
    for side in ("safe", "bare"):
        for key, runs in kept.items():
            calls = float(np.mean([r["calls"] for r in runs["bare"]]))
            rows.append({"runs are": side, **summary(key, runs[side], calls)})
        every = [r for runs in kept.values() for r in runs[side]]
        calls = float(np.mean([r["calls"] for runs in kept.values() for r in runs["bare"]]))
        rows.append({"runs are": side, **summary("all", every, calls)})
    print(table(rows))
    save(args, "honesty", rows, draw(rows), steps=STEPS, particles=PARTICLES)


def draw(rows: list[dict]) -> Figure:
    """Coverage of the undoubted runs and confident-and-wrong shares, cell by cell."""
    names = [r["cell"] for r in rows if r["runs are"] == "safe"]
    figure = Figure(figsize=(9, 0.17 * len(names) + 1.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    left.axvspan(0.9, 1.0, color="0.93")
    left.axvline(0.95, color="grey", lw=0.8, ls=":")
    for side, mark, shift in (("bare", "x", 0.15), ("safe", "o", -0.15)):
        chosen = [r for r in rows if r["runs are"] == side]
        at = np.arange(len(chosen)) + shift
        label = "with the safety runs" if side == "safe" else "without"
        left.scatter([r["coverage"] for r in chosen], at, s=12, marker=mark, label=label)
        right.scatter([r["share"] for r in chosen], at, s=12, marker=mark)
    left.set_yticks(range(len(names)), names, fontsize=6)
    left.set_xlabel("share of 95 % intervals of log Z that hold the truth", fontsize=8)
    right.set_xlabel("share of runs that are confident and wrong", fontsize=8)
    left.legend(fontsize=7, loc="lower left")
    return figure


if __name__ == "__main__":
    main()
