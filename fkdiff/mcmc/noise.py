"""Standard normal noise like a position, with half the threefry calls that `jax.random.normal` makes in float32.

A threefry call gives 64 bits. `jax.random.bits` folds them into 32; the data of split keys are the same calls unfolded,
and each half is as random as the whole. Noise is half of the cost of a Langevin step on a cheap density.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, PyTree


def normal_like(key: Key, position: PyTree) -> PyTree:
    """ξ ~ N(0, I), a pytree like the position; the key is used up."""
    leaves, shape = jax.tree.flatten(position)
    keys = [key] if len(leaves) == 1 else jax.random.split(key, len(leaves))
    return jax.tree.unflatten(shape, [_normal(k, leaf) for k, leaf in zip(keys, leaves, strict=True)])


def uniform(key: Key, like: Array) -> Array:
    """u ~ U[0, 1), a scalar in the dtype of `like`; the key is used up."""
    return jax.random.uniform(key, (), like.dtype)


def _normal(key: Key, leaf: Array) -> Array:
    if leaf.dtype != jnp.float32 or jax.random.key_impl(key) != "threefry2x32" or leaf.size < 2:
        return jax.random.normal(key, leaf.shape, leaf.dtype)
    words = jax.random.key_data(jax.random.split(key, (leaf.size + 1) // 2)).reshape(-1)[: leaf.size]
    mantissa = (words >> jnp.uint32(9)) | jnp.uint32(0x3F800000)
    unit = jax.lax.bitcast_convert_type(mantissa, jnp.float32) - jnp.float32(1.0)  # k / 2²³, k = 0 … 2²³ − 1
    centred = jnp.float32(2.0) * unit - jnp.float32(1.0 - 2.0**-23)  # symmetric, never ±1
    return (jnp.float32(math.sqrt(2.0)) * jax.lax.erf_inv(centred)).reshape(leaf.shape)
