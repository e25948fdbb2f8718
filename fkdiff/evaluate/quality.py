"""How good is a trained run? Every figure beside the one that real data, or an exact model, would get."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fkdiff import diagnostics
from fkdiff.core import Array, Key, one_key, require
from fkdiff.core.host import intended_transfers
from fkdiff.diagnostics.score import EXACT_UP_TO
from fkdiff.evaluate.density import bits_per_dim
from fkdiff.evaluate.distances import frechet
from fkdiff.evaluate.features import features_of
from fkdiff.evaluate.two_samples import c2st, overlap
from fkdiff.paths import grid
from fkdiff.prediction import Predictor
from fkdiff.solvers import heun, integrate
from fkdiff.train.baselines import text_baselines
from fkdiff.train.data import Dataset, held_out, load_data
from fkdiff.train.data.dataset import shuffled
from fkdiff.train.run import LoadedRun
from fkdiff.train.step import make_evaluation

REPEATS = 5


class Row(NamedTuple):
    """One figure.

    Attributes:
        name: What was measured.
        value: The figure.
        error: Its standard error, where it has one.
        floor: What real data of the same size, or an exact model, would get.
        floor_error: Standard deviation of that over repetitions.
        note: What value and floor are.
    """

    name: str
    value: float
    error: float | None
    floor: float | None
    floor_error: float | None
    note: str


@intended_transfers
def evaluate_run(
    key: Key, run: LoadedRun, num_samples: int = 512, num_likelihoods: int = 64, data_root: str | Path = "."
) -> list[Row]:
    """Everything that can be said of a run from its samples, its density and its score.

    Args:
        key: Draws samples, probes and the subsets behind the floors.
        run: The trained model.
        num_samples: Draws to compare with held-out data; cut to what there is of those.
        num_likelihoods: Held-out examples for bits per dimension, by an exact divergence.
        data_root: Where the files lie that the run was trained on.

    Returns:
        Rows of figures.

    Raises:
        FkdiffError: There is no held-out data to compare with.

    Cost: about 60 evaluations a sample; d · 200 jvps an exact likelihood.
    """
    key = one_key(key)
    unseen = held_out(run.config, data_root)
    require(
        len(unseen.examples) > 8, f"{len(unseen.examples)} examples are held out, and 9 are needed to compare with."
    )
    if run.config.is_text:
        return _of_text(key, run, unseen)
    training = load_data(run.config, data_root)
    keys = jax.random.split(key, 4)
    rows = _of_samples(keys[0], run, training, unseen, num_samples)
    rows += _of_density(keys[1], run, training, unseen, num_likelihoods)
    if not run.predictor.coupled:
        rows += _of_score(keys[2], run, unseen)
    return rows


@intended_transfers
def sample_like(key: Key, run: LoadedRun, count: int, noise: float = 0.0) -> np.ndarray:
    """Draws, of classes in the shares of the training data, by Heun's method and a last clean estimate.

    As many steps as the run's own sampling takes. Without the estimate draws would be data with the noise of the last
    time, which data have not.
    """
    times = grid(run.config.sampling.num_steps, run.predictor.path)
    solver = heun(noise=noise)
    if not run.num_classes:
        return np.asarray(integrate(key, run.predictor, solver, times, count, denoise=True))
    wanted = _counts(run.class_shares, count)
    # As many of every class, so that all are drawn by one program.
    draws = [
        integrate(jax.random.fold_in(key, label), run.given(label), solver, times, int(wanted.max()), denoise=True)
        for label in range(run.num_classes)
    ]
    return np.concatenate([np.asarray(d)[:number] for d, number in zip(draws, wanted, strict=True)])


def _counts(shares: np.ndarray, count: int) -> np.ndarray:
    """Whole numbers in these shares that add up to `count`, by largest remainders."""
    exact = shares * count
    whole = np.floor(exact).astype(int)
    whole[np.argsort(whole - exact)[: count - whole.sum()]] += 1
    return whole


def _of_samples(key: Key, run: LoadedRun, training: Dataset, unseen: Dataset, num: int) -> list[Row]:
    """Distances of draws to held-out data, beside those of as many training examples."""
    num = min(num, len(unseen.examples), len(training.examples) // 2)
    real = np.asarray(unseen.examples[_some(len(unseen.examples), num)])
    keys = jax.random.split(key, 3)
    rounded = _rounding(run.config.data.quantum, np.asarray(training.examples[_some(len(training.examples), 4096)]))
    draws = rounded(sample_like(keys[0], run, num))
    features, what = features_of(run.config.data.kind, training, run.num_classes)
    rng = np.random.default_rng(int(jax.random.randint(keys[1], (), 0, 2**31 - 1)))
    others = [np.asarray(training.examples[np.sort(_subset(rng, training, num))]) for _ in range(REPEATS)]

    def row(name: str, distance: Callable[[np.ndarray, np.ndarray], float], note: str) -> Row:
        floors = [distance(other, real) for other in others]
        return Row(name, distance(draws, real), None, float(np.mean(floors)), float(np.std(floors, ddof=1)), note)

    whole = ", rounded to the levels that data have," if run.config.data.quantum > 0 else ""
    many = f"{num} draws{whole} and {num} held-out examples; floor: {num} training examples"
    rows = [
        row("energy distance", diagnostics.energy_distance, many),
        row("MMD", diagnostics.mmd, many),
        row("sliced W2", diagnostics.sliced_wasserstein, many),
        row("C2ST", c2st, f"share told apart by a forest, 0.5 is chance; {many}"),
        row("precision", lambda a, b: overlap(a, b).precision, f"by 3 nearest neighbours; {many}"),
        row("recall", lambda a, b: overlap(a, b).recall, f"by 3 nearest neighbours; {many}"),
        row("Fréchet distance", lambda a, b: frechet(features(a), features(b)), f"in {what}; {many}"),
    ]
    if run.predictor.coupled:
        return rows
    noisy = rounded(sample_like(keys[2], run, num, noise=1.0))
    other = rounded(sample_like(keys[2], run, num))
    gap, floor = diagnostics.energy_distance(draws, noisy), diagnostics.energy_distance(draws, other)
    note = f"energy distance of {num} draws by the flow and by the reverse SDE; floor: two samples of the flow"
    return [*rows, Row("ODE–SDE gap", gap, None, floor, None, note)]


def _rounding(quantum: float, examples: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Puts draws on the levels of whole-numbered data, whose gaps alone would tell the two apart."""
    if quantum <= 0:
        return np.asarray
    low, high = float(examples.min()), float(examples.max())
    return lambda draws: np.clip(low + quantum * np.round((draws - low) / quantum), low, high)


def _some(count: int, num: int) -> np.ndarray:
    """Up to `num` rows of `count`, of all kinds: data may lie class by class."""
    return np.sort(shuffled(count)[:num])


def _subset(rng: np.random.Generator, data: Dataset, num: int) -> np.ndarray:
    return rng.choice(len(data.examples), num, replace=False)


def _of_density(key: Key, run: LoadedRun, training: Dataset, unseen: Dataset, num: int) -> list[Row]:
    """Bits per dimension, by exact and by estimated divergence; beside them a Gaussian's."""
    quantum, path = run.config.data.quantum, run.predictor.path
    kind = "bits per dimension" if quantum > 0 else "bits per dimension of a density"
    noise = float(path.sigma(path.t_max) / path.alpha(path.t_max))

    rows, (floor, floor_error, _) = [], bits_of(key, run, training, num, "hutchinson")
    for name in ("exact", "hutchinson"):
        value, error, count = bits_of(key, run, unseen, num, name)
        note = f"{name} divergence, {count} held-out examples with noise {noise:.3g}; floor: training examples"
        rows.append(Row(f"{kind} ({name})", value, error, floor, floor_error, note))
    some = np.asarray(unseen.examples[_some(len(unseen.examples), 4096)], np.float64)
    flat = some.reshape(len(some), -1)
    variance = flat.var(0) + max(quantum, 1e-6) ** 2 / 12 + noise**2
    gaussian = float(0.5 * np.log2(2 * np.pi * np.e * variance).mean() - (np.log2(quantum) if quantum > 0 else 0.0))
    note = f"independent Gaussians with the data's {flat.shape[1]} variances and that noise: what a model must beat"
    return [*rows, Row(f"{kind} (Gaussians)", gaussian, None, None, None, note)]


def bits_of(key: Key, run: LoadedRun, data: Dataset, num: int, divergence: str) -> tuple[float, float, int]:
    """Mean bits per dimension, its standard error, and of how many examples.

    Classes count by their shares of the data, and not of the examples taken.
    """
    groups, found = by_class(run, data, num), []
    for k, group in enumerate(groups):
        own = jax.random.fold_in(key, k)
        each = bits_per_dim(own, group.pred, group.examples, run.config.data.quantum, divergence).each
        found.append(each[: group.count])
    shares = np.array([group.share for group in groups])
    # One example shows no spread: its class is taken to be as wide as the widest.
    spreads = np.array([each.var(ddof=1) if len(each) > 1 else np.nan for each in found])
    spreads = np.where(np.isnan(spreads), np.fmax.reduce(spreads), spreads)
    variance = np.sum(shares**2 * spreads / [len(each) for each in found])
    mean = np.sum(shares * [each.mean() for each in found])
    return float(mean), float(np.sqrt(variance)), sum(map(len, found))


class Group(NamedTuple):
    """Examples of one class.

    Attributes:
        pred: The model of that class.
        examples: As many as of every other class, so that all are judged by one program: a class that has fewer repeats
            them, from `count` on.
        count: How many are different.
        share: Of the class in the data.
    """

    pred: Predictor
    examples: np.ndarray
    count: int
    share: float


def by_class(run: LoadedRun, data: Dataset, num: int) -> list[Group]:
    """About `num` examples in groups of one size, each with the model of its class and the share that it stands for."""
    if not run.num_classes:
        some = np.asarray(data.examples[_some(len(data.examples), num)])
        return [Group(run.predictor, some, len(some), 1.0)]
    labels = np.asarray(data.labels)
    rows = {label: np.flatnonzero(labels == label) for label in range(run.num_classes)}
    present = {label: found for label, found in rows.items() if len(found)}
    each = min(max(2, num // len(present)), max(len(found) for found in present.values()))
    groups = []
    for label, found in present.items():
        some = found[_some(len(found), each)]
        # By row, since data that stay on disk are read where they are asked for.
        examples = np.asarray(data.examples[np.resize(some, each)])
        groups.append(Group(run.given(label), examples, len(some), len(found) / len(labels)))
    return groups


def _of_score(key: Key, run: LoadedRun, unseen: Dataset, num: int = 64) -> list[Row]:
    """Whether the score is the gradient of anything, and of one path of densities; at three noise levels."""
    pred, path = run.predictor, run.predictor.path
    low, high = path.log_snr(path.t_min), path.log_snr(path.t_max)
    examples = jnp.asarray(np.asarray(unseen.examples[_some(len(unseen.examples), num)]))
    few = int(np.prod(run.shape)) <= EXACT_UP_TO
    rows = []
    for share in (0.25, 0.5, 0.75):
        log_snr = low + share * (high - low)
        t = path.time(log_snr)
        keys = jax.random.split(jax.random.fold_in(key, int(100 * share)), 2)
        x: Array = path.alpha(t) * examples + path.sigma(t) * jax.random.normal(keys[0], examples.shape, examples.dtype)
        probes: dict[str, Any] = {} if few else {"key": keys[1], "num_probes": 8}
        at = f"at log-SNR {float(log_snr):.1f}, of {len(x)} noised held-out examples; 0 for an exact model"
        curl = diagnostics.conservativity(pred, x, t, **probes)
        whole = float(jnp.sqrt(jnp.mean(curl.value**2) / jnp.mean(curl.scale**2)))
        rows.append(Row("not a gradient", whole, None, 0.0, None, f"|J − Jᵀ|/|J| {at}"))
        if few:
            residual = diagnostics.fokker_planck(pred, x, t)
            share_of = float(jnp.median(residual.relative))
            rows.append(Row("Fokker–Planck residual", share_of, None, 0.0, None, f"median of |∂_t s + …|/|∂_t s| {at}"))
        else:
            residual = diagnostics.fokker_planck(pred, x, t, key=keys[1], num_probes=64)
            share_of = float(jnp.median(residual.relative))
            note = f"median of |∂_t s + …|/|∂_t s| by 64 probes, whose noise it includes, {at}"
            rows.append(Row("Fokker–Planck residual", share_of, None, 0.0, None, note))
    return rows


def _of_text(key: Key, run: LoadedRun, unseen: Dataset) -> list[Row]:
    """The bound on held-out nats per character, beside models that count."""
    evaluate = make_evaluation(run.config, run.form, run.apply)
    value = float(evaluate(run.params, unseen, key))
    rows = [Row("nats per character", value, None, None, None, f"a bound, on {len(unseen.examples)} held-out texts")]
    return rows + [
        Row(f"nats per character ({name})", nats, None, None, None, "a model that counts: what a model must beat")
        for name, nats in text_baselines(run.config).items()
    ]
