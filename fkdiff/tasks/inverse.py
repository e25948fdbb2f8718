"""`task.kind: inverse`: posteriors of linear observations, beside the same guidance without weights."""

from __future__ import annotations

import dataclasses
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

import fkdiff as fk
from fkdiff.errors import require
from fkdiff.tasks.case import SOLVERS, Baseline, Case, Setting
from fkdiff.tasks.examples import clouds
from fkdiff.tasks.later import data, jax, jnp, keys, np
from fkdiff.tasks.outcome import Outcome
from fkdiff.tasks.tables import evidence, least_ess, number, paired
from fkdiff.tasks.task import Chained, Label, Labels, Task
from fkdiff.train.files import load_numbers, read_regular
from fkdiff.train.schema import Finite, Positive, Section

if TYPE_CHECKING:
    from fkdiff.inverse_problems import LinearOperator

PICTURE = (8, 8)
LARGEST_FILE = 2**26
Pair = tuple[Annotated[int, Field(ge=0, le=4096)], Annotated[int, Field(ge=0, le=4096)]]
Guided = Literal["adapted", "pigdm", "tmpd", "dps"]


class Inpainting(Section):
    """All pixels are seen but those of a rectangle: rows[0] ≤ row < rows[1], and so for columns."""

    kind: Literal["inpainting"] = "inpainting"
    rows: Pair = (2, 8)
    columns: Pair = (2, 6)

    def build(self, shape: tuple[int, ...]) -> LinearOperator:
        keep = np.ones(PICTURE, bool)
        keep[slice(*self.rows), slice(*self.columns)] = False
        require(
            bool(keep.any() and not keep.all()),
            f"task.operator hides rows {self.rows} and columns {self.columns}, which is "
            f"{'everything' if not keep.any() else 'nothing'} of {PICTURE[0]} × {PICTURE[1]} pixels.",
        )
        return flattened(fk.inverse_problems.mask(keep), shape)


class SuperResolution(Section):
    """Means of blocks of factor × factor pixels are seen."""

    kind: Literal["super_resolution"] = "super_resolution"
    factor: Annotated[int, Field(ge=2, le=64)] = 2

    def build(self, shape: tuple[int, ...]) -> LinearOperator:
        return flattened(fk.inverse_problems.downsample(self.factor, PICTURE), shape)


class Deblurring(Section):
    """Every pixel is seen blurred by binomial weights, `width` pixels wide in each direction."""

    kind: Literal["deblurring"] = "deblurring"
    width: Literal[3, 5, 7] = 3

    def build(self, shape: tuple[int, ...]) -> LinearOperator:
        row = np.array([math.comb(self.width - 1, k) for k in range(self.width)]) / 2.0 ** (self.width - 1)
        return flattened(fk.inverse_problems.blur(np.outer(row, row), PICTURE), shape)


class Matrix(Section):
    """Any linear combinations of the coordinates, one per row."""

    kind: Literal["matrix"] = "matrix"
    rows: Annotated[tuple[tuple[Finite, ...], ...], Field(min_length=1, max_length=256)]

    def build(self, shape: tuple[int, ...]) -> LinearOperator:
        size, widths = math.prod(shape), sorted({len(row) for row in self.rows})
        require(
            widths == [size],
            f"task.operator.rows have {', '.join(map(str, widths))} numbers and one example has {size}; make each row "
            "as long.",
        )
        return fk.inverse_problems.matrix(self.rows, shape)


def flattened(seen: LinearOperator, shape: tuple[int, ...]) -> LinearOperator:
    """An operator of pictures on flat examples, with observations in the shape that a person sees."""
    return dataclasses.replace(fk.inverse_problems.matrix(seen.matrix, shape), observed=seen.observed)


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


class Inverse(Task):
    """The posterior of x given y = A x + noise ξ by `fkdiff.inverse`: guided steps of `engine.solver`, weighted.

    y comes from a file (`--observation FILE.npy`), or is made from held-out examples, which then judge the answer.
    """

    kind: Literal["inverse"] = "inverse"
    operator: Annotated[Inpainting | SuperResolution | Deblurring | Matrix, Field(discriminator="kind")]
    noise: Positive = 0.2  # standard deviation of the observation's noise, in units of the model's data
    label: Label | None = None
    proposal: Guided = "adapted"
    baseline: Guided = "pigdm"  # run without weights, for comparison
    held_out: Labels = (0, 1, 2)  # which of them are observed; --observation takes their place
    engine: ClassVar = Chained
    observes: ClassVar[bool] = True
    legend: ClassVar[str] = (
        "  misfit: root mean square of (A x − y)/noise; deviation: of the draws; RMSE: of their mean against the "
        "truth;\n  90 % covers: share of coordinates whose 90 % interval holds the truth."
    )

    def cases(self, setting: Setting) -> list[Case]:
        """One posterior for each observation."""
        run, trained = setting.run, setting.run.config.data.kind
        require(
            isinstance(self.operator, Matrix) or trained == "digits",
            f"task.operator={self.operator.kind} is for pictures, and this model was trained on {trained}; use "
            "kind: matrix.",
        )
        operator = self.operator.build(run.shape)
        if setting.observation is None:
            observed = self.from_held_out(setting, operator)
        else:
            ys = read_observations(setting.observation, operator.observed)
            observed = [(f"observation {i}", Observed(operator, y, self.noise, None)) for i, y in enumerate(ys)]
        known = data.load_data(run.config).examples.reshape(-1, operator.matrix.shape[1]).astype(np.float64)
        reference = known.mean(axis=0).astype(np.float32).reshape(run.shape), np.cov(known.T).astype(np.float32)
        return [self.case(name, seen, setting, reference) for name, seen in observed]

    def case(self, name: str, seen: Observed, setting: Setting, reference: tuple[Any, Any]) -> Case:
        """The posterior of one observation; `reference` holds the mean and the covariance of the data."""
        pred, y, solver = setting.run.given(self.label), jnp.asarray(seen.y), SOLVERS[setting.config.engine.solver]()

        def posterior(proposal: str) -> Any:
            return fk.inverse(pred, solver, seen.operator, y, self.noise, proposal=proposal, reference=reference)

        def draw(key: Any, calls: int, num_particles: int, num_samples: int) -> tuple[Any, int]:
            plain = fk.smc.unweighted(posterior(self.baseline))
            out = fk.check(fk.run_smc(key, plain, times, num_particles))
            return out.particles, int(out.info.evaluations) + int(out.info.jvps)

        given = "" if self.label is None else f"|{self.label}"
        formula = f"q(x{given}) N(y; A x, {self.noise:g}²), A: {self.operator.kind}"
        times, baseline = fk.grid(setting.config.engine.num_steps, pred.path), f"{self.baseline}, no weights"
        return Case(name, times, posterior(self.proposal), Baseline(baseline, draw), None, formula, facts=seen)

    def from_held_out(self, setting: Setting, operator: LinearOperator) -> list[tuple[str, Observed]]:
        """Named observations of held-out examples."""
        run, found = setting.run, []
        examples, path = data.held_out(run.config).examples, run.predictor.path
        require(
            max(self.held_out) < len(examples),
            f"task.held_out has {max(self.held_out)}, and there are {len(examples)} held-out examples, from 0.",
        )
        for i in self.held_out:
            key = jax.random.fold_in(keys.stream(keys.seed_key(setting.config.seed), keys.Use.DATA), i)
            key_path, key_noise = jax.random.split(key)
            # The law that a sampler reaches is the path's at t_max, a little noise included.
            clean = jnp.asarray(examples[i]).reshape(run.shape)
            truth = path.noised(clean, jax.random.normal(key_path, clean.shape), path.t_max)
            y = operator.apply(truth) + self.noise * jax.random.normal(key_noise, operator.observed)
            found.append((f"held out {i}", Observed(operator, np.asarray(y), self.noise, np.asarray(truth))))
        return found

    def judged(self, outcomes: list[Outcome], setting: Setting) -> list[dict[str, Any]]:
        """How well the draws fit what was seen, and the truth where it is known."""
        found = []
        for o in outcomes:
            even = np.full(len(o.heuristic), 1 / len(o.heuristic))
            sides = {"exact": (np.asarray(o.result.particles), o.weights), "heuristic": (o.heuristic, even)}
            found.append({side: verdict(o.case.facts, draws, weights) for side, (draws, weights) in sides.items()})
        return found

    def sheet(self, outcomes: list[Outcome], setting: Setting) -> Any:
        """Truth, observation, posterior mean and draws; points where data are no pictures."""
        return pictures(outcomes) if setting.run.config.data.kind == "digits" else clouds(outcomes)

    def table(self, cases: list[dict[str, Any]]) -> str:
        """Exact beside the same guidance without weights."""
        names = {"misfit": "misfit", "deviation": "deviation", "RMSE": "rmse", "90 % covers": "covered"}
        draws = {title: number(key) for title, key in names.items()}
        return paired(cases, {"log p(y)": evidence, "min ESS": least_ess}, draws)


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


def pictures(outcomes: list[Outcome]) -> Any:
    """Truth, observation, posterior mean and draws, a row for each observation."""
    groups = {}
    for title, weighted in (("exact", True), (outcomes[0].case.baseline.name, False)):
        rows = []
        for o in outcomes:
            draws = o.draws if weighted else o.heuristic
            mean = np.tensordot(o.weights, np.asarray(o.result.particles), 1) if weighted else draws.mean(axis=0)
            seen: Observed = o.case.facts
            truth = np.full((1, 8, 8), 0.5) if seen.truth is None else data.pixels(seen.truth[None])
            tiles = [truth, as_seen(seen)[None], data.pixels(mean[None]), data.pixels(draws[:9])]
            rows.append(np.concatenate(tiles))
        width = max(map(len, rows))
        padded = [np.pad(row, ((0, width - len(row)), (0, 0), (0, 0))) for row in rows]
        groups[f"{title}: truth, observed, mean, draws"] = np.concatenate(padded)
    return fk.plot.panels(groups, len(groups[next(iter(groups))]) // len(outcomes), (0.0, 1.0))


def as_seen(seen: Observed) -> np.ndarray:
    """An observation as a picture of 8 × 8: hidden pixels grey, blocks as large as what they stand for."""
    matrix, y = np.asarray(seen.operator.matrix), seen.y
    if y.ndim == 2:
        return data.pixels(np.kron(y, np.ones((8 // y.shape[0], 8 // y.shape[1])))[None])[0]
    one_hot = bool(((matrix != 0).sum(axis=1) == 1).all())
    picture = np.full(64, 0.5)
    if one_hot:  # a mask; of other matrices there is no picture
        picture[np.abs(matrix).argmax(axis=1)] = data.pixels(np.resize(y.reshape(-1), 64)[None])[0].reshape(-1)[
            : y.size
        ]
    return picture.reshape(8, 8)
