"""Evidence from both ends: up from the prior, down from exact draws of the target, and both together.

    E log Ẑ ≤ log Z      of a run from the prior            (Jensen; Ẑ is unbiased)
    E log Ẑ′ ≤ −log Z    of a run from the target back      so that −log Ẑ′ lies above log Z in the mean

The two bracket log Z whatever the moves are like, which one side alone cannot show. Where neither run resampled,
Bennett's acceptance ratio uses the log-weights of both: it is the root C of

    Σ_F f(M − w_i + C) = Σ_R f(−M − w′_j − C),    f(x) = 1/(1 + eˣ),  M = log(n_F/n_R)

References: Bennett (1976), eq. 12; Crooks (1999); Grosse, Ghahramani and Adams (2015) for the bracket.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, PyTree, bisect, concrete, expect, require
from fkdiff.smc.results.estimate import Estimate
from fkdiff.smc.results.result import SMCResult
from fkdiff.smc.samplers._tempering import Tempered

HALVINGS = 60


def backwards(model: Tempered, sample_target: Callable[[Key], PyTree]) -> Tempered:
    """The same temperatures from 1 down to 0, from exact draws of the target; log Ẑ estimates −log Z.

    Run it on `1 − grid[::-1]` of the forward run: its moves are then the forward ones in reverse order.

    Args:
        model: From `tempering`, on a fixed schedule.
        sample_target: `sample_target(key) -> position` of the law at λ = 1, exactly; such as draws of a posterior that
            was simulated with its data.

    Raises:
        FkdiffError: The model's schedule is adaptive, or its moves are tuned.
    """
    expect("model", model, Tempered, "pass what fkdiff.smc.tempering returns")
    require(callable(sample_target), f"sample_target={sample_target!r} is not a function; pass sample_target(key).")
    require(
        model.ess is None and not model.moves.tuned,
        "the model chooses temperatures or step sizes from its population, and its reverse would choose others; "
        "freeze it first: model = fkdiff.smc.freeze(key, model, grid, num_particles).",
    )
    return dataclasses.replace(model, draw=sample_target, backwards=not model.backwards)


class TwoSided(eqx.Module):
    """log Z from both ends.

    Attributes:
        lower: log Ẑ of the forward run: at most log Z in the mean.
        upper: −log Ẑ′ of the backward run: at least log Z in the mean.
        bar: Bennett's estimate with its standard error; None where a run resampled.
    """

    lower: Array
    upper: Array
    bar: Estimate | None


def two_sided(forward: SMCResult, backward: SMCResult) -> TwoSided:
    """log Z by a run from the prior and a run from the target.

    Args:
        forward: Of `tempering`.
        backward: Of `backwards(model, sample_target)`, on the reversed grid.

    Returns:
        `TwoSided`. Its gap shrinks with more temperatures, better moves and more particles.

    Raises:
        FkdiffError: An argument is no result of one run.
    """
    for name, out in (("forward", forward), ("backward", backward)):
        expect(name, out, SMCResult, "pass what fkdiff.run_smc returns")
    resampled = concrete(forward.info.resamplings + backward.info.resamplings)
    annealed = resampled is not None and int(resampled) == 0
    bar = bennett(forward.log_weights, backward.log_weights) if annealed else None
    return TwoSided(forward.log_normalizer, -backward.log_normalizer, bar)


def bennett(forward: Array, backward: Array) -> Estimate:
    """Bennett's acceptance ratio of log-weights that were never resampled.

    Args:
        forward: log-weights of paths from the prior, shape (n,).
        backward: Of paths from the target along the reversed schedule, shape (m,); n and m may differ.

    Returns:
        `Estimate` of log Z; the standard error is the asymptotic one.

    Cost: 60 passes over the weights.

    References: Bennett (1976), eqs. 10 and 12; Shirts et al. (2003).
    """
    offset = jnp.log(forward.shape[0] / backward.shape[0]).astype(forward.dtype)

    def excess(c: Array) -> Array:
        up, down = jax.nn.sigmoid(forward - offset - c), jax.nn.sigmoid(backward + offset + c)
        return jnp.sum(up) - jnp.sum(down)

    values = jnp.concatenate([forward, -backward])
    values = jnp.where(jnp.isfinite(values), values, 0.0)
    reach = jnp.abs(offset) + 50
    # The excess falls as C grows.
    low, high = bisect(lambda c: excess(c) > 0, jnp.min(values) - reach, jnp.max(values) + reach, HALVINGS)
    c = 0.5 * (low + high)
    up, down = jax.nn.sigmoid(forward - offset - c), jax.nn.sigmoid(backward + offset + c)
    variance = sum((jnp.mean(f**2) / jnp.mean(f) ** 2 - 1) / f.shape[0] for f in (up, down))
    return Estimate(c, jnp.sqrt(variance))
