"""A Gaussian with a full covariance."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np

from fkdiff.core import Array, Key, PyTree, Scalar, concrete, expect, number, one_key, require, whole
from fkdiff.paths import Path
from fkdiff.prediction import Prediction, Predictor
from fkdiff.targets.mixture import LOG_2PI


class Gaussian(eqx.Module):
    """N(mean, U diag(λ) Uᵀ) in d dimensions, kept in its eigenbasis so that every time costs one rotation.

    Attributes:
        mean: Shape (d,).
        eigenvalues: λ, shape (d,), positive.
        eigenvectors: U, shape (d, d), columns.
    """

    mean: Array
    eigenvalues: Array
    eigenvectors: Array

    @property
    def covariance(self) -> Array:
        """Shape (d, d)."""
        return (self.eigenvectors * self.eigenvalues[None, :]) @ self.eigenvectors.T

    def _whitened(self, x: Array) -> Array:
        return self.eigenvectors.T @ (x - self.mean)

    def log_prob(self, x: Array) -> Array:
        """Normalised log-density at one point, shape (d,) -> scalar."""
        return -0.5 * (self._whitened(x) ** 2 / self.eigenvalues + jnp.log(self.eigenvalues) + LOG_2PI).sum()

    def score(self, x: Array) -> Array:
        """∇ log p at one point, shape (d,)."""
        return -self.eigenvectors @ (self._whitened(x) / self.eigenvalues)

    def sample(self, key: Key, num_samples: int) -> Array:
        """Exact independent draws, shape (num_samples, d)."""
        key, num_samples = one_key(key), whole("num_samples", num_samples)
        noise = jax.random.normal(key, (num_samples, self.mean.shape[0]), self.mean.dtype)
        return self.mean[None, :] + (noise * jnp.sqrt(self.eigenvalues)[None, :]) @ self.eigenvectors.T

    def at(self, path: Path, t: Scalar) -> Gaussian:
        """The law of α x + σ noise."""
        alpha, sigma = path.alpha(t), path.sigma(t)
        return Gaussian(alpha * self.mean, alpha**2 * self.eigenvalues + sigma**2, self.eigenvectors)

    def predictor(self, path: Path) -> Predictor:
        """The exact model of this Gaussian on `path`, with its density. Cost: O(d²) per evaluation."""
        expect("path", path, Path, "pass a path, such as fkdiff.paths.variance_preserving()")
        return Predictor(path, GaussianRule(self, path), self.mean.shape, log_density=GaussianDensity(self, path))


class GaussianRule(eqx.Module):
    """The exact prediction of a Gaussian."""

    gaussian: Gaussian
    path: Path

    def __call__(self, x: Array, t: Array, cond: PyTree) -> Prediction:
        rates = self.path.rates(t)
        noised = self.gaussian.at(self.path, t)
        residual = noised._whitened(x) / noised.eigenvalues
        axes = self.gaussian.eigenvectors
        clean = self.gaussian.mean + axes @ (rates.alpha * self.gaussian.eigenvalues * residual)
        noise = axes @ (rates.sigma * residual)
        velocity = rates.alpha_dot * clean + rates.sigma_dot * noise
        return Prediction(clean, noise, velocity, -noise / rates.sigma)


class GaussianDensity(eqx.Module):
    """log q_t of a Gaussian."""

    gaussian: Gaussian
    path: Path

    def __call__(self, x: Array, t: Array, cond: PyTree) -> Array:
        return self.gaussian.at(self.path, t).log_prob(x)


def gaussian(mean, covariance) -> Gaussian:
    """N(mean, covariance).

    Args:
        mean: Shape (d,).
        covariance: Shape (d, d) symmetric positive definite, or (d,) diagonal, or a positive scalar.

    Raises:
        FkdiffError: The covariance is not positive definite (checked when it is concrete).
    """
    dtype = jnp.result_type(float)
    mean, covariance = number("mean", mean, shape=None), number("covariance", covariance, shape=None)
    require(mean.ndim == 1, f"mean has shape {mean.shape}; pass (d,).")
    size = mean.shape[0]
    require(
        covariance.shape in ((), (size,), (size, size)),
        f"covariance has shape {covariance.shape}; pass a scalar, ({size},) or ({size}, {size}).",
    )
    if covariance.ndim == 2:
        matrix = concrete(covariance)
        require(
            matrix is None or bool(np.allclose(matrix, matrix.T, rtol=1e-4, atol=1e-6 * np.abs(matrix).max())),
            "covariance is not symmetric; pass (covariance + covariance.T) / 2 if that is what you mean.",
        )
        values, vectors = jsl.eigh(covariance)
    else:
        values, vectors = jnp.broadcast_to(covariance, (size,)), jnp.eye(size, dtype=dtype)
    known = concrete(values)
    require(
        known is None or bool((known > 0).all()),
        "covariance is not positive definite; add a small multiple of the identity.",
    )
    return Gaussian(mean, values, vectors)
