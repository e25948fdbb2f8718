"""Error against model calls, 4 to 64, for every solver: on an exact mixture, and on a model of digits trained here.

On the mixture: the sliced W2 distance of 8,192 draws to exact ones, beside the floor of as many exact draws; and for
solvers without noise the root mean square distance to where the flow really ends, from the same starts. On digits: the
Fréchet distance in a judge's decision values, beside the floor of real digits, and the same distance to the flow's end.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

import fkdiff as fk
from benchmarks.common import arguments, save, table
from fkdiff.diagnostics import sliced_wasserstein
from fkdiff.evaluate.distances import frechet
from fkdiff.evaluate.judge import digit_judge
from fkdiff.solvers import Solver
from fkdiff.train import load_config, load_run
from fkdiff.train.data import held_out, load_data
from fkdiff.train.loop import train

SOLVERS = {
    "euler": lambda: fk.solvers.euler(),
    "heun": lambda: fk.solvers.heun(),
    "ddim": lambda: fk.solvers.ddim(),
    "dpmpp_2m": lambda: fk.solvers.dpmpp_2m(),
    "exponential, ν = 0": lambda: fk.solvers.exponential(noise=0.0),
    "ddim, η = 1": lambda: fk.solvers.ddim(eta=1.0),
    "euler, ν = 1": lambda: fk.solvers.euler(noise=1.0),
    "exponential, ν = 1": lambda: fk.solvers.exponential(noise=1.0),
}
CALLS = (4, 8, 16, 32, 64)


def flow_ends(pred, starts, num_steps: int = 512) -> np.ndarray:
    """Where the probability flow carries the starts, by Heun in many steps."""
    times = fk.grid(num_steps, pred.path)
    return np.asarray(fk.integrate(jax.random.key(0), pred, fk.solvers.heun(), times, initial=starts))


def draws_of(pred, solver: Solver, calls: int, starts) -> np.ndarray:
    """Draws at `calls` model calls each, from given starts."""
    times = fk.grid(calls // solver.evaluations, pred.path)
    return np.asarray(fk.integrate(jax.random.key(1), pred, solver, times, initial=starts))


def rows_of(name: str, pred, starts, distance) -> list[dict]:
    """A row for every solver and number of calls."""
    ends, rows = flow_ends(pred, starts), []
    for label, build in SOLVERS.items():
        solver = build()
        for calls in CALLS:
            draws = draws_of(pred, solver, calls, starts)
            found = {"model": name, "solver": label, "calls": calls, "distance": distance(draws)}
            exact = bool(solver.noise == 0)
            found["from the flow"] = float(np.sqrt(((draws - ends) ** 2).mean())) if exact else None
            rows.append(found)
        print(table(rows[-len(CALLS) :]), flush=True)
    return rows


def mixture_rows(num: int) -> tuple[list[dict], float]:
    """On two skewed modes in the plane, on the cosine path."""
    path = fk.paths.cosine()
    law = fk.targets.gaussian_mixture([[-1.5, 0.5], [1.0, -0.8]], [[0.1, 0.4], [0.3, 0.05]], [0.3, 0.7])
    pred = law.predictor(path)
    keys = jax.random.split(jax.random.key(2), 3)
    noised = law.at(path, path.t_min)
    reference = np.asarray(law.at(path, path.t_max).sample(keys[0], num))
    other = np.asarray(law.at(path, path.t_max).sample(keys[1], num))
    rows = rows_of("mixture", pred, noised.sample(keys[2], num), lambda x: sliced_wasserstein(x, reference))
    return rows, float(sliced_wasserstein(other, reference))


def digit_rows(steps: int, num: int) -> tuple[list[dict], float]:
    """On a model of digits, all classes in equal numbers."""
    config = load_config("configs/digits.yaml")
    config = config.model_copy(update={"optim": config.optim.model_copy(update={"steps": steps})})
    with tempfile.TemporaryDirectory() as folder:
        train(config, Path(folder) / "digits", picture=False)
        run = load_run(Path(folder) / "digits")
    features = digit_judge().classifier.decision_function
    real = features(np.asarray(held_out(config).examples))
    pred = run.given(3)
    starts = jax.random.normal(jax.random.key(3), (num, 64))
    threes = np.asarray(held_out(config).labels) == 3
    training = load_data(config)
    seen = features(np.asarray(training.examples)[np.asarray(training.labels) == 3])
    rows = rows_of("digits, class 3", pred, starts, lambda x: frechet(features(x), real[threes]))
    return rows, float(frechet(seen, real[threes]))


def main() -> None:
    args = arguments(__doc__)
    args.started = time.time()
    num, steps, count = (512, 50, 32) if args.quick else (8192, 4000, 512)
    mixture, floor = mixture_rows(num)
    digits, digit_floor = digit_rows(steps, count)
    floors = {"mixture": floor, "digits, class 3": digit_floor}
    save(args, "solvers", mixture + digits, draw(mixture + digits, floors), floors=floors)


def draw(rows: list[dict], floors: dict[str, float]) -> Figure:
    """Distance against calls, a panel for each model."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for panel, model in zip(figure.subplots(1, len(floors)), floors, strict=True):
        for number, solver in enumerate(SOLVERS):
            chosen = [r for r in rows if r["model"] == model and r["solver"] == solver]
            style = "o-" if number < 5 else "s--"
            panel.plot([r["calls"] for r in chosen], [r["distance"] for r in chosen], style, ms=3, lw=1, label=solver)
        panel.axhline(floors[model], color="0.5", lw=1, ls=":", label="floor")
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_xticks(CALLS, [str(calls) for calls in CALLS])
        panel.set_xlabel("model calls per draw")
        panel.set_ylabel("sliced W2" if model == "mixture" else "Fréchet distance")
        panel.set_title(model, fontsize=9)
    figure.axes[0].legend(fontsize=6, ncols=2)
    return figure


if __name__ == "__main__":
    main()
