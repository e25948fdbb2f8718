"""Particles in space: four in a double-well pair potential, thirteen under Lennard-Jones.

Energies do not change under translations, so the centre of mass x̄ has no law of its own. Here √n x̄ ~ N(0, I), which is
independent of the shape: drop it by `centred`, or ignore it.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Scalar, number


def centred(x: Array) -> Array:
    """A cluster (n, D) with its centre of mass at the origin."""
    return x - jnp.mean(x, axis=0, keepdims=True)


def _distances(x: Array) -> Array:
    """Of every pair once, (n (n − 1)/2,); differentiable where particles do not coincide."""
    first, second = jnp.triu_indices(x.shape[0], 1)
    return jnp.sqrt(jnp.sum((x[first] - x[second]) ** 2, axis=1))


def _centre(x: Array) -> Array:
    """log-density of the centre of mass, up to a constant."""
    return -0.5 * x.shape[0] * jnp.sum(jnp.mean(x, axis=0) ** 2)


class DoubleWell4(eqx.Module):
    """See `double_well_4`.

    Attributes:
        temperature: τ.
    """

    temperature: Array

    shape = (4, 2)

    def energy(self, x: Array) -> Array:
        """u/τ of one cluster, (4, 2) -> scalar."""
        gap = _distances(x) - 4.0
        return jnp.sum(-4.0 * gap**2 + 0.9 * gap**4) / self.temperature.astype(x.dtype)

    def log_density(self, x: Array) -> Array:
        """−u/τ, with the centre of mass as above; unnormalised."""
        return -self.energy(x) + _centre(x)


class LennardJones13(eqx.Module):
    """See `lennard_jones_13`.

    Attributes:
        strength: ε/τ, of every pair once.
        oscillator: Strength of the harmonic trap about the centre of mass.
    """

    strength: Array
    oscillator: Array

    shape = (13, 3)

    def energy(self, x: Array) -> Array:
        """Of one cluster, (13, 3) -> scalar."""
        inverse = 1 / _distances(x) ** 6
        trap = 0.5 * self.oscillator.astype(x.dtype) * jnp.sum(centred(x) ** 2)
        return self.strength.astype(x.dtype) * jnp.sum(inverse**2 - 2 * inverse) + trap

    def log_density(self, x: Array) -> Array:
        """−energy, with the centre of mass as above; unnormalised."""
        return -self.energy(x) + _centre(x)


def double_well_4(temperature: Scalar = 1.0) -> DoubleWell4:
    """Four particles in the plane, every pair once: u = Σ_{i<j} [ −4 (d − 4)² + 0.9 (d − 4)⁴ ].

    Facts: a pair is happiest at d = 4 ± √(20/9) = 5.491 or 2.509, with −4.444 each; invariant under translation,
    rotation, reflection and permutation.

    References: Köhler, Klein and Noé (2020), section 6.1, with a = 0, b = −4, c = 0.9, d_0 = 4 and the factor 1/(2τ)
    over ordered pairs.
    """
    return DoubleWell4(number("temperature", temperature, 1e-6))


def lennard_jones_13(strength: Scalar = 1.0, oscillator: Scalar = 1.0) -> LennardJones13:
    """Thirteen particles in space, every pair once: u = ε Σ_{i<j} [ d^{−12} − 2 d^{−6} ] + (c/2) Σ_i |x_i − x̄|².

    Codes disagree by a factor of 2 in the pairs: those that sum over ordered pairs have `strength=2`.

    Facts: a pair is happiest at d = 1, with −ε; without the trap the lowest energy is that of the icosahedron,
    −44.3268 ε; same invariances as above, and unbounded at d = 0.

    References: Köhler, Klein and Noé (2020), section 6.1; Wales and Doye (1997), table 1, for the minimum.
    """
    return LennardJones13(number("strength", strength, 1e-6), number("oscillator", oscillator, 0.0))


def icosahedron(distance: Scalar = 0.9637) -> Array:
    """Thirteen positions (13, 3): a centre and the corners of an icosahedron at a distance from it."""
    golden = (1 + 5**0.5) / 2
    corners = [(0.0, a, b * golden) for a in (-1.0, 1.0) for b in (-1.0, 1.0)]
    rolled = jnp.asarray([corner[-k:] + corner[:-k] for corner in corners for k in (0, 1, 2)])
    corners = jnp.asarray(distance) * rolled / jnp.sqrt(1 + jnp.asarray(golden) ** 2)
    return jax.lax.concatenate([jnp.zeros((1, 3), corners.dtype), corners], 0)
