"""Gradients that would be silently wrong are refused, with the name of the identity that is right."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from fkdiff.core.types import PyTree
from fkdiff.errors import FkdiffError


def refused(tree: PyTree, sentence: str) -> PyTree:
    """`tree` itself; differentiating through it raises `sentence` when the derivative is traced.

    Where no derivative flows, it costs nothing: it disappears when compiled.
    """

    def one(leaf):  # whole numbers and keys have no derivative
        real = jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
        return _refusing(sentence, leaf) if real else leaf

    return jax.tree.map(one, tree)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _refusing(sentence: str, leaf):
    return leaf


@_refusing.defjvp
def _raise(sentence: str, primals, tangents):
    raise FkdiffError(sentence)
