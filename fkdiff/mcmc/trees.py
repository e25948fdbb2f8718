"""Arithmetic on positions, which are any pytree of real arrays."""

from __future__ import annotations

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp

from fkdiff.core import Array, PyTree, require


def axpy(scale: Array, x: PyTree, y: PyTree) -> PyTree:
    """scale · x + y, leaf by leaf, in the dtype of y."""
    return jax.tree.map(lambda a, b: scale.astype(b.dtype) * a + b, x, y)


def scaled(scale: Array, x: PyTree) -> PyTree:
    """scale · x."""
    return jax.tree.map(lambda a: scale.astype(a.dtype) * a, x)


def dot(x: PyTree, y: PyTree, dtype: Any) -> Array:
    """Σ x y over every leaf, multiplied and added up in `dtype`."""
    pairs = zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)
    parts = [jnp.sum(a.astype(dtype) * b.astype(dtype)) for a, b in pairs]
    return functools.reduce(operator.add, parts)


def all_finite(tree: PyTree) -> Array:
    """Whether every entry of every leaf is finite."""
    return functools.reduce(jnp.logical_and, [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)])


def like(argument: str, tree: PyTree, position: PyTree) -> PyTree:
    """`tree`, refused unless it has the position's structure, shapes and dtypes."""
    came, wanted = described(tree), described(position)
    require(came == wanted, f"{argument} is {came} where the position is {wanted}; return one entry for each of it.")
    return tree


def described(tree: PyTree) -> str:
    """A tree's shapes and dtypes in words: float32(3,)."""
    kinds = jax.tree.map(lambda leaf: f"{getattr(leaf, 'dtype', None) or jnp.result_type(leaf)}{jnp.shape(leaf)}", tree)
    return kinds if isinstance(kinds, str) else str(kinds)
