"""Which noise levels a batch sees: laws of the time, each by its quantile function, stratified by default.

    uniform        in t
    logsnr         uniform in log α²/σ²
    logit_normal   t = sigmoid(m + s ξ) of the way from t_min to t_max: the middle more often than the ends
    log_normal     log σ/α = m + s ξ: the noise levels at which there is most to learn

References: Kingma, Salimans, Poole and Ho (2021), appendix I.1, for stratified times; Esser et al. (2024), eq. 19, for
logit_normal; Karras, Aittala, Aila and Laine (2022), table 1, for log_normal.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri

from fkdiff.core import Array, Key, choose, require
from fkdiff.paths import Path

Quantile = Callable[[Path, Array], Array]


def uniform() -> Quantile:
    """Uniform in t."""
    return lambda path, share: path.t_min + (path.t_max - path.t_min) * share


def logsnr() -> Quantile:
    """Uniform in the log-SNR."""

    def quantile(path: Path, share: Array) -> Array:
        low, high = path.log_snr(path.t_min), path.log_snr(path.t_max)
        return path.time(low + (high - low) * share)

    return quantile


def logit_normal(mean: float = 0.0, scale: float = 1.0) -> Quantile:
    """sigmoid(mean + scale · ξ) of the way from t_min to t_max, ξ ~ N(0, 1)."""
    require(scale > 0, f"scale={scale} must be positive; the usual value is 1.")
    return lambda path, share: (
        path.t_min + (path.t_max - path.t_min) * jax.nn.sigmoid(mean + scale * ndtri(_inside(share)))
    )


def log_normal(mean: float = -1.2, scale: float = 1.2) -> Quantile:
    """log σ/α ~ N(mean, scale²), cut to what the path reaches."""
    require(scale > 0, f"scale={scale} must be positive; the usual value is 1.2.")
    return lambda path, share: path.time(
        # Large noise is early: quantiles of the time fall in σ.
        jnp.clip(-2 * (mean - scale * ndtri(_inside(share))), path.log_snr(path.t_min), path.log_snr(path.t_max))
    )


LAWS: dict[str, Callable[..., Quantile]] = {
    "uniform": uniform,
    "logsnr": logsnr,
    "logit_normal": logit_normal,
    "log_normal": log_normal,
}


def sample_times(key: Key, path: Path, num: int, law: str | Quantile = "uniform", stratified: bool = True) -> Array:
    """Times of a batch, shape (num,), in [t_min, t_max].

    Args:
        key: Draws the times.
        path: The path.
        num: Batch size.
        law: A name of the list above, or `quantile(path, share) -> t` for shares in (0, 1).
        stratified: One time in each of `num` slices of equal probability, see `shares`, which takes most of the noise
            that times bring out of the loss; False draws them independently.
    """
    share = shares(key, num, stratified)
    quantile = law if callable(law) else choose("times", law, LAWS)()
    # Rounding in `time` may step over an end by one unit in the last place.
    return jnp.clip(quantile(path, share), path.t_min, path.t_max)


def shares(key: Key, num: int, stratified: bool = True) -> Array:
    """Numbers in [0, 1), shape (num,), each uniform whatever its place.

    Args:
        key: Draws them.
        num: How many.
        stratified: One in each of `num` equal slices, in an order drawn anew. In the slices' own order every row of a
            batch would keep its slice, so that full batches in one order would show each example at one noise level
            only; shifted by one common number, neighbouring rows would still share theirs.
    """
    if not stratified:
        return jax.random.uniform(key, (num,), jnp.result_type(float))
    key_order, key_inside = jax.random.split(key)
    inside = jax.random.uniform(key_inside, (num,), jnp.result_type(float))
    return (jax.random.permutation(key_order, num).astype(inside.dtype) + inside) / num


def _inside(share: Array) -> Array:
    """Off 0 and 1, where a normal quantile is infinite."""
    tiny = jnp.finfo(share.dtype).eps
    return jnp.clip(share, tiny, 1 - tiny)
