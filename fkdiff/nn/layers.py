"""The layers that every network here is made of, and their initial parameters."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer

from fkdiff.core import Array, Key

_BLOCK = 1 << 14


@jax.jit
def _block(key: Key, index: Array) -> Array:
    return jax.random.normal(jax.random.fold_in(key, index), (_BLOCK,), jnp.float32)


def standard_normal(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Independent N(0, 1) entries, in the way of `jax.nn.initializers`.

    A random number generator takes half a second to compile and a network has dozens of shapes, so the numbers
    come in blocks of one size. Under a trace (where only the shape is wanted) they are drawn in one go.
    """
    if isinstance(key, Tracer):
        return jax.random.normal(key, shape, dtype)
    size = math.prod(shape)
    blocks = [np.asarray(_block(key, jnp.int32(i))) for i in range(-(-size // _BLOCK))]
    return jnp.asarray(np.concatenate(blocks)[:size].reshape(shape), dtype)


def fan_in(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """N(0, 1/n) entries, where n inputs feed each output: the variance passes through unchanged."""
    return standard_normal(key, shape, dtype) / np.sqrt(math.prod(shape[:-1])).astype(dtype)


def zeros(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Zeros: the layer is silent until it has learnt something."""
    return jnp.asarray(np.zeros(shape, dtype))


def dense(inside: int, outside: int, *, rngs: nnx.Rngs, kernel: Any = fan_in) -> nnx.Linear:
    """x ↦ x W + b on the last axis."""
    return nnx.Linear(inside, outside, kernel_init=kernel, bias_init=zeros, rngs=rngs)


def convolution(inside: int, outside: int, *, rngs: nnx.Rngs, size: int = 3, kernel: Any = fan_in) -> nnx.Conv:
    """A `size` × `size` convolution of a (height, width, channels) image, which keeps height and width."""
    return nnx.Conv(inside, outside, (size, size), padding="SAME", kernel_init=kernel, bias_init=zeros, rngs=rngs)


def normalised(x: Array, eps: float = 1e-5) -> Array:
    """x with mean 0 and variance 1 over its last axis."""
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + eps)
