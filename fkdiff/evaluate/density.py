"""Bits per dimension of held-out data under a model's probability flow."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array, Key, one_key, require
from fkdiff.core.host import intended_transfers, numbers_of
from fkdiff.prediction import Predictor
from fkdiff.solvers import log_prob


class Bits(NamedTuple):
    """Bits per dimension and their standard error over examples.

    Attributes:
        mean: Average over examples.
        error: Standard error of the average.
        each: Of every example, (n,).
    """

    mean: float
    error: float
    each: np.ndarray


@intended_transfers
def bits_per_dim(
    key: Key, pred: Predictor, examples, quantum: float = 0.0, divergence: str = "exact", chunk: int | None = 32
) -> Bits:
    """−log₂ of the model's mass per dimension: of a cell of width `quantum` for whole numbers, of a density else.

        E [ −log q(α (x + u) + σ ξ) − d log α − d log quantum ] / (d log 2),     u uniform on a cell, ξ normal

    α and σ are those of the last time that the model knows, where data carry the noise that it was trained with: the
    figure is that of data with noise σ/α, and never below the entropy of the data themselves.

    Args:
        key: Draws u, ξ and probes.
        pred: The model.
        examples: Shape (n, *pred.shape), in the model's units.
        quantum: Distance of neighbouring values in the model's units; 0 for real data, whose figure may be negative.
        divergence: "exact" (d jvps a step), or "hutchinson" (1, unbiased).
        chunk: Examples at a time.

    Returns:
        `Bits`.

    References: Theis, van den Oord and Bethge (2016), section 3.1, for uniform noise; Song et al. (2021), section 4.3.
    """
    keys = jax.random.split(one_key(key), 3)
    x = jnp.asarray(numbers_of("examples", examples), jnp.result_type(float))
    require(
        x.ndim >= 1 and x.shape[1:] == pred.shape and len(x) > 0,
        f"examples have shape {x.shape} and this model takes examples of shape {pred.shape}; pass a batch of them.",
    )
    t, size = pred.path.t_max, math.prod(pred.shape)
    alpha, sigma = pred.path.alpha(t), pred.path.sigma(t)
    spread = quantum * jax.random.uniform(keys[0], x.shape, x.dtype, -0.5, 0.5)
    noised: Array = alpha * (x + spread) + sigma * jax.random.normal(keys[1], x.shape, x.dtype)
    log_q = log_prob(pred, noised, keys[2] if divergence != "exact" else None, divergence, chunk=chunk)
    cell = math.log(quantum) if quantum > 0 else 0.0
    nats = -np.asarray(log_q, np.float64) / size - math.log(float(alpha)) - cell
    each = nats / math.log(2)
    return Bits(float(each.mean()), float(each.std() / math.sqrt(len(each))), each)
