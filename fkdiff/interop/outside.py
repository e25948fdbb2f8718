"""Calling a function that somebody else wrote, for ONE example, with sentences where it does not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, FkdiffError, PyTree, require

# What JAX raises when a function asks for the value of something that is being traced.
UNTRACEABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


class Plain(eqx.Module):
    """A function without arrays of its own; a constant of whatever is compiled."""

    function: Callable[..., Any] = eqx.field(static=True)

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


class Outside(eqx.Module):
    """An outside model as `apply(x, level, cond) -> out` for ONE example.

    Attributes:
        function: `function(x, level)`, and `function(x, level, cond)` when a condition is bound. If it is a
            pytree (an equinox module, a `jax.tree_util.Partial`) its arrays stay leaves.
        argument: The name under which the caller passed it, for messages.
        batched: Whether it wants a leading axis on every argument and gives one back.
    """

    function: Callable[..., Any]
    argument: str = eqx.field(static=True)
    batched: bool = eqx.field(static=True)

    def __call__(self, x: Array, level: Array, cond: PyTree) -> Array:
        arguments = (x, level) if cond is None else (x, level, cond)
        if self.batched:
            arguments = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], arguments)
        try:
            out = jnp.asarray(self.function(*arguments))
        except UNTRACEABLE as error:
            raise FkdiffError(
                f"{self.argument} reads the value of a traced array ({type(error).__name__}): write it with "
                "jax.numpy, or wrap it in jax.pure_callback."
            ) from error
        wanted = (1, *x.shape) if self.batched else x.shape
        require(
            out.shape == wanted,
            f"{self.argument} returned shape {out.shape} where {wanted} was expected; it maps "
            + ("a batch of one to a batch of one." if self.batched else "ONE example: for a batch pass batched=True."),
        )
        return out.reshape(x.shape).astype(x.dtype)


def outside(argument: str, function: Callable[..., Any], batched: bool) -> Outside:
    """Wraps a function, or refuses what cannot be called."""
    require(callable(function), f"{argument} is a {type(function).__name__}, not a function; pass a callable.")
    has_arrays = any(eqx.is_array(leaf) for leaf in jax.tree.leaves(function))
    return Outside(function if has_arrays else Plain(function), argument, batched)
