"""φ⁴ theory on a periodic square lattice."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array, Scalar, number, whole


class Phi4(eqx.Module):
    """See `phi4`.

    Attributes:
        mass_squared: m².
        coupling: λ.
        side: L.
    """

    mass_squared: Array
    coupling: Array
    side: int = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int]:
        """Of one field."""
        return (self.side, self.side)

    def action(self, field: Array) -> Array:
        """S of one field, (L, L) -> scalar."""
        m2, coupling = self.mass_squared.astype(field.dtype), self.coupling.astype(field.dtype)
        bonds = sum((jnp.roll(field, -1, axis) - field) ** 2 for axis in (0, 1))
        return jnp.sum(0.5 * bonds + 0.5 * m2 * field**2 + coupling * field**4)

    def log_density(self, field: Array) -> Array:
        """−S, unnormalised."""
        return -self.action(field)

    @property
    def free_log_normalizer(self) -> float:
        """log Z of the free field (λ = 0, m² > 0) with the same mass, in closed form."""
        wave = 4 * np.sin(np.pi * np.arange(self.side) / self.side) ** 2
        spectrum = float(np.asarray(self.mass_squared)) + wave[:, None] + wave[None, :]
        return 0.5 * float(self.side**2 * np.log(2 * np.pi) - np.log(spectrum).sum())


def phi4(side: int = 8, mass_squared: Scalar = -4.0, coupling: Scalar = 8.0) -> Phi4:
    """p ∝ e^{−S}, S = Σ_x [ ½ Σ_μ (φ(x + μ) − φ(x))² + ½ m² φ² + λ φ⁴ ], on L × L sites, periodic.

    The bonds are counted once each and m² may be negative; some authors write Σ φ (−∇²) φ + m² φ², which is twice the
    quadratic part. Even in φ: both signs have mass ½.

    Facts: for λ = 0 and m² > 0 log Z = ½ Σ_k log(2π/(m² + k̂²)), k̂² = Σ_μ 4 sin²(k_μ/2): `free_log_normalizer`.

    References: Albergo, Kanwar and Shanahan (2019) for the use as a benchmark.
    """
    return Phi4(number("mass_squared", mass_squared), number("coupling", coupling, 0.0), whole("side", side, 2))
