"""A Gaussian path x_t = α(t) clean + σ(t) noise, noise ~ N(0, I), from noise at t = 0 to data at t = 1."""

from __future__ import annotations

import abc
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Scalar, bisect, require


class Rates(NamedTuple):
    """The path and its derivatives at one time; all scalars.

    Attributes:
        alpha: α, the share of clean data.
        sigma: σ, the noise level.
        alpha_dot: dα/dt.
        sigma_dot: dσ/dt.
    """

    alpha: Array
    sigma: Array
    alpha_dot: Array
    sigma_dot: Array


class Path(eqx.Module):
    """A Gaussian path. A new one gives `log_alpha`, `log_sigma` and `time`; the rest follows.

    Attributes:
        t_min: First time that may be evaluated (noise end).
        t_max: Last time that may be evaluated (data end). The law a sampler reaches is the one here.

    Every method takes a scalar time in [t_min, t_max], where it and its gradient are finite; none clips.
    """

    t_min: eqx.AbstractVar[Array]
    t_max: eqx.AbstractVar[Array]

    @abc.abstractmethod
    def log_alpha(self, t: Array) -> Array:
        """log α(t)."""

    @abc.abstractmethod
    def log_sigma(self, t: Array) -> Array:
        """log σ(t)."""

    @abc.abstractmethod
    def time(self, log_snr: Array) -> Array:
        """The time at which log α²/σ² equals `log_snr`."""

    def alpha(self, t: Scalar) -> Array:
        """α(t), the share of clean data."""
        return jnp.exp(self.log_alpha(_time(t)))

    def sigma(self, t: Scalar) -> Array:
        """σ(t), the noise level, in the unit of the data."""
        return jnp.exp(self.log_sigma(_time(t)))

    def rates(self, t: Scalar) -> Rates:
        """α, σ and their time derivatives, by one forward-mode pass."""
        t = _time(t)
        one = jnp.ones_like(t)
        alpha, alpha_dot = jax.jvp(self.alpha, (t,), (one,))
        sigma, sigma_dot = jax.jvp(self.sigma, (t,), (one,))
        return Rates(alpha, sigma, alpha_dot, sigma_dot)

    def log_snr(self, t: Scalar) -> Array:
        """log α²/σ², which increases with t."""
        t = _time(t)
        return 2 * (self.log_alpha(t) - self.log_sigma(t))

    def contraction(self, t: Scalar) -> Array:
        """c = α̇/α."""
        t = _time(t)
        return jax.jvp(self.log_alpha, (t,), (jnp.ones_like(t),))[1]

    def kappa(self, t: Scalar) -> Array:
        """κ = σ(cσ − σ̇) = ½σ² d(log-SNR)/dt ≥ 0: velocity = c x + κ score, and ν κ is the noise level ε."""
        t = _time(t)
        return jnp.exp(2 * self.log_sigma(t)) * 0.5 * jax.jvp(self.log_snr, (t,), (jnp.ones_like(t),))[1]

    def noised(self, clean: Array, noise: Array, t: Scalar) -> Array:
        """x_t = α(t) clean + σ(t) noise."""
        return self.alpha(t) * clean + self.sigma(t) * noise


def _time(t: Scalar) -> Array:
    return jnp.asarray(t, jnp.result_type(float))


def span(log_snr: tuple[float, float]) -> tuple[float, float]:
    """Checks a log-SNR interval (noise end, data end)."""
    low, high = log_snr
    require(
        low < high,
        f"log_snr=({low:.4g}, {high:.4g}) must increase from the noise end to the data end, inside what the "
        "schedule reaches; the default is (-9, 9).",
    )
    return low, high


def invert_increasing(function, value: Array, low: Array, high: Array, steps: int = 60) -> Array:
    """The point of [low, high] where the increasing `function` equals `value`, by bisection."""
    low, high = (jnp.broadcast_to(end, jnp.shape(value)) for end in (low, high))
    a, b = bisect(lambda x: function(x) <= value, low, high, steps)
    return 0.5 * (a + b)
