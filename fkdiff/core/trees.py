"""Operations on the leading (particle) axis of a pytree."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fkdiff.core.types import Array, PyTree
from fkdiff.errors import require


def take(tree: PyTree, indices: Array) -> PyTree:
    """Gathers particles: every leaf of `tree` is indexed by `indices` along its first axis, all at once."""
    return jax.tree.map(lambda leaf: leaf[indices], tree)


def mix(tree: PyTree, shares: Array) -> PyTree:
    """Averages particles: every leaf becomes `shares` (N, N) times itself along its first axis."""

    def one(path, leaf):
        require(
            bool(jnp.issubdtype(leaf.dtype, jnp.floating)),
            f"particles{jax.tree_util.keystr(path)} has dtype {leaf.dtype}, which cannot be averaged; resample by a "
            "scheme that copies, such as fkdiff.smc.systematic.",
        )
        return jnp.tensordot(shares.astype(leaf.dtype), leaf, 1)

    return jax.tree_util.tree_map_with_path(one, tree)


def select(condition: Array, yes: PyTree, no: PyTree) -> PyTree:
    """Per-particle choice between two trees; `condition` has shape (N,) or ()."""

    def pick(a, b):
        mask = condition.reshape(condition.shape + (1,) * (a.ndim - condition.ndim))
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            data = jnp.where(mask[..., None], jax.random.key_data(a), jax.random.key_data(b))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(a))
        return jnp.where(mask, a, b)

    return jax.tree.map(pick, yes, no)


def chunked_vmap(function: Callable, chunk: int | None = None) -> Callable:
    """`jax.vmap(function)` over every argument, at most `chunk` particles at a time.

    The result does not depend on `chunk`; only peak memory does.
    """
    if chunk is None:
        return jax.vmap(function)

    def mapped(*arguments):
        count = jax.tree.leaves(arguments)[0].shape[0]
        if count <= chunk:
            return jax.vmap(function)(*arguments)
        whole = count - count % chunk
        rows = jax.tree.map(lambda leaf: leaf[:whole].reshape(count // chunk, chunk, *leaf.shape[1:]), arguments)
        blocks = jax.lax.map(lambda block: jax.vmap(function)(*block), rows)
        # The number of rows is written out: -1 has no meaning for a leaf without entries.
        done = jax.tree.map(lambda leaf: leaf.reshape(whole, *leaf.shape[2:]), blocks)
        if whole == count:
            return done
        rest = jax.vmap(function)(*jax.tree.map(lambda leaf: leaf[whole:], arguments))
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), done, rest)

    return mapped
