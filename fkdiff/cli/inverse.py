"""`task.kind: inverse`: posteriors of linear observations, beside the same guidance without weights."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from fkdiff import plot, smc, steering
from fkdiff.cli.baselines import Baseline, Budget
from fkdiff.cli.case import Case, on_path
from fkdiff.cli.examples import clouds
from fkdiff.cli.outcome import Outcome
from fkdiff.cli.steer_config import Deblurring, Engine, Inpainting, Inverse, Matrix, SteerConfig, SuperResolution
from fkdiff.cli.tables import aligned, evidence
from fkdiff.core import check
from fkdiff.core.keys import Use, seed_key, stream
from fkdiff.errors import require
from fkdiff.paths import grid
from fkdiff.solvers import ddim
from fkdiff.steering import LinearOperator
from fkdiff.train.data import held_out, load_data, pixels
from fkdiff.train.files import load_numbers, read_regular
from fkdiff.train.run import LoadedRun

SOLVER = ddim(eta=1.0)
LARGEST_FILE = 2**26


class Observed(NamedTuple):
    """What a case knows.

    Attributes:
        operator: A.
        y: The observation, of the operator's shape.
        noise: Its standard deviation.
        truth: What it was made from; None where a person observed it.
    """

    operator: LinearOperator
    y: np.ndarray
    noise: float
    truth: np.ndarray | None


def cases(config: SteerConfig, run: LoadedRun, observation: Path | None) -> list[Case]:
    """One posterior for each observation.

    Raises:
        FkdiffError: The operator does not fit the data, or the file does not fit the operator.
    """
    task = config.task
    assert isinstance(task, Inverse)
    pred, operator = run.given(task.label), operator_of(task.operator, run)
    known = load_data(run.config).examples.reshape(-1, operator.matrix.shape[1]).astype(np.float64)
    reference = (known.mean(axis=0).astype(np.float32).reshape(pred.shape), np.cov(known.T).astype(np.float32))

    def posterior(proposal: str, y: np.ndarray):
        return steering.inverse(
            pred, SOLVER, operator, jnp.asarray(y), task.noise, proposal=proposal, reference=reference
        )

    def case(name: str, seen: Observed) -> Case:
        def draw(key, budget: Budget):
            times, calls = grid(budget.num_steps, pred.path), 2 * budget.num_steps + 2
            plain = steering.uncorrected(posterior(task.baseline, seen.y))
            return check(smc.run_smc(key, plain, times, budget.num_particles)).particles, calls

        def model(engine: Engine) -> Any:
            return posterior(task.proposal, seen.y)

        given = "" if task.label is None else f"|{task.label}"
        baseline = Baseline(f"{task.baseline}, no weights", draw)
        formula = f"q(x{given}) N(y; A x, {task.noise:g}²), A: {task.operator.kind}"
        return Case(name, on_path(pred.path), model, baseline, None, formula, facts=seen)

    return [case(name, seen) for name, seen in observations(task, config.seed, run, operator, observation)]


def operator_of(section: Inpainting | SuperResolution | Deblurring | Matrix, run: LoadedRun) -> LinearOperator:
    """A, on examples of the model's shape."""
    shape = run.shape
    if isinstance(section, Matrix):
        size = int(np.prod(shape))
        widths = sorted({len(row) for row in section.rows})
        require(
            widths == [size],
            f"task.operator.rows have {', '.join(map(str, widths))} numbers and one example has {size}; make each row "
            "as long.",
        )
        return steering.matrix(section.rows, shape)
    require(
        run.config.data.kind == "digits",
        f"task.operator={section.kind} is for pictures, and this model was trained on {run.config.data.kind}; use "
        "kind: matrix.",
    )
    picture = (8, 8)
    if isinstance(section, Inpainting):
        keep = np.ones(picture, bool)
        keep[slice(*section.rows), slice(*section.columns)] = False
        require(
            bool(keep.any() and not keep.all()),
            f"task.operator hides rows {section.rows} and columns {section.columns}, which is "
            f"{'everything' if not keep.any() else 'nothing'} of {picture[0]} × {picture[1]} pixels.",
        )
        seen = steering.mask(keep)
    elif isinstance(section, SuperResolution):
        seen = steering.downsample(section.factor, picture)
    else:
        row = np.array([1.0])
        for _ in range(section.width - 1):
            row = np.convolve(row, [0.5, 0.5])
        seen = steering.blur(np.outer(row, row), picture)
    # On flat examples, with observations in the shape that a person sees.
    return dataclasses.replace(steering.matrix(seen.matrix, shape), observed=seen.observed)


def observations(
    task: Inverse, seed: int, run: LoadedRun, operator: LinearOperator, file: Path | None
) -> list[tuple[str, Observed]]:
    """Named observations: a person's, or made from held-out examples."""
    if file is not None:
        ys = read_observations(file, operator.observed)
        return [(f"observation {i}", Observed(operator, y, task.noise, None)) for i, y in enumerate(ys)]
    examples, path = held_out(run.config).examples, run.predictor.path
    require(
        max(task.held_out) < len(examples),
        f"task.held_out has {max(task.held_out)}, and there are {len(examples)} held-out examples, from 0.",
    )
    found = []
    for i in task.held_out:
        key = jax.random.fold_in(stream(seed_key(seed), Use.DATA), i)
        key_path, key_noise = jax.random.split(key)
        # The law that a sampler reaches is the path's at t_max, a little noise included.
        clean = jnp.asarray(examples[i]).reshape(run.shape)
        truth = path.noised(clean, jax.random.normal(key_path, clean.shape), path.t_max)
        y = operator.apply(truth) + task.noise * jax.random.normal(key_noise, operator.observed)
        found.append((f"held out {i}", Observed(operator, np.asarray(y), task.noise, np.asarray(truth))))
    return found


def read_observations(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    """One observation or several, (n, *shape), from a .npy file; nothing in it is executed.

    Raises:
        FkdiffError: It is no such file, holds another shape, or a number that is not finite.
    """
    content = read_regular(file, LARGEST_FILE)
    try:
        values = load_numbers(io.BytesIO(content))
    except (ValueError, EOFError, OSError):
        values = None
    require(
        isinstance(values, np.ndarray) and values.dtype.kind in "fiu",
        f"--observation={file} is not a .npy file of real numbers; write it by numpy.save.",
    )
    assert values is not None
    ys = values[None] if values.shape == shape else values
    require(
        ys.shape[1:] == shape and 1 <= len(ys) <= 64,
        f"--observation={file} has shape {values.shape}, and this operator gives {shape}; pass that, or up to 64 of "
        "them along a first axis.",
    )
    require(bool(np.isfinite(ys).all()), f"--observation={file} holds NaN or infinity; every number must be finite.")
    return ys.astype(np.float32)


def judged(outcomes: list[Outcome], config: SteerConfig, run: LoadedRun) -> list[dict[str, Any]]:
    """How well the draws fit what was seen, and the truth where it is known."""
    found = []
    for o in outcomes:
        even = np.full(len(o.heuristic), 1 / len(o.heuristic))
        sides = {"exact": (np.asarray(o.result.particles), o.weights), "heuristic": (o.heuristic, even)}
        found.append({side: verdict(o.case.facts, draws, weights) for side, (draws, weights) in sides.items()})
    return found


def verdict(seen: Observed, draws: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """Of weighted draws: misfit, and where the truth is known errors and coverage.

    misfit        root mean square of (A x − y)/noise: about 1 where y is as noisy as was said
    deviation     posterior standard deviation, averaged over coordinates
    rmse          of the posterior mean against the truth
    covered       share of coordinates whose 90 % interval holds the truth
    """
    flat = draws.reshape(len(draws), -1).astype(np.float64)
    residual = (flat @ np.asarray(seen.operator.matrix, np.float64).T - seen.y.reshape(1, -1)) / seen.noise
    mean = weights @ flat
    found = {
        "misfit": float(np.sqrt(weights @ (residual**2).mean(axis=1))),
        "deviation": float(np.sqrt(weights @ (flat - mean) ** 2).mean()),
    }
    if seen.truth is not None:
        truth = seen.truth.reshape(-1)
        below = weights @ (flat < truth)
        found["rmse"] = float(np.sqrt(np.mean((mean - truth) ** 2)))
        found["covered"] = float(((below >= 0.05) & (below <= 0.95)).mean())
    return found


def sheet(outcomes: list[Outcome], run: LoadedRun) -> Figure:
    """Truth, observation, posterior mean and draws, a row for each observation; points where data are no pictures."""
    if run.config.data.kind != "digits":
        return clouds(outcomes)
    groups = {}
    for title, weighted in (("exact", True), (outcomes[0].case.baseline.name, False)):
        rows = []
        for o in outcomes:
            draws = o.draws if weighted else o.heuristic
            mean = np.tensordot(o.weights, np.asarray(o.result.particles), 1) if weighted else draws.mean(axis=0)
            seen: Observed = o.case.facts
            truth = np.full((1, 8, 8), 0.5) if seen.truth is None else pixels(seen.truth[None])
            tiles = [truth, as_seen(seen)[None], pixels(mean[None]), pixels(draws[:9])]
            rows.append(np.concatenate(tiles))
        width = max(map(len, rows))
        padded = [np.pad(row, ((0, width - len(row)), (0, 0), (0, 0))) for row in rows]
        groups[f"{title}: truth, observed, mean, draws"] = np.concatenate(padded)
    return plot.panels(groups, len(groups[next(iter(groups))]) // len(outcomes), (0.0, 1.0))


def as_seen(seen: Observed) -> np.ndarray:
    """An observation as a picture of 8 × 8: hidden pixels grey, blocks as large as what they stand for."""
    matrix, y = np.asarray(seen.operator.matrix), seen.y
    if y.ndim == 2:
        return pixels(np.kron(y, np.ones((8 // y.shape[0], 8 // y.shape[1])))[None])[0]
    one_hot = bool(((matrix != 0).sum(axis=1) == 1).all())
    picture = np.full(64, 0.5)
    if one_hot:  # a mask; of other matrices there is no picture
        picture[np.abs(matrix).argmax(axis=1)] = pixels(np.resize(y.reshape(-1), 64)[None])[0].reshape(-1)[: y.size]
    return picture.reshape(8, 8)


HEAD = ("case", "draws", "log p(y)", "min ESS", "calls", "misfit", "deviation", "RMSE", "90 % covers")
LEGEND = (
    "  misfit: root mean square of (A x − y)/noise; deviation: of the draws; RMSE: of their mean against the truth;\n"
    "  90 % covers: share of coordinates whose 90 % interval holds the truth."
)


def table(found: list[dict[str, Any]]) -> str:
    """Cases of a summary as a table: exact beside the same guidance without weights."""
    rows: list[tuple[str, ...]] = [HEAD]
    for case in found:
        for side in ("exact", "heuristic"):
            said, exact = case["judge"][side], side == "exact"
            calls = case["evaluations"] + case["jvps"] if exact else case["heuristic_evaluations"]
            figures = [f"{said[k]:.2f}" if k in said else "" for k in ("misfit", "deviation", "rmse", "covered")]
            first = (case["case"], side, evidence(case), f"{case['min_ess'] / case['num_particles']:.2f}")
            rows.append((*(first if exact else ("", case["baseline"], "", "")), str(calls), *figures))
    return aligned(rows)
