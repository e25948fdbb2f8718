"""Independent populations, pooled: the error bar that assumes nothing about what happens inside one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import (
    Array,
    Key,
    PyTree,
    Status,
    checkpoint_segments,
    concrete,
    enough_memory,
    particle_keys,
    require,
    whole,
)
from fkdiff.core.host import intended_transfers
from fkdiff.smc import arguments
from fkdiff.smc.drivers.run import answered
from fkdiff.smc.model import Model
from fkdiff.smc.resamplers.resampling import ResampleFunction
from fkdiff.smc.results._expectation import expectation
from fkdiff.smc.results.estimate import Estimate
from fkdiff.smc.results.health import problems as problems_of_one
from fkdiff.smc.results.result import SMCResult
from fkdiff.smc.weights import ess, log_mean_exp, normalized

DOMINANT = 0.5


class Replicates(eqx.Module):
    """n independent runs of one model.

    Attributes:
        runs: An `SMCResult` whose every array has a leading axis n.
    """

    runs: SMCResult

    @property
    def num_populations(self) -> int:
        """n."""
        return self.runs.log_normalizer.shape[0]

    @property
    def log_normalizer(self) -> Array:
        """log of the mean of the Ẑ_r: its exponential is unbiased, as each Ẑ_r is."""
        return log_mean_exp(self.runs.log_normalizer)

    @property
    def evidence(self) -> Estimate:
        """log Z with the between-population error, by the delta method on the mean of the Ẑ_r, and the steps'."""
        n = self.num_populations
        shares = normalized(self.runs.log_normalizer)  # Ẑ_r over their sum
        variance = jnp.sum((n * shares - 1) ** 2) / (n - 1)
        # Every population takes the same steps, so that more of them do not make this error smaller.
        steps = self.runs.info.step_error
        of_steps = jnp.zeros((), variance.dtype) if steps is None else jnp.sum(shares * steps)
        return Estimate(self.log_normalizer, jnp.hypot(jnp.sqrt(variance / n), of_steps), n - 1)

    @intended_transfers
    def expectation(self, f: Callable[[PyTree], PyTree], chunk: int | None = None) -> Any:
        """Σ Ẑ_r η_r(f) / Σ Ẑ_r with the between-population error.

        Args:
            f: A function of ONE particle, returning an array of any shape, or a pytree of arrays.
            chunk: Particles per call of f.

        Returns:
            `Estimate` with n − 1 degrees of freedom, of a tree a tree of them; the variance of the ratio is
            (n/(n − 1)) Σ p_r² (η_r − η)², p_r = Ẑ_r/ΣẐ.
        """
        found = _averages(self.runs, f, chunk)
        return jax.tree.map(self._pooled, found, is_leaf=lambda leaf: isinstance(leaf, Estimate))

    def _pooled(self, found: Estimate) -> Estimate:
        """One `Estimate` of those of the populations."""
        n, values = self.num_populations, found.value
        shares = normalized(self.runs.log_normalizer).reshape((n,) + (1,) * (values.ndim - 1))
        # An extinct population has no average and no share.
        values = jnp.where(shares == 0, jnp.zeros_like(values), values)
        shares = shares.astype(values.dtype)
        value = jnp.sum(shares * values, axis=0)
        variance = n / (n - 1) * jnp.sum((shares * (values - value[None])) ** 2, axis=0)
        steps = None
        if found.steps is not None:
            bars = jnp.where(shares == 0, jnp.zeros_like(found.steps), found.steps)
            steps = jnp.sum(shares * bars.astype(values.dtype), axis=0)
            variance = variance + steps**2
        index = None if found.tail_index is None else jnp.nanmean(found.tail_index, axis=0)
        return Estimate(value, jnp.sqrt(variance), n - 1, index, steps, found.heavy)

    def population(self, r: int) -> SMCResult:
        """The run of population r, from 0."""
        require(
            isinstance(r, int | np.integer) and -self.num_populations <= r < self.num_populations,
            f"r={r} is not one of the populations 0 to {self.num_populations - 1}.",
        )
        return jax.tree.map(lambda leaf: leaf[r], self.runs)

    @intended_transfers
    def problems(self) -> tuple[list[str], list[str]]:
        """As of one run, naming the populations; an extinct one among others counts as Ẑ = 0, and is a doubt."""
        n, seen_errors, seen_doubts = self.num_populations, {}, {}
        for r in range(n):
            errors, doubts = problems_of_one(self.population(r))
            extinct = int(self.runs.info.status[r]) == Status.EXTINCT
            for sentence in errors:
                (seen_doubts if extinct else seen_errors).setdefault(_kind(sentence), []).append((r, sentence))
            for sentence in doubts:
                seen_doubts.setdefault(_kind(sentence), []).append((r, sentence))
        if all(int(status) == Status.EXTINCT for status in self.runs.info.status):
            seen_errors, seen_doubts = seen_doubts, {}
        doubts = [_gathered(found, n) for found in seen_doubts.values()]
        largest = float(normalized(self.runs.log_normalizer).max())
        if n > 2 and largest > DOMINANT:
            doubts.append(
                f"one population of {n} holds {largest:.0%} of the pooled weight, so its error bar rests on one run; "
                "use more particles or populations; see SYMPTOMS.md#collapsed-weights"
            )
        return [_gathered(found, n) for found in seen_errors.values()], doubts

    @intended_transfers
    def __repr__(self) -> str:
        if concrete(self.runs.log_normalizer) is None or concrete(self.runs.info.status) is None:
            return eqx.tree_pformat(self)
        evidence, info = self.evidence, self.runs.info
        low, high = evidence.interval()
        share = float(ess(self.runs.log_normalizer))
        rows = [
            ("log Z", f"{evidence}  (95 %: {float(low):.5g} to {float(high):.5g})"),
            ("populations", f"{self.num_populations}, worth {share:.3g} equal ones"),
            (
                "ESS",
                f"{float(jnp.median(info.ess[:, -1])):.4g} at the end (median), {float(info.ess.min()):.4g} at worst",
            ),
            ("R", "not measured" if jnp.isnan(info.R).all() else f"{float(jnp.nanmax(info.R)):.3g} at worst"),
        ]
        errors, doubts = self.problems()
        rows += [("failure", text) for text in errors] + [("doubt", text) for text in doubts]
        head = f"Replicates: {self.num_populations} × {self.runs.log_weights.shape[-1]} particles"
        return "\n".join([head, *(f"  {name:<12} {text}" for name, text in rows)])

    __str__ = __repr__


def replicate(
    key: Key,
    num_populations: int,
    model: Model,
    grid: Array,
    num_particles: int = 1024,
    *,
    resample: ResampleFunction | None = None,
    chunk: int | None = None,
    collect: Callable[..., Any] | None = None,
    on_nan: str = "error",
    checkpoint: int | None = None,
    safety: bool = True,
) -> Replicates:
    """Runs `num_populations` independent populations, one after the other, compiled once.

    Their spread is the honest error of log Z: it sees the coupling by control and ancestors long forgotten, both of
    which one run cannot. The populations run in a `lax.map`, since `vmap` would turn every conditional resampling
    and refresh into both of its branches.

    Args:
        key: One typed key; population r uses `fold_in(key, r)`.
        num_populations: n, at least 2.
        model: As in `run_smc`, with the arguments that follow.
        grid: Times, (K + 1,).
        num_particles: N of each population.
        resample: A resampler; `adaptive(systematic, 0.5)` by default.
        chunk: As in `run_smc`.
        collect: As in `run_smc`.
        on_nan: As in `run_smc`.
        checkpoint: As in `run_smc`.
        safety: As in `run_smc`, for each population.

    Returns:
        `Replicates`: `.evidence`, `.expectation(f)`, `.runs`. Memory: n final populations.
    """
    run = arguments.checked(key, model, grid, num_particles, resample, chunk, collect, on_nan)
    num_populations = whole("num_populations", num_populations, 2, "for one population use run_smc")
    keys = particle_keys(run.key, num_populations)
    with enough_memory(f"num_particles={run.num_particles}"):
        return Replicates(_run(keys, *run[1:], checkpoint_segments(checkpoint), resample is not None, safety))


@eqx.filter_jit
def _run(keys, model, grid, num_particles, resample, collect, on_nan, checkpoint, given, safety) -> SMCResult:
    def one(key):
        return answered(key, model, grid, num_particles, resample, collect, on_nan, checkpoint, given, safety)

    return jax.lax.map(one, keys)


@eqx.filter_jit
def _averages(runs: SMCResult, f: Callable[[PyTree], PyTree], chunk: int | None) -> Any:
    """η_r(f) of every population, compiled once per function f."""
    return jax.lax.map(lambda run: expectation(run, f, chunk), runs)


def _kind(sentence: str) -> str:
    """Sentences of one kind differ in their numbers only: the symptom they point to, or their last clause."""
    return sentence.rsplit("SYMPTOMS.md#" if "SYMPTOMS.md#" in sentence else ": ", 1)[-1]


def _gathered(found: list[tuple[int, str]], total: int) -> str:
    first, sentence = found[0]
    return f"population {first}, one of {len(found)} such among {total}: {sentence}"
