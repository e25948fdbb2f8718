"""Gaussian mixtures: the oracle of every test, exact on every path."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, PyTree, Scalar, categorical, concrete, expect, number, one_key, require, whole
from fkdiff.core.choices import COMPONENTS
from fkdiff.paths import Path
from fkdiff.prediction import Prediction, Predictor

LOG_2PI = 1.8378770664093453


class GaussianMixture(eqx.Module):
    """Σ_k w_k N(μ_k, diag v_k) in d dimensions.

    Attributes:
        means: μ, shape (K, d).
        variances: v, shape (K,) isotropic or (K, d) diagonal.
        log_weights: log w, normalised, shape (K,).
    """

    means: Array
    variances: Array
    log_weights: Array

    @property
    def weights(self) -> Array:
        """w, shape (K,)."""
        return jnp.exp(self.log_weights)

    @property
    def mean(self) -> Array:
        """Σ w_k μ_k, shape (d,)."""
        return self.weights @ self.means

    @property
    def covariance(self) -> Array:
        """Σ w_k (diag v_k + μ_k μ_kᵀ) − mean meanᵀ, shape (d, d)."""
        within = jnp.diag(self.weights @ self._diagonal())
        between = jnp.einsum("k,ki,kj->ij", self.weights, self.means, self.means)
        return within + between - jnp.outer(self.mean, self.mean)

    def _diagonal(self) -> Array:
        variances = self.variances
        return jnp.broadcast_to(variances[:, None] if variances.ndim == 1 else variances, self.means.shape)

    def log_joint(self, x: Array) -> Array:
        """log w_k N(x; μ_k, v_k), shape (K,)."""
        variances = self._diagonal()
        # Logarithms and quotients of K d numbers, not of as many for every one of a batch of points.
        log_heights = self.log_weights - 0.5 * (jnp.log(variances) + LOG_2PI).sum(axis=1)
        return log_heights - ((x[None, :] - self.means) ** 2 * (0.5 / variances)).sum(axis=1)

    def log_prob(self, x: Array) -> Array:
        """Normalised log-density at one point, shape (d,) -> scalar."""
        return jax.nn.logsumexp(self.log_joint(x))

    def responsibilities(self, x: Array) -> Array:
        """Posterior weight of each component at one point, shape (K,)."""
        return jax.nn.softmax(self.log_joint(x))

    def score(self, x: Array) -> Array:
        """∇ log p at one point, shape (d,)."""
        return self.responsibilities(x) @ ((self.means - x[None, :]) / self._diagonal())

    def sample(self, key: Key, num_samples: int) -> Array:
        """Exact independent draws, shape (num_samples, d)."""
        key, num_samples = one_key(key), whole("num_samples", num_samples)
        key_component, key_noise = jax.random.split(key)
        component = categorical(key_component, self.log_weights, COMPONENTS, (num_samples,))
        noise = jax.random.normal(key_noise, (num_samples, self.means.shape[1]), self.means.dtype)
        return self.means[component] + jnp.sqrt(self._diagonal()[component]) * noise

    def at(self, path: Path, t: Scalar) -> GaussianMixture:
        """The law of α x + σ noise: the mixture as the path sees it at t."""
        alpha, sigma = path.alpha(t), path.sigma(t)
        return GaussianMixture(alpha * self.means, alpha**2 * self.variances + sigma**2, self.log_weights)

    def predictor(self, path: Path) -> Predictor:
        """The exact model of this mixture on `path`, with its density.

        Cost: O(K d) per evaluation. Gradients: pathwise.
        """
        expect("path", path, Path, "pass a path, such as fkdiff.paths.variance_preserving()")
        shape = (self.means.shape[1],)
        return Predictor(path, MixtureRule(self, path), shape, log_density=MixtureDensity(self, path))


class MixtureRule(eqx.Module):
    """The exact prediction of a mixture, by its posterior mean (no cancellation at either end)."""

    mixture: GaussianMixture
    path: Path

    def __call__(self, x: Array, t: Array, cond: PyTree) -> Prediction:
        rates = self.path.rates(t)
        noised = self.mixture.at(self.path, t)
        weights = noised.responsibilities(x)
        residual = (x[None, :] - noised.means) / noised._diagonal()
        clean = weights @ (self.mixture.means + rates.alpha * self.mixture._diagonal() * residual)
        noise = rates.sigma * (weights @ residual)
        velocity = rates.alpha_dot * clean + rates.sigma_dot * noise
        return Prediction(clean, noise, velocity, -noise / rates.sigma)


class MixtureDensity(eqx.Module):
    """log q_t of a mixture."""

    mixture: GaussianMixture
    path: Path

    def __call__(self, x: Array, t: Array, cond: PyTree) -> Array:
        return self.mixture.at(self.path, t).log_prob(x)


def gaussian_mixture(means, variances, weights=None) -> GaussianMixture:
    """A mixture of Gaussians.

    Args:
        means: Shape (K, d).
        variances: Shape (K,) for isotropic components or (K, d) for diagonal ones, positive.
        weights: Shape (K,), positive; normalised here. Equal by default.
    """
    dtype = jnp.result_type(float)
    means = number("means", means, shape=None)
    variances = number("variances", variances, 0.0, shape=None)
    require(means.ndim == 2 and means.size > 0, f"means has shape {means.shape}; pass (K, d), one row per component.")
    require(
        variances.shape in (means.shape[:1], means.shape),
        f"variances has shape {variances.shape}; pass {means.shape[:1]} (isotropic) or {means.shape} (diagonal).",
    )
    weights = jnp.ones(means.shape[0], dtype) if weights is None else number("weights", weights, 0.0, shape=None)
    require(weights.shape == means.shape[:1], f"weights has shape {weights.shape}; pass {means.shape[:1]}.")
    for name, value in {"variances": variances, "weights": weights}.items():
        known = concrete(value)
        require(known is None or bool((known > 0).all()), f"{name} must be positive; drop empty components.")
    return GaussianMixture(means, variances, jnp.log(weights) - jnp.log(weights.sum()))
