"""The standard error of log Ẑ, from one run and its genealogy."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp

from fkdiff.core import Array
from fkdiff.core.host import intended_transfers
from fkdiff.smc.weights import normalized

if TYPE_CHECKING:
    from fkdiff.smc.results.result import SMCResult

# Below this many surviving ancestors, or above this variance, the estimate only bounds from below.
FEW_ANCESTORS, LARGE_VARIANCE = 20, 0.3


class EvidenceError(NamedTuple):
    """The error of log Ẑ.

    Attributes:
        standard_error: √(V + b²): of sampling and of steps together, one sigma.
        is_lower_bound: Whether √V only bounds the error of sampling from below.
        sampling: √V.
        steps: b, what the steps may add, from a run of half the steps; None where it was not measured.
    """

    standard_error: Array
    is_lower_bound: Array
    sampling: Array
    steps: Array | None = None


def ancestor_weights(out: SMCResult) -> Array:
    """q_j, the final weight of all descendants of the time-0 particle j, (N,)."""
    weights = normalized(out.log_weights)
    return jnp.zeros_like(weights).at[out.info.ancestors].add(weights)


def relative_variance(out: SMCResult) -> Array:
    """V, an estimate of Var(Ẑ)/Z²; it may be negative where it is not to be trusted.

        no resampling   V = (N/ESS − 1)/(N − 1)
        multinomial     V = 1 − (N/(N − 1))^{R+1} (1 − Σ q_j²)      R resamplings
        other schemes   V = Σ q_j² − 1/N

    The last is within a quarter for systematic and stratified resampling, and errs upwards for residual (by 5 % when
    adaptive, up to 40 % when resampling at every step), where the one above it would err downwards, to a sixth.

    Of waste-free runs the last takes the states of one chain for copies of one particle, so that it errs upwards.

    With multinomial resampling at every step, or none, E[Ẑ² (1 − V)] = Z² exactly.

    References: Lee and Whiteley (2018), eq. 9; Chan and Lai (2013), eq. 2.19.
    """
    shares = ancestor_weights(out)
    count = out.strata[0] if out.strata else shares.shape[0]
    squares, resamplings = jnp.sum(shares**2), out.info.resamplings
    if out.scheme == "multinomial":
        factor = (count / (count - 1)) ** (resamplings + 1).astype(shares.dtype)
        lineage = 1 - factor * (1 - squares)
    else:
        lineage = squares - 1 / count
    independent = stratified_variance(normalized(out.log_weights), out.strata)
    return jnp.where(resamplings > 0, lineage, independent)


def stratified_variance(contributions: Array, strata: tuple[int, ...]) -> Array:
    """The variance of a sum of independent contributions, (N, …) -> (…), n_g of each rule g: Σ_g n_g² Var_g / n_g."""
    total, start = jnp.zeros(contributions.shape[1:], contributions.dtype), 0
    for size in strata or (contributions.shape[0],):
        some = contributions[start : start + size]
        start += size
        total = total + jnp.sum((some - jnp.mean(some, axis=0, keepdims=True)) ** 2, axis=0) * size / max(size - 1, 1)
    return total


@intended_transfers
def lineage_inflation(out: SMCResult) -> Array:
    """How much more unequal families are than the weights at every resampling account for; 1 when not at all.

    N Σ q_j² over 1 + Σ (N/ESS − 1), the sum over all resamplings and the end. Weights that have nothing to do with each
    other from one resampling to the next give about 1. Where one and the same family gains every time, as the particles
    of a mode that must grow do, the ratio is large, though every single ESS looks healthy.

    Of waste-free runs a family of one chain has P members, the least that a family can have, so that all is P times as
    unequal; and how often a chain is chosen again is a whole number near its mass, which adds up to ⅙, the mean of
    f (1 − f) over fractions f, at every resampling.
    """
    count = out.log_weights.shape[0]
    losses = count / jnp.maximum(out.info.ess, 1.0) - 1
    added, block = losses[:-1], jnp.ones(())
    if out.scheme == "waste-free":
        sizes = jnp.zeros(count, jnp.int32).at[out.info.ancestors].add(1)
        block = jnp.min(jnp.where(sizes > 0, sizes, count)).astype(losses.dtype)
        added = added + jnp.minimum(1 / 6, jnp.sqrt(jnp.maximum(added, 0.0)))
    accounted = block * (1 + jnp.sum(jnp.where(out.info.resampled, added, 0.0)) + losses[-1])
    return count * jnp.sum(ancestor_weights(out) ** 2) / accounted


@intended_transfers
def log_normalizer_error(out: SMCResult) -> EvidenceError:
    """The standard error of log Ẑ: √V of sampling, to first order, and of the steps where it was measured.

    It is a lower bound when fewer than 20 ancestors survive or V > 0.3: a genealogy that has forgotten its start
    cannot tell how uncertain that start was, nor can that of particles which are mixtures. Control couples the
    particles, which no genealogy shows: prefer `fkdiff.replicate` there.
    """
    variance = relative_variance(out)
    survivors, count = jnp.sum(ancestor_weights(out) > 0), out.log_weights.shape[0]
    doubtful = (survivors < min(FEW_ANCESTORS, count)) | (variance > LARGE_VARIANCE) | (variance < 0)
    # A mixture of many particles has no one ancestor: its families are those of the largest shares.
    doubtful = doubtful | ((out.scheme == "transport") & (out.info.resamplings > 0))
    sampling, steps = jnp.sqrt(jnp.maximum(variance, 0.0)), out.info.step_error
    return EvidenceError(sampling if steps is None else jnp.hypot(sampling, steps), doubtful, sampling, steps)
