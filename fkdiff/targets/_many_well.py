"""Many wells: a product of tilted double wells with 2^pairs modes, all of known mass."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array, Key, one_key, whole

GRID = np.linspace(-4.0, 4.0, 2**15 + 1)  # e^{−160} of the mass lies beyond
HALF_LOG_2PI = 0.9189385332046727


def _well(x):
    return -(x**4) + 6 * x**2 + 0.5 * x


class ManyWell(eqx.Module):
    """See `many_well`.

    Attributes:
        pairs: Pairs of coordinates: a double well and a normal one; d = 2 pairs.
    """

    pairs: int = eqx.field(static=True)

    @property
    def dim(self) -> int:
        """d."""
        return 2 * self.pairs

    def log_density(self, x: Array) -> Array:
        """Unnormalised log-density at one point, (d,) -> scalar; wells at even places, normal coordinates at odd."""
        return jnp.sum(_well(x[0::2]) - 0.5 * x[1::2] ** 2)

    @property
    def log_normalizer(self) -> float:
        """log Z, by the trapezoidal rule in double precision (exact to rounding: the integrand is entire)."""
        mass = np.exp(_well(GRID)).sum() * (GRID[1] - GRID[0])
        return self.pairs * float(np.log(mass) + HALF_LOG_2PI)

    @property
    def right_share(self) -> float:
        """Mass of the right well of one pair; a mode's mass is a product of these and their complements."""
        mass = np.exp(_well(GRID))
        return float((mass[GRID > 0].sum() + mass[GRID == 0].sum() / 2) / mass.sum())

    def sample(self, key: Key, num_samples: int) -> Array:
        """Independent draws, (num_samples, d): wells by the inverse of a CDF tabulated at 2¹⁵ points."""
        key_well, key_normal = jax.random.split(one_key(key))
        shape = (whole("num_samples", num_samples), self.pairs)
        cdf = np.cumsum(np.exp(_well(GRID)))
        dtype = jnp.result_type(float)
        u = jax.random.uniform(key_well, shape)
        wells = jnp.interp(u, jnp.asarray(cdf / cdf[-1], dtype), jnp.asarray(GRID + (GRID[1] - GRID[0]) / 2, dtype))
        return jnp.stack([wells, jax.random.normal(key_normal, shape)], axis=2).reshape(shape[0], self.dim)

    def right_wells(self, x: Array) -> Array:
        """Which wells of one point lie on the right, bool (pairs,)."""
        return x[0::2] > 0


def many_well(pairs: int = 16) -> ManyWell:
    """Π over pairs of exp(−x⁴ + 6x² + x/2 − y²/2): 2^pairs modes in 2 · pairs dimensions.

    Facts: log Z = 10.29348 per pair (164.69568 for ManyWell-32, the default); the right well holds 0.84431 of a pair.

    References: Noé et al. (2019); Midgley et al. (2023), appendix F.
    """
    return ManyWell(whole("pairs", pairs))
