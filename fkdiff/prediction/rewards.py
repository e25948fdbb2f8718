"""What a reward must return: one real number in nats for one example."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fkdiff.core import Array, FkdiffError, require


def scalar_reward(reward: Callable, x: Array) -> Array:
    """The reward of ONE example in the dtype of the example, refused unless it is one real number.

    Raises:
        FkdiffError: A vector, a complex number, or a function that JAX cannot trace.
    """
    try:
        out = jnp.asarray(reward(x))
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError) as error:
        raise FkdiffError(
            "reward cannot be traced by JAX (it computes with NumPy, or branches on a value); write it with jax.numpy, "
            'or give it to fkdiff.steer through jax.pure_callback(..., vmap_method="sequential").'
        ) from error
    require(
        not jnp.issubdtype(out.dtype, jnp.complexfloating),
        f"reward returned {out.dtype}; it must return one real number in nats: take its real part or its modulus.",
    )
    require(
        out.shape == (),
        f"reward returned shape {out.shape} for one example of shape {x.shape}; it must return one number in nats: "
        "sum over its axes.",
    )
    return out.astype(x.dtype)
