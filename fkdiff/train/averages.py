"""Exponential moving averages of parameters, which samplers use."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fkdiff.core import Array, PyTree, Scalar


def ema_decay_at(step: Array, decay: Scalar) -> Array:
    """min(decay, (1 + k)/(10 + k)): early averages forget the random start."""
    k = step.astype(jnp.result_type(float))
    return jnp.minimum(decay, (1 + k) / (10 + k))


def averaged(ema: PyTree, params: PyTree, step: Array, decay: Scalar) -> PyTree:
    """The average once the parameters of a step, counted from 0, are known.

    Args:
        ema: The average before.
        params: After the step.
        step: Its number.
        decay: What the average keeps of itself in the long run.
    """
    share = ema_decay_at(step, decay)
    return jax.tree.map(lambda e, p: share.astype(e.dtype) * e + (1 - share).astype(e.dtype) * p, ema, params)
