"""Which precision sums and decisions are made in: at least single, and the widest of what is mixed.

Half precision has 8 bits: a sum of more than 256 ones stands still, and a uniform number has 128 values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from fkdiff.core.types import Array, PyTree


def common_dtype(*trees: PyTree) -> Any:
    """The widest dtype among the leaves, also where promotion is strict."""
    return _widest(leaf.dtype for leaf in jax.tree.leaves(trees))


def wide_dtype(*trees: PyTree) -> Any:
    """The same, and at least float32."""
    return _widest([jnp.float32, *(leaf.dtype for leaf in jax.tree.leaves(trees))])


def widened(tree: PyTree) -> PyTree:
    """Every leaf in at least float32."""
    return jax.tree.map(lambda leaf: leaf.astype(wide_dtype(leaf)), tree)


def raveled(tree: PyTree) -> tuple[Array, Callable[[Array], PyTree]]:
    """(leaves one after the other in their widest dtype, the way back to their shapes and dtypes)."""
    dtype = common_dtype(tree)
    flat, unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf.astype(dtype), tree))

    def back(vector: Array) -> PyTree:
        return jax.tree.map(lambda part, leaf: part.astype(leaf.dtype), unravel(vector.astype(dtype)), tree)

    return flat, back


def _widest(dtypes: Iterable[Any]) -> Any:
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(*dtypes)
