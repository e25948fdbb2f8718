"""What one steering run yields: a weighted population beside as many draws of the heuristic, at equal cost."""

from __future__ import annotations

import time
import warnings
from typing import Any, NamedTuple

import fkdiff as fk
from fkdiff.errors import FkdiffWarning
from fkdiff.tasks.case import Case, Setting
from fkdiff.tasks.later import eqx, jax, jnp, keys, np


class Outcome(NamedTuple):
    """A case, sampled.

    Attributes:
        case: What was asked.
        result: The population; several are pooled into one.
        log_z: log Z, its standard error, and whether that only bounds from below.
        draws: Equally weighted draws, (num_samples, *shape).
        heuristic: Draws of the baseline at equal cost, (M, *shape).
        seconds: Wall time of the exact run, compilation included, and of the baseline.
        heuristic_cost: Model calls per draw of the baseline.
        doubts: Sentences that ask for a second look.
    """

    case: Case
    result: fk.SMCResult
    log_z: tuple[float, float, bool]
    draws: np.ndarray
    heuristic: np.ndarray
    seconds: tuple[float, float]
    heuristic_cost: int
    doubts: list[str]

    @property
    def weights(self) -> np.ndarray:
        """Normalised weights of the population, (N,)."""
        return np.asarray(fk.smc.normalized(self.result.log_weights), np.float64)


def sample(case: Case, setting: Setting, number: int) -> Outcome:
    """Runs the engine and the heuristic."""
    config = setting.config
    key = jax.random.fold_in(keys.seed_key(config.seed), number)
    start = time.perf_counter()
    result, log_z, doubts = populations(key, case, config.engine)
    seconds = time.perf_counter() - start
    draws = fk.smc.resample(keys.stream(key, keys.Use.RESAMPLE), result, config.num_samples)
    start = time.perf_counter()
    calls = int(result.info.evaluations) + int(result.info.jvps)
    key_baseline, size = keys.stream(key, keys.Use.NOISE), result.log_weights.shape[0]
    plain, cost = case.baseline.draw(key_baseline, calls, size, config.num_samples)
    waited = time.perf_counter() - start
    doubts += disagreement(case, log_z)
    return Outcome(case, result, log_z, np.asarray(draws), np.asarray(plain), (seconds, waited), cost, doubts)


def populations(key, case: Case, engine: Any) -> tuple[fk.SMCResult, tuple[float, float, bool], list[str]]:
    """One population, or several pooled: the result, log Z with its error, and what is doubtful."""
    # Learned models of pictures need resampling early, where the runs beside a run could not fill anything in.
    model, times, rule = case.model, case.times, fk.smc.adaptive(fk.smc.systematic, engine.resample_threshold)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FkdiffWarning)
        if engine.num_populations == 1:
            out = fk.check(fk.run_smc(key, model, times, engine.num_particles, resample=rule, safety=False))
            error = fk.smc.log_normalizer_error(out)
            found = out, (float(out.log_normalizer), float(error.standard_error), bool(error.is_lower_bound))
        else:
            many = fk.check(
                fk.replicate(
                    key, engine.num_populations, model, times, engine.num_particles, resample=rule, safety=False
                )
            )
            evidence = many.evidence
            found = _pooled(many), (float(evidence.value), float(evidence.standard_error), False)
    return *found, [str(w.message) for w in caught if issubclass(w.category, FkdiffWarning)]


def _pooled(many) -> fk.SMCResult:
    """All populations as one, each particle weighted by its population's Ẑ; diagnostics of the worst."""
    runs = many.runs
    flat = lambda leaf: leaf.reshape(-1, *leaf.shape[2:])  # noqa: E731
    within = jax.nn.log_softmax(runs.log_weights, axis=1) + runs.log_normalizer[:, None]
    worst = many.population(int(jnp.argmin(jnp.min(runs.info.ess, axis=1))))
    size = runs.log_weights.shape[1]
    offsets = size * jnp.arange(runs.log_weights.shape[0], dtype=jnp.int32)[:, None]
    info = eqx.tree_at(lambda i: i.ancestors, worst.info, flat(runs.info.ancestors + offsets))
    return fk.SMCResult(jax.tree.map(flat, runs.particles), flat(within), many.log_normalizer, info, None, runs.scheme)


def disagreement(case: Case, log_z: tuple[float, float, bool]) -> list[str]:
    """A doubt where log Z exceeds what is possible for models that agree."""
    value, error, _ = log_z
    if case.log_z_bound is None or not value - 2 * error > case.log_z_bound:
        return []
    return [
        f"log Z = {value:.3g} exceeds {case.log_z_bound:.3g} nats, the most that is possible where the unconditional "
        "model is the mixture of its classes: the learned models disagree, and the target has what they disagree on in "
        "it; use a smaller scale, or train with weight decay and label dropout; see SYMPTOMS.md#models-that-disagree"
    ]
