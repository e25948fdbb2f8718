"""The banana: a normal law, bent."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, Scalar, number, one_key, whole

LOG_2PI = 1.8378770664093453


class Banana(eqx.Module):
    """x_1 ~ N(0, s²), x_2 | x_1 ~ N(b (x_1² − s²), 1): see `banana`.

    Attributes:
        curvature: b.
        scale: s.
    """

    curvature: Array
    scale: Array

    def log_prob(self, x: Array) -> Array:
        """Normalised log-density at one point, (2,) -> scalar."""
        b, s = self.curvature.astype(x.dtype), self.scale.astype(x.dtype)
        bent = x[1] - b * (x[0] ** 2 - s**2)
        return -0.5 * (x[0] ** 2 / s**2 + bent**2) - jnp.log(s) - LOG_2PI

    @property
    def covariance(self) -> Array:
        """diag(s², 1 + 2 b² s⁴); the mean is 0."""
        return jnp.diag(jnp.stack([self.scale**2, 1 + 2 * self.curvature**2 * self.scale**4]))

    def sample(self, key: Key, num_samples: int) -> Array:
        """Exact independent draws, (num_samples, 2)."""
        noise = jax.random.normal(one_key(key), (whole("num_samples", num_samples), 2))
        first = self.scale * noise[:, 0]
        return jnp.stack([first, noise[:, 1] + self.curvature * (first**2 - self.scale**2)], axis=1)


def banana(curvature: Scalar = 0.1, scale: Scalar = 10.0) -> Banana:
    """A normal law of variances (s², 1), bent by b: volume is kept, so it stays normalised.

    Facts: mean 0, covariance diag(s², 1 + 2 b² s⁴), uncorrelated and far from independent.

    References: Haario, Saksman and Tamminen (1999), section 4.
    """
    return Banana(number("curvature", curvature), number("scale", scale, 1e-6, action="a standard deviation"))
