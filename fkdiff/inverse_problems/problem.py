"""A linear inverse problem: y = A x + noise ξ, beside the Gaussian that stands for the data."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp

from fkdiff.core import Array
from fkdiff.inverse_problems import normals
from fkdiff.inverse_problems.bases import Basis
from fkdiff.inverse_problems.operators import LinearOperator
from fkdiff.paths import Path


class Likelihood(eqx.Module):
    """log N(y; A x, noise² I) of ONE example, with every constant.

    Attributes:
        operator: A.
        observation: y, flattened, (m,).
        noise: The standard deviation of the noise of y.
    """

    operator: LinearOperator
    observation: Array
    noise: Array

    def residual(self, x: Array) -> Array:
        """y − A x, (m,)."""
        return self.observation - self.operator.apply(x).reshape(-1)

    def __call__(self, x: Array) -> Array:
        return normals.log_density(jnp.broadcast_to(self.noise, self.observation.shape), self.residual(x))


class Problem(eqx.Module):
    """A likelihood, and N(m, Σ) for the data in coordinates that suit A: see `bases`.

    Attributes:
        likelihood: Of y given x.
        basis: The Gaussian that stands for the data.
    """

    likelihood: Likelihood
    basis: Basis

    @property
    def operator(self) -> LinearOperator:
        """A."""
        return self.likelihood.operator

    @property
    def noise(self) -> Array:
        """The standard deviation of the noise of y."""
        return self.likelihood.noise

    def residual(self, x: Array) -> Array:
        """y − A x, (m,)."""
        return self.likelihood.residual(x)

    def covariance(self, spectrum: Array) -> Array:
        """noise² I + A Q diag(spectrum) Qᵀ Aᵀ: (m,) or (m, m), in the coordinates of observations."""
        return self.basis.covariance(self.operator, spectrum, self.noise**2)

    def widened(self, spectrum: Array, gain: Array, variance: Array) -> Array:
        """`covariance` + A Q diag(gain) Qᵀ diag(variance) Q diag(gain) Qᵀ Aᵀ, one variance for each coordinate of x."""
        across, alone = self.basis.across(self.operator, gain), self.covariance(spectrum)
        return (across * variance[None, :]) @ across.T + (jnp.diag(alone) if alone.ndim == 1 else alone)

    def turned(self, residual: Array) -> Array:
        """An observation, (m,), in its coordinates."""
        return self.basis.turned(self.operator, residual)

    def push(self, gain: Array, x: Array) -> Array:
        """A Q diag(gain) Qᵀ x: (d,) to (m,)."""
        return self.basis.push(self.operator, gain, x)

    def pull(self, gain: Array, y: Array) -> Array:
        """Q diag(gain) Qᵀ Aᵀ y: (m,) to (d,)."""
        return self.basis.pull(self.operator, gain, y)

    def start(self, path: Path) -> tuple[Array, Array]:
        """Mean (d,) and spectrum, () or (d,), of the first positions: N(α m, α² Σ + σ² I) at t_min."""
        alpha, sigma = path.alpha(path.t_min), path.sigma(path.t_min)
        return alpha * self.basis.mean, alpha**2 * self.basis.variance + sigma**2
