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
