"""Ancestors from injected uniforms: the deterministic half of every resampler.

A resampler drops M sorted points on [0, 1) and gives each to the particle whose piece of the normalised CDF
holds it. So all that a scheme has to say is *how many of its points lie below each CDF value*; `from_counts`
does the rest in O(N + M), without a search. Ancestors come out sorted.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fkdiff.core import Array, deciding, require
from fkdiff.smc.weights import shifted

LARGEST_FLOAT32 = 2**22

REFUSAL = (
    "a derivative flows through a resampling, whose choice of ancestors carries none; for the derivative of log Z use "
    "fkdiff.gradients.log_normalizer (Fisher's identity) and for that of an average fkdiff.gradients.expectation; or "
    "run with fkdiff.smc.stop_gradient(resample), or with resample=fkdiff.smc.never."
)


def cumulative(log_weights: Array, sentence: str = REFUSAL) -> tuple[Array, Array]:
    """(CDF normalised by its last entry, which particles have positive weight), both of shape (N,).

    Gradients: refused with `sentence`: whoever asks for a CDF is about to choose by it.
    """
    count = log_weights.shape[0]
    require(
        log_weights.dtype == jnp.float64 or count <= LARGEST_FLOAT32,
        f"num_particles={count} exceeds 2**22, beyond which float32 resampling picks wrong ancestors; split it "
        "into independent populations with fkdiff.replicate, or run in double precision.",
    )
    weights = shifted(deciding(log_weights, sentence))
    sums = jnp.cumsum(weights)
    return sums / sums[-1], weights > 0


def from_counts(below: Array, positive: Array, num_points: int) -> Array:
    """Ancestor of each sorted point: the first positive particle with more than k points below its CDF value.

    Args:
        below: Number of points below each particle's CDF value, int32 of shape (N,), `num_points` at the last
            positive one.
        positive: Which particles have positive weight, shape (N,); the others are never chosen.
        num_points: M.

    Returns:
        Ancestors, int32 of shape (M,). A parallel cumulative sum need not be monotone in its last bit; taking
        the *first* particle makes the answer exact all the same.
    """
    index = jnp.arange(below.shape[0], dtype=jnp.int32)
    # Each owner is written at its last point and spreads to the left; slot M is dropped.
    last_point = jnp.where(positive & (below > 0), below - 1, num_points)
    last_owner = jnp.max(jnp.where(positive, index, 0))
    owners = jnp.full((num_points,), last_owner, jnp.int32).at[last_point].min(index, mode="drop")
    return jax.lax.cummin(owners, reverse=True)


def systematic_ancestors(u: Array, log_weights: Array, num_points: int | None = None, sentence: str = REFUSAL) -> Array:
    """Ancestors of the points (k + u)/M.

    Args:
        u: One uniform in [0, 1), shape ().
        log_weights: Shape (N,).
        num_points: M; N by default.
        sentence: What a derivative through the choice raises.
    """
    cdf, positive = cumulative(log_weights, sentence)
    num_points = num_points or cdf.shape[0]
    stratum, rest = _split(num_points * cdf)
    return from_counts(_whole(stratum + (u < rest).astype(jnp.int32), cdf, num_points), positive, num_points)


def stratified_ancestors(u: Array, log_weights: Array) -> Array:
    """Ancestors of the points (k + u_k)/N, for uniforms u in [0, 1) of shape (N,)."""
    cdf, positive = cumulative(log_weights)
    count = cdf.shape[0]
    stratum, rest = _split(count * cdf)
    own = u[jnp.minimum(stratum, count - 1)]
    return from_counts(_whole(stratum + (own < rest).astype(jnp.int32), cdf, count), positive, count)


def multinomial_ancestors(u: Array, log_weights: Array) -> Array:
    """Ancestors of N independent points, from N + 1 uniforms in [0, 1): their spacings are exponential."""
    cdf, positive = cumulative(log_weights)
    sums = jnp.cumsum(-jnp.log1p(-u))
    below = _points_below(sums[:-1] / sums[-1], cdf)
    return from_counts(_whole(below, cdf, cdf.shape[0]), positive, cdf.shape[0])


def residual_ancestors(u: Array, log_weights: Array) -> Array:
    """⌊N W_i⌋ copies of each particle, the rest multinomial in N W_i − ⌊N W_i⌋; N + 1 uniforms as above."""
    _, positive = cumulative(log_weights)
    weights = shifted(log_weights)
    count = weights.shape[0]
    index = jnp.arange(count, dtype=jnp.int32)
    # N/Σw first: equal weights then give exactly one copy each.
    expected = weights * (count / weights.sum())
    copies = jnp.floor(expected)
    remaining = jnp.maximum(count - copies.astype(jnp.int32).sum(dtype=jnp.int32), 0)
    sums = jnp.cumsum(expected - copies)
    cdf = sums / jnp.where(sums[-1] > 0, sums[-1], 1.0)
    arrivals = jnp.cumsum(-jnp.log1p(-u))
    # Only the first `remaining` of the N arrivals are points; those after lie above every CDF value.
    points = arrivals[:-1] / arrivals[remaining]
    points = jnp.where(index < remaining, points, 2.0)
    drawn = jnp.where(cdf >= 1, remaining, _points_below(points, cdf))
    below = jnp.cumsum(copies.astype(jnp.int32), dtype=jnp.int32) + drawn
    # From the last positive particle on every point is below.
    last = jnp.max(jnp.where(positive, index, 0))
    return from_counts(jnp.where(index >= last, count, below), positive, count)


def _split(scaled: Array) -> tuple[Array, Array]:
    """⌊x⌋ and x − ⌊x⌋, both exact: k + u < x is then decided without rounding, where ⌈x − u⌉ would round."""
    whole = jnp.floor(scaled)
    return whole.astype(jnp.int32), scaled - whole


def _points_below(points: Array, cdf: Array) -> Array:
    """Number of sorted points below each CDF value, shape (N,)."""
    return jnp.searchsorted(points, cdf, side="left").astype(jnp.int32)


def _whole(below: Array, cdf: Array, num_points: int) -> Array:
    """int32 counts in [0, M]; a CDF that has reached 1 has every point below it, whatever u rounds to."""
    return jnp.where(cdf >= 1, num_points, jnp.clip(below, 0, num_points))
