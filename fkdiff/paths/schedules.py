"""The four standard paths, each by log α(t), log σ(t) and the inverse of its log-SNR."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array, Scalar, concrete, require
from fkdiff.paths.base import Path, span

_UNIT: dict[str, Any] = {"t_min": 0.0, "t_max": 1.0}
P = TypeVar("P", bound=Path)


def _leaf(value: Scalar) -> Array:
    return jnp.asarray(value, jnp.result_type(float))


def _restrict(whole: P, low: float, high: float) -> P:
    """The same path between two values of its log-SNR."""
    span((low, high))  # again, now that the ends are clipped to what the schedule reaches
    ends = (whole.time(_leaf(low)), whole.time(_leaf(high)))
    reached = [concrete(whole.log_snr(t)) for t in ends]
    require(
        all(value is None or bool(np.isfinite(value)) for value in reached),
        f"log_snr=({low:.4g}, {high:.4g}) asks for times that {ends[0].dtype} cannot tell from 0 or 1; "
        "choose a narrower range, or jax.config.update('jax_enable_x64', True).",
    )
    return eqx.tree_at(lambda path: (path.t_min, path.t_max), whole, ends)


class VariancePreserving(Path):
    """See `variance_preserving`."""

    beta_min: Array
    beta_max: Array
    t_min: Array
    t_max: Array

    def _integral(self, t: Array) -> Array:
        tau = 1 - t
        return tau * (self.beta_min + 0.5 * tau * (self.beta_max - self.beta_min))

    def log_alpha(self, t: Array) -> Array:
        return -0.5 * self._integral(t)

    def log_sigma(self, t: Array) -> Array:
        # −expm1 and never 1 − α², which has no digits left near the data.
        return 0.5 * jnp.log(-jnp.expm1(-self._integral(t)))

    def time(self, log_snr: Array) -> Array:
        integral = jax.nn.softplus(-log_snr)
        slope = self.beta_max - self.beta_min
        root = jnp.sqrt(self.beta_min**2 + 2 * slope * integral)
        return 1 - 2 * integral / (self.beta_min + root)


def variance_preserving(
    beta_min: float = 0.1, beta_max: float = 20.0, log_snr: tuple[float, float] = (-9.0, 9.0)
) -> VariancePreserving:
    """The variance-preserving path with linear b(τ) = β_min + τ(β_max − β_min), τ = 1 − t.

    α² = exp(−∫₀^τ b), σ² = 1 − α², c = κ = ½ b(τ).

    Args:
        beta_min: b at the data end, positive.
        beta_max: b at the noise end, larger than `beta_min`.
        log_snr: The range of log α²/σ² that t_min and t_max bound, clipped to what the schedule reaches.

    References:
        Song, Sohl-Dickstein, Kingma, Kumar, Ermon and Poole (2021), eq. 32.
    """
    require(
        0 < beta_min < beta_max,
        f"beta_min={beta_min} and beta_max={beta_max} must satisfy 0 < beta_min < beta_max; "
        "the usual pair is 0.1 and 20.",
    )
    low, high = span(log_snr)
    whole = VariancePreserving(beta_min=_leaf(beta_min), beta_max=_leaf(beta_max), **_UNIT)
    noisiest = -math.log(math.expm1(0.5 * (beta_min + beta_max)))
    return _restrict(whole, max(low, noisiest), high)


class Cosine(Path):
    """See `cosine`."""

    t_min: Array
    t_max: Array

    def log_alpha(self, t: Array) -> Array:
        return jnp.log(jnp.sin(0.5 * jnp.pi * t))

    def log_sigma(self, t: Array) -> Array:
        return jnp.log(jnp.sin(0.5 * jnp.pi * (1 - t)))

    def time(self, log_snr: Array) -> Array:
        return 2 / jnp.pi * jnp.arctan(jnp.exp(0.5 * log_snr))


def cosine(log_snr: tuple[float, float] = (-9.0, 9.0)) -> Cosine:
    """The variance-preserving cosine path, α = sin(πt/2), σ = cos(πt/2).

    Args:
        log_snr: The range of log α²/σ² that t_min and t_max bound.

    References:
        Nichol and Dhariwal (2021), eq. 17, without its offset.
    """
    low, high = span(log_snr)
    return _restrict(Cosine(**_UNIT), low, high)


class VarianceExploding(Path):
    """See `variance_exploding`."""

    log_sigma_min: Array
    log_sigma_max: Array
    t_min: Array
    t_max: Array

    def log_alpha(self, t: Array) -> Array:
        return jnp.zeros_like(t)

    def log_sigma(self, t: Array) -> Array:
        return (1 - t) * self.log_sigma_max + t * self.log_sigma_min

    def time(self, log_snr: Array) -> Array:
        return (self.log_sigma_max + 0.5 * log_snr) / (self.log_sigma_max - self.log_sigma_min)


def variance_exploding(
    sigma_min: float = 0.01, sigma_max: float = 100.0, log_snr: tuple[float, float] = (-9.0, 9.0)
) -> VarianceExploding:
    """The variance-exploding path, α = 1, σ = σ_max^{1−t} σ_min^t.

    Args:
        sigma_min: Noise level at t = 1, in the unit of the data, positive.
        sigma_max: Noise level at t = 0, larger than `sigma_min` and than the data.
        log_snr: The range of log 1/σ² that t_min and t_max bound, clipped to what the schedule reaches.

    References:
        Song and Ermon (2019); Song et al. (2021), eq. 30.
    """
    require(
        0 < sigma_min < sigma_max,
        f"sigma_min={sigma_min} and sigma_max={sigma_max} must satisfy 0 < sigma_min < sigma_max.",
    )
    low, high = span(log_snr)
    ends: dict[str, Any] = {
        "log_sigma_min": _leaf(math.log(sigma_min)),
        "log_sigma_max": _leaf(math.log(sigma_max)),
    }
    whole = VarianceExploding(**ends, **_UNIT)
    return _restrict(whole, max(low, -2 * math.log(sigma_max)), min(high, -2 * math.log(sigma_min)))


class Linear(Path):
    """See `linear`."""

    t_min: Array
    t_max: Array

    def log_alpha(self, t: Array) -> Array:
        return jnp.log(t)

    def log_sigma(self, t: Array) -> Array:
        return jnp.log1p(-t)

    def time(self, log_snr: Array) -> Array:
        return jax.nn.sigmoid(0.5 * log_snr)


def linear(log_snr: tuple[float, float] = (-9.0, 9.0)) -> Linear:
    """The linear path of flow matching, α = t, σ = 1 − t, velocity clean − noise.

    Args:
        log_snr: The range of log α²/σ² that t_min and t_max bound.

    References:
        Lipman, Chen, Ben-Hamu, Nickel and Le (2023), eq. 20; Liu, Gong and Liu (2023).
    """
    low, high = span(log_snr)
    return _restrict(Linear(**_UNIT), low, high)
