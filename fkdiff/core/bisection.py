"""Bisection: the one search of a monotone function's threshold, of fixed length so that it compiles and batches."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fkdiff.core.types import Array


def bisect(below: Callable[[Array], Array], low: Array, high: Array, halvings: int) -> tuple[Array, Array]:
    """The bracket [low, high] around the place where `below` turns from true to false, halved `halvings` times.

    Args:
        below: `below(x) -> bool`, true to the left of the threshold; elementwise for arrays.
        low: Where it is true, or taken to be.
        high: Where it is false, or taken to be.
        halvings: The bracket shrinks by 2 to this power.

    Gradients: none; what is found is compared and not differentiated.
    """

    def halve(_, bracket):
        low, high = bracket
        middle = 0.5 * (low + high)
        left = below(middle)
        return jnp.where(left, middle, low), jnp.where(left, high, middle)

    return jax.lax.fori_loop(0, halvings, halve, (low, high))


def bisect_magnitude(below: Callable[[Array], Array], low: Array, high: Array, halvings: int) -> tuple[Array, Array]:
    """`bisect` in the logarithm of x > 0, where the threshold may lie many orders of magnitude below `high`.

    From 1e-30 to 1 an x is known to a relative 69/2^halvings, or the last few bits; halving x itself n times finds 0
    for every threshold below 2^−n.
    """
    bracket = bisect(lambda log_x: below(jnp.exp(log_x)), jnp.log(low), jnp.log(high), halvings)
    return jnp.exp(bracket[0]), jnp.exp(bracket[1])
