"""The one boundary between networks and everything else: a module becomes a function and its parameters."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from fkdiff.core import Array, PyTree, Scalar


@dataclasses.dataclass(frozen=True)
class ModuleApply:
    """`apply(params, x, t, cond) -> out` for ONE example, of one architecture.

    Two modules of the same architecture give equal functions with equal hashes, so what was compiled for one
    serves the other.

    Attributes:
        graphdef: The architecture, without its parameters.
    """

    graphdef: Any

    def __call__(self, params: PyTree, x: Array, t: Scalar, cond: PyTree = None) -> Array:
        if jnp.issubdtype(x.dtype, jnp.floating):
            # Parameters follow x, so a checkpoint in float32 also serves a double-precision sampler.
            dtype = x.dtype
            params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
        else:
            # Tokens have no precision of their own: the parameters decide.
            dtype = jnp.result_type(*jax.tree.leaves(params))
        module = nnx.merge(self.graphdef, params)
        return module(x, jnp.asarray(t, dtype), cond)


def functional(module: nnx.Module) -> tuple[ModuleApply, PyTree]:
    """Splits a module into `apply(params, x, t, cond)` and `params`.

    Args:
        module: Any `nnx.Module` that owns parameters only and is called as `module(x, t, cond)` on one example.

    Returns:
        The function, stable and hashable, and a nested dict of plain arrays. Hand both to
        `fkdiff.Parameterization.predictor`.

    Gradients: pathwise, in the parameters, x, t and a floating condition.
    """
    graphdef, state = nnx.split(module)
    return ModuleApply(graphdef), nnx.to_pure_dict(state)
