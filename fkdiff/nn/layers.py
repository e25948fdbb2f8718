"""The layers that every network here is made of, and their initial parameters."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer

from fkdiff.core import Array, Key, bernoulli

_BLOCK = 1 << 14
RATE = "a derivative flows into the rate of dropout, whose choices carry none; pass the rate as a constant."


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


def convolution(
    inside: int, outside: int, *, rngs: nnx.Rngs, size: int = 3, axes: int = 2, kernel: Any = fan_in
) -> nnx.Conv:
    """A convolution over `axes` axes of a (…, channels) signal, `size` wide in each, which keeps their lengths."""
    return nnx.Conv(inside, outside, (size,) * axes, padding="SAME", kernel_init=kernel, bias_init=zeros, rngs=rngs)


def normalised(x: Array, eps: float = 1e-5) -> Array:
    """x with mean 0 and variance 1 over its last axis; the moments of half-precision x are taken in single."""
    wide = x.astype(jnp.float32) if x.dtype.itemsize < 4 else x
    centred = wide - wide.mean(-1, keepdims=True)
    return (centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + eps)).astype(x.dtype)


def dropped(x: Array, rate: float, key: Key | None) -> Array:
    """Entries set to zero with probability `rate` and the others scaled up; x itself without a key.

    References: Srivastava et al. (2014).
    """
    if key is None or rate == 0:
        return x
    kept = bernoulli(key, 1 - rate, x.shape, RATE)
    return jnp.where(kept, x / (1 - rate), 0)


def fold(key: Key | None, number: int) -> Key | None:
    """The key of one block of a network, where there is one."""
    return None if key is None else jax.random.fold_in(key, number)


def attend(query: Array, key: Array, value: Array, bias: Array | None = None) -> Array:
    """softmax(q·k/√d + bias) v for (length, heads, d), and a bias (query, key, heads); shape (length, heads · d)."""
    length, heads, size = query.shape
    scores = jnp.einsum("qhd,khd->hqk", query, key) / np.sqrt(size).astype(query.dtype)
    if bias is not None:
        scores = scores + jnp.moveaxis(bias, -1, 0)
    return jnp.einsum("hqk,khd->qhd", jax.nn.softmax(scores, axis=-1), value).reshape(length, heads * size)
