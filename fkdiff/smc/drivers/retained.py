"""Resampling given the parent of slot 0: what a conditional particle filter does to keep its reference.

A scheme is a joint law of ancestors A^0 … A^{N−1} with P(A^i = j) = W_j for every slot i. Its conditional form draws
the others from that law *given* A^0 = parent; drawing the parent from W first gives the scheme itself back.

Fixing the slot at 0 is exact if the law of a sweep does not depend on which slot holds the reference. For multinomial
that is clear: any permutation of slots leaves the law alone. For systematic, slot i takes the point (U + i/N) mod 1
on a circle cut into arcs of lengths W_j in the order of the slots; renumbering parents cyclically turns the circle,
renumbering children cyclically shifts U, and both leave U uniform. So the law does not depend on the slot, and given
A^0 = parent, U is uniform on the parent's arc.

References:
    Andrieu, Doucet and Holenstein (2010), section 4.3; Chopin and Singh (2015), on conditional systematic resampling.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key
from fkdiff.smc.resamplers.ancestors import cumulative

REFUSAL = (
    "a derivative flows through conditional SMC, whose choice of ancestors and of a trajectory carries none; use "
    "fkdiff.gradients.expectation on collected sweeps (the covariance identity E[∂f] + Cov(f, ∂ log p), with p the law "
    "of the whole trajectory), or fkdiff.gradients.along_paths."
)

# scheme(key, log_weights, parent) -> ancestors, int32 (N,), with ancestors[0] = parent
Retaining = Callable[[Key, Array, Array], Array]


def multinomial(key: Key, log_weights: Array, parent: Array) -> Array:
    """The other N − 1 slots draw independently.

    Args:
        key: A typed key.
        log_weights: Unnormalised, (N,), at least one positive weight.
        parent: The ancestor of slot 0, int32 ().

    Returns:
        Ancestors, int32 (N,). Cost: O(N log N).
    """
    cdf, last = _arcs(log_weights)
    points = jax.random.uniform(key, log_weights.shape, cdf.dtype)
    return _owners(points, cdf, last).at[0].set(parent)


def systematic(key: Key, log_weights: Array, parent: Array) -> Array:
    """Slots at points (v + i/N) mod 1, v uniform on the parent's arc of the normalised CDF.

    Args, Returns, Cost: as `multinomial`.
    """
    cdf, last = _arcs(log_weights)
    count = log_weights.shape[0]
    begins = jnp.concatenate([jnp.zeros((1,), cdf.dtype), jnp.maximum(cdf[:-1], 0.0)])
    low, high = begins[parent], cdf[parent]
    v = low + jax.random.uniform(key, (), cdf.dtype) * (high - low)
    points = (v + jnp.arange(count, dtype=cdf.dtype) / count) % 1.0
    return _owners(points, cdf, last).at[0].set(parent)


RETAINING: dict[str, Retaining] = {"multinomial": multinomial, "systematic": systematic}


def _arcs(log_weights: Array) -> tuple[Array, Array]:
    """(CDF, the last positive particle); the dead end where the one before them ends, so that none is chosen.

    A parallel cumulative sum need not be monotone in its last bit: the running maximum makes it so.
    """
    cdf, positive = cumulative(log_weights, REFUSAL)
    last = jnp.max(jnp.where(positive, jnp.arange(cdf.shape[0], dtype=jnp.int32), 0))
    return jax.lax.cummax(jnp.where(positive, cdf, -1.0)), last


def _owners(points: Array, cdf: Array, last: Array) -> Array:
    """The first particle whose CDF value exceeds each point, int32."""
    return jnp.minimum(jnp.searchsorted(cdf, points, side="right").astype(jnp.int32), last)
