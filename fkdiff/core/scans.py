"""Scans whose derivatives need less memory, at the price of running forward twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fkdiff.core.arguments import whole


def checkpoint_segments(checkpoint: Any) -> int | None:
    """None, or into how many segments a run is cut for its derivative."""
    return None if checkpoint is None else whole("checkpoint", checkpoint, 1, "segments of the run, about √num_steps")


def scan(body: Callable, first: Any, xs: Any, segments: int | None = None) -> tuple[Any, Any]:
    """`jax.lax.scan`, whose derivative keeps the states between `segments` segments and recomputes each when needed.

    Memory of reverse mode falls from that of K steps to that of `segments` states and K/segments steps: least near √K.
    Numbers are the same, and without a derivative so is the cost.

    References: Griewank and Walther (2000); Chen et al. (2016), section 4.1.
    """
    length = jax.tree.leaves(xs)[0].shape[0]
    if segments is None or segments >= length:
        return jax.lax.scan(body, first, xs)
    size = length // segments
    whole_segments, rest = (
        jax.tree.map(lambda x: x[: size * segments], xs),
        jax.tree.map(lambda x: x[size * segments :], xs),
    )
    cut = jax.tree.map(lambda x: x.reshape(segments, size, *x.shape[1:]), whole_segments)

    @jax.checkpoint
    def segment(carry, part):
        return jax.lax.scan(body, carry, part)

    carry, ys = jax.lax.scan(segment, first, cut)
    ys = jax.tree.map(lambda y: y.reshape(size * segments, *y.shape[2:]), ys)
    if size * segments == length:
        return carry, ys
    carry, last = segment(carry, rest)
    return carry, jax.tree.map(lambda y, z: jnp.concatenate([y, z]), ys, last)
