"""Posteriors of real data, with their priors: logistic regression and eight schools."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array, Key, Scalar, number

LOG_2PI = 1.8378770664093453
EFFECTS = (28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0)
ERRORS = (15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0)
MU_SCALE, TAU_SCALE = 5.0, 5.0


def _normal(x: Array, scale: Array | float) -> Array:
    return -0.5 * (x / scale) ** 2 - jnp.log(scale) - 0.5 * LOG_2PI


class LogisticRegression(eqx.Module):
    """See `logistic_regression`.

    Attributes:
        features: Standardised, with a column of ones first, (n, d).
        labels: 0 or 1, (n,).
        prior_scale: Standard deviation of every coefficient.
    """

    features: Array
    labels: Array
    prior_scale: Array

    @property
    def dim(self) -> int:
        """d."""
        return self.features.shape[1]

    def log_prior(self, x: Array) -> Array:
        """Normalised, (d,) -> scalar."""
        return jnp.sum(_normal(x, self.prior_scale.astype(x.dtype)))

    def log_likelihood(self, x: Array) -> Array:
        """Σ log Bernoulli(y; logistic(features · x))."""
        logits = self.features.astype(x.dtype) @ x
        return jnp.sum(self.labels.astype(x.dtype) * logits - jax.nn.softplus(logits))

    def log_density(self, x: Array) -> Array:
        """log prior + log likelihood: its integral is the evidence."""
        return self.log_prior(x) + self.log_likelihood(x)

    def sample_prior(self, key: Key) -> Array:
        """One exact draw of the prior, (d,)."""
        return self.prior_scale * jax.random.normal(key, (self.dim,))


def logistic_regression(prior_scale: Scalar = 1.0) -> LogisticRegression:
    """Scikit-learn's breast-cancer data: 569 cases, 30 standardised features and an intercept, d = 31.

    Coefficients have independent N(0, prior_scale²) priors, the intercept too. No closed form; log Z and moments come
    from long runs, so compare samplers with each other.

    References: Street, Wolberg and Mangasarian (1993) for the data.
    """
    from sklearn.datasets import load_breast_cancer

    raw, labels = load_breast_cancer(return_X_y=True)
    scaled = (raw - raw.mean(axis=0)) / raw.std(axis=0)
    features = np.concatenate([np.ones((len(scaled), 1)), scaled], axis=1)
    dtype = jnp.result_type(float)
    scale = number("prior_scale", prior_scale, 1e-6, action="a standard deviation")
    return LogisticRegression(jnp.asarray(features, dtype), jnp.asarray(labels, dtype), scale)


class EightSchools(eqx.Module):
    """See `eight_schools`.

    Attributes:
        centred: Whether the last 8 coordinates are effects θ, or (θ − μ)/τ.
    """

    centred: bool = eqx.field(static=True)

    dim = 10

    def effects(self, x: Array) -> Array:
        """θ of one point, (8,)."""
        return x[2:] if self.centred else x[0] + jnp.exp(x[1]) * x[2:]

    def log_prior(self, x: Array) -> Array:
        """Normalised over (μ, log τ, the rest), the Jacobian of the logarithm included."""
        mu, log_tau, rest = x[0], x[1], x[2:]
        half_cauchy = jnp.log(2 / (jnp.pi * TAU_SCALE)) - jnp.log1p(jnp.exp(2 * log_tau) / TAU_SCALE**2) + log_tau
        centre, scale = (mu, jnp.exp(log_tau)) if self.centred else (0.0, jnp.ones_like(mu))
        return _normal(mu, MU_SCALE) + half_cauchy.astype(x.dtype) + jnp.sum(_normal(rest - centre, scale))

    def log_likelihood(self, x: Array) -> Array:
        """Σ log N(y_i; θ_i, σ_i²)."""
        y, errors = jnp.asarray(EFFECTS, x.dtype), jnp.asarray(ERRORS, x.dtype)
        return jnp.sum(_normal(y - self.effects(x), errors))

    def log_density(self, x: Array) -> Array:
        """log prior + log likelihood."""
        return self.log_prior(x) + self.log_likelihood(x)

    def sample_prior(self, key: Key) -> Array:
        """One exact draw of the prior, (10,)."""
        key_mu, key_tau, key_rest = jax.random.split(key, 3)
        mu = MU_SCALE * jax.random.normal(key_mu)
        log_tau = jnp.log(TAU_SCALE * jnp.abs(jax.random.cauchy(key_tau)))
        rest = jax.random.normal(key_rest, (8,))
        rest = mu + jnp.exp(log_tau) * rest if self.centred else rest
        return jnp.concatenate([jnp.stack([mu, log_tau]), rest])


def eight_schools(centred: bool = False) -> EightSchools:
    """Effects of coaching in eight schools, d = 10: (μ, log τ, eight effects).

        μ ~ N(0, 5²), τ ~ half-Cauchy(5), θ_i ~ N(μ, τ²), y_i ~ N(θ_i, σ_i²)

    Facts, by quadrature over (μ, τ): log Z = −31.3113, E μ = 4.397, E τ = 3.598.

    Args:
        centred: Coordinates θ, whose scale is τ (a funnel), or else (θ − μ)/τ, which have unit scale.

    References: Rubin (1981) for the data; Papaspiliopoulos, Roberts and Sköld (2007) for the two parametrisations.
    """
    return EightSchools(bool(centred))
