"""Symmetric double wells, one for each coordinate: 2^d modes of equal mass with nothing between them."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array, Key, Scalar, concrete, number, one_key, require, whole


class DoubleWells(eqx.Module):
    """See `double_wells`.

    Attributes:
        dim: d.
        separation: δ: wells at ±√δ.
    """

    dim: int = eqx.field(static=True)
    separation: Array

    def log_density(self, x: Array) -> Array:
        """Unnormalised log-density at one point, (d,) -> scalar."""
        return -jnp.sum((x**2 - self.separation.astype(x.dtype)) ** 2)

    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        """A grid that holds all of the mass, and the density of one coordinate on it, in double precision."""
        delta = float(np.asarray(self.separation))
        x = np.linspace(-1.0, 1.0, 2**15 + 1) * np.sqrt(delta + 7.0)
        return x, np.exp(-((x**2 - delta) ** 2))

    @property
    def log_normalizer(self) -> float:
        """log Z, by the trapezoidal rule (exact to rounding: the integrand is entire)."""
        x, density = self._table()
        return self.dim * float(np.log(density.sum() * (x[1] - x[0])))

    @property
    def second_moment(self) -> float:
        """E x² of one coordinate."""
        x, density = self._table()
        return float((x**2 * density).sum() / density.sum())

    def sample(self, key: Key, num_samples: int) -> Array:
        """Independent draws, (num_samples, d), by the inverse of a tabulated CDF."""
        x, density = self._table()
        cdf, dtype = np.cumsum(density), jnp.result_type(float)
        u = jax.random.uniform(one_key(key), (whole("num_samples", num_samples), self.dim))
        return jnp.interp(u, jnp.asarray(cdf / cdf[-1], dtype), jnp.asarray(x + (x[1] - x[0]) / 2, dtype))


def double_wells(dim: int = 5, separation: Scalar = 4.0) -> DoubleWells:
    """exp(−Σ (x_i² − δ)²): 2^d equal modes at ±√δ, with barriers of height δ² between them.

    Facts: d = 5, δ = 4 (known as MW54) has log Z = −0.54106; every mode holds 2^−d; E x = 0.

    References: Berner, Richter and Ullrich (2024), section 4.
    """
    leaf = number("separation", separation, 0.0, 100.0, "wells stand at ± its root")
    known = concrete(leaf)
    require(known is not None, "separation must be known: its table is made at once.")
    return DoubleWells(whole("dim", dim), leaf)
