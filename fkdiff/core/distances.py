"""Squared Euclidean distances between rows."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fkdiff.core.types import Array


def squared_distances(first: Array, second: Array) -> Array:
    """|first_i − second_j|², (n, m), of rows (n, d) and (m, d); never negative.

    Rows are centred first, so that a common offset costs no digits, and products keep full precision on accelerators.
    """
    centre = jax.lax.stop_gradient(first.mean(axis=0, keepdims=True))
    first, second = first - centre, second - centre
    products = jnp.matmul(first, second.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.maximum(jnp.sum(first**2, axis=1)[:, None] + jnp.sum(second**2, axis=1)[None, :] - 2 * products, 0.0)
