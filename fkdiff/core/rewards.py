"""What a reward must return: one real number in nats for one example."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fkdiff.core.types import Array, PyTree
from fkdiff.errors import FkdiffError, require


def scalar_reward(reward: Callable, x: PyTree) -> Array:
    """The reward of ONE example in its dtype (the default one for tokens), refused unless it is one real number.

    Raises:
        FkdiffError: A vector, a complex number, or a function that JAX cannot trace.
    """
    try:
        out = jnp.asarray(reward(x))
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError) as error:
        raise FkdiffError(
            "reward cannot be traced by JAX (it computes with NumPy, or branches on a value); write it with jax.numpy, "
            "or let fkdiff.steer call it on the host: fkdiff.steering.host(function of a whole batch), run by "
            "fkdiff.drive."
        ) from error
    require(
        not jnp.issubdtype(out.dtype, jnp.complexfloating),
        f"reward returned {out.dtype}; it must return one real number in nats: take its real part or its modulus.",
    )
    shapes = ", ".join(str(jnp.shape(leaf)) for leaf in jax.tree.leaves(x))
    require(
        out.shape == (),
        f"reward returned shape {out.shape} for one example of shape {shapes}; it must return one number in nats: "
        "sum over its axes.",
    )
    real = [leaf.dtype for leaf in jax.tree.leaves(x) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return out.astype(real[0] if real else jnp.result_type(float))
