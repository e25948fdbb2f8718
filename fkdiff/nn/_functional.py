"""The one boundary between networks and everything else: a module becomes a function and its parameters."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from fkdiff.core import Array, Key, PyTree, Scalar


@dataclasses.dataclass(frozen=True)
class ModuleApply:
    """`apply(params, x, t, cond) -> out` for ONE example, of one architecture.

    Two modules of the same architecture give equal functions with equal hashes, so what was compiled for one
    serves the other.

    Attributes:
        graphdef: The architecture, without its parameters.
        precision: The dtype to compute in, such as "bfloat16"; None for that of x. What goes in and comes out keeps its
            own, and so do the parameters.
    """

    graphdef: Any
    precision: str | None = None

    def __call__(self, params: PyTree, x: Array, t: Scalar, cond: PyTree = None, key: Key | None = None) -> Array:
        """The output; a key asks for dropout, at the rate that the module was built with."""
        real = jnp.issubdtype(x.dtype, jnp.floating)
        # Tokens have no precision of their own: the parameters decide.
        outside = x.dtype if real else jnp.result_type(*jax.tree.leaves(params))
        # Parameters follow x, so a checkpoint in float32 also serves a double-precision sampler.
        inside = outside if self.precision is None else jnp.dtype(self.precision)
        params = jax.tree.map(lambda leaf: leaf.astype(inside), params)
        module = nnx.merge(self.graphdef, params)
        options = {} if key is None else {"key": key}
        out = module(x.astype(inside) if real else x, jnp.asarray(t, outside), cond, **options)
        return out.astype(outside)

    def computing_in(self, precision: str | None) -> ModuleApply:
        """The same function in another precision."""
        return dataclasses.replace(self, precision=precision)


def functional(module: nnx.Module) -> tuple[ModuleApply, PyTree]:
    """Splits a module into `apply(params, x, t, cond)` and `params`.

    Args:
        module: Any `nnx.Module` that owns parameters only and is called as `module(x, t, cond)` on one example, and as
            `module(x, t, cond, key=key)` where it has dropout.

    Returns:
        The function, stable and hashable, and a nested dict of plain arrays. Hand both to
        `fkdiff.Parameterization.predictor`.

    Gradients: pathwise, in the parameters, x, t and a floating condition.
    """
    graphdef, state = nnx.split(module)
    return ModuleApply(graphdef), nnx.to_pure_dict(state)
