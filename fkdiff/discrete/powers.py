"""Σ β_i log p_i where some log p_i are −∞."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp

from fkdiff.core import Array


def power_product(exponents: Sequence[Array], log_probs: Sequence[Array]) -> Array:
    """log Π p_i^{β_i}, of one shape. What a factor of positive exponent forbids is forbidden, whatever the others say;
    what only one of negative exponent forbids has mass +∞; an exponent of 0 says nothing.
    """
    total = jnp.zeros(log_probs[0].shape, log_probs[0].dtype)
    never = always = jnp.zeros(total.shape, bool)
    for beta, said in zip(exponents, log_probs, strict=True):
        impossible = said == -jnp.inf
        total = total + beta * jnp.where(impossible, 0.0, said)
        never = never | (impossible & (beta > 0))
        always = always | (impossible & (beta < 0))
    return jnp.where(never, -jnp.inf, jnp.where(always, jnp.inf, total))
