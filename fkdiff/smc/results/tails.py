"""The tail index of what an average is made of: whether its error bar can be believed.

A mean of N terms whose tail falls as x^{−1/k} has no variance for k ≥ ½ and no mean for k ≥ 1. Its standard error, read
from the same N terms, misses the terms that were not drawn. The index is fitted to the largest terms.

References: Zhang and Stephens (2009); Vehtari, Simpson, Gelman, Yao and Gabry (2024), section 3, for the number of
terms and how few of them can be trusted.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from fkdiff.core import Array

HEAVY = 0.6
FEWEST = 25  # terms in all, below which there is no tail to fit


def tail_index(terms: Array) -> Array:
    """k̂ of the generalised Pareto laws that fit the largest terms on either side, the larger, for every coordinate.

    −∞, and so not heavy, where there is no tail, as in an indicator; NaN for few terms.

    Args:
        terms: Of an average, weighted and centred, (N, …).

    Returns:
        The shape of one term.

    Gradients: stopped; it only reports.

    Cost: two partial sorts for every coordinate.
    """
    terms = jax.lax.stop_gradient(terms)
    count, shape = terms.shape[0], terms.shape[1:]
    if count < FEWEST or math.prod(shape) == 0:
        return jnp.full(shape, jnp.nan, terms.dtype)

    def one(column: Array) -> Array:
        largest = jnp.max(jnp.abs(column))
        scaled = column / jnp.where(largest > 0, largest, 1.0)
        return jnp.maximum(_upper(scaled), _upper(-scaled))

    return jax.vmap(one, 1)(terms.reshape(count, -1)).reshape(shape)


def _upper(rows: Array) -> Array:
    """k̂ of the largest of (N,) numbers."""
    count = rows.shape[0]
    size = min(count // 5, math.ceil(3 * math.sqrt(count)))
    top = jax.lax.top_k(rows, size + 1)[0][::-1]
    return _pareto_shape(top[1:] - top[0])


def threshold(count: int) -> float:
    """The k̂ above which the error of an average of `count` terms is doubted: min(1 − 1/log₁₀ N, 0.6).

    The variance is infinite from ½ on, and k̂ itself is known to about 0.15.
    """
    return min(1 - 1 / math.log10(max(count, FEWEST)), HEAVY)


def _pareto_shape(excess: Array) -> Array:
    """Shape of the generalised Pareto law of sorted excesses over a threshold: the profile posterior mean of k/σ = −b.

    With the likelihood maximised in k at fixed b, k(b) = mean log(1 − b x) and ℓ(b) = n (log(−b/k) − k − 1), averaged
    over a grid of b whose weights are the likelihoods.
    """
    count = excess.shape[0]
    points = 20 + math.isqrt(count)
    quartile, largest = excess[max(math.floor(count / 4 + 0.5) - 1, 0)], excess[-1]
    sound = (quartile > 0) & jnp.isfinite(largest)
    quartile, largest = jnp.where(sound, quartile, 1.0), jnp.where(sound, largest, 1.0)
    share = (jnp.arange(points, dtype=excess.dtype) + 0.5) / points
    b = 1 / largest + (1 - jnp.sqrt(1 / share)) / (3 * quartile)
    shapes = jax.vmap(lambda one: jnp.mean(jnp.log1p(-one * excess)))(b)
    heights = count * (jnp.log(jnp.abs(b / jnp.where(shapes == 0, 1.0, shapes))) - shapes - 1)
    heights = jnp.where(jnp.isfinite(heights), heights, -jnp.inf)
    best = jnp.sum(jax.nn.softmax(heights) * b)
    return jnp.where(sound, jnp.mean(jnp.log1p(-best * excess)), -jnp.inf)
