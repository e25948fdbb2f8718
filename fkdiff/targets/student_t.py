"""Mixtures of Student-t laws: modes with heavy tails."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, categorical, concrete, number, one_key, require, whole
from fkdiff.core.choices import COMPONENTS


class StudentTMixture(eqx.Module):
    """Σ_k w_k t_{ν}(x; μ_k, s_k² I) in d dimensions: see `student_t_mixture`.

    Attributes:
        means: μ, (K, d).
        scales: s, (K,).
        log_weights: log w, normalised, (K,).
        dof: ν.
    """

    means: Array
    scales: Array
    log_weights: Array
    dof: Array

    def log_joint(self, x: Array) -> Array:
        """log w_k t(x; k), (K,)."""
        nu, d = self.dof.astype(x.dtype), self.means.shape[1]
        square = jnp.sum((x[None, :] - self.means) ** 2, axis=1) / self.scales**2
        constant = jax.lax.lgamma((nu + d) / 2) - jax.lax.lgamma(nu / 2) - 0.5 * d * jnp.log(nu * jnp.pi)
        return self.log_weights + constant - d * jnp.log(self.scales) - 0.5 * (nu + d) * jnp.log1p(square / nu)

    def log_prob(self, x: Array) -> Array:
        """Normalised log-density at one point, (d,) -> scalar."""
        return jax.nn.logsumexp(self.log_joint(x))

    @property
    def mean(self) -> Array:
        """Σ w μ, (d,), for ν > 1."""
        return jnp.exp(self.log_weights) @ self.means

    def sample(self, key: Key, num_samples: int) -> Array:
        """Exact independent draws, (num_samples, d)."""
        count = whole("num_samples", num_samples)
        key_component, key_noise, key_scale = jax.random.split(one_key(key), 3)
        component = categorical(key_component, self.log_weights, COMPONENTS, (count,))
        noise = jax.random.normal(key_noise, (count, self.means.shape[1]))
        spread = jnp.sqrt(self.dof / (2 * jax.random.gamma(key_scale, self.dof / 2, (count,))))
        return self.means[component] + (self.scales[component] * spread)[:, None] * noise


def student_t_mixture(means: Any, scales: Any, weights: Any, dof: Any = 3.0) -> StudentTMixture:
    """Multivariate Student-t laws with ν degrees of freedom, mixed.

    Facts: normalised; mean Σ w μ for ν > 1; covariance within component k is ν/(ν − 2) s_k² I for ν > 2.

    Args:
        means: μ, (K, d).
        scales: s > 0, (K,).
        weights: w, positive, (K,); normalised here.
        dof: ν > 0; 1 is Cauchy's law, ∞ the normal one.
    """
    means, scales = number("means", means, shape=None), number("scales", scales, 1e-30, shape=None)
    weights = number("weights", weights, 1e-30, shape=None)
    require(
        means.ndim == 2 and scales.shape == weights.shape == means.shape[:1],
        f"means has shape {means.shape}, scales {scales.shape} and weights {weights.shape}; pass (K, d), (K,), (K,).",
    )
    nu = number("dof", dof, 0.0, action="degrees of freedom")
    known = concrete(nu)
    require(known is None or bool(known > 0), f"dof={known} must be positive; 3 has a variance, 1 has no mean.")
    return StudentTMixture(means, scales, jnp.log(weights / weights.sum()), nu)
