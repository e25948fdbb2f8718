"""Random Gaussian mixtures with full covariances, and the powers, products and quadratic tilts of them in closed form.

The models know nothing of the closed forms, and the closed forms are NumPy alone.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import logsumexp
from scipy.stats import norm

import fkdiff as fk
from fkdiff.prediction import Prediction


class Mixture(NamedTuple):
    """Σ_k e^{logs_k} N(means_k, covariances_k), unnormalised."""

    means: np.ndarray
    covariances: np.ndarray
    logs: np.ndarray

    def noised(self, path) -> Mixture:
        """The same data at t_max."""
        alpha, sigma = float(path.alpha(path.t_max)), float(path.sigma(path.t_max))
        covariances = alpha**2 * self.covariances + sigma**2 * np.eye(self.means.shape[1])
        return Mixture(alpha * self.means, covariances, self.logs)

    def times(self, other: Mixture) -> Mixture:
        """The product of two, component by component; what is e^60 below the largest is left out."""
        means, covariances, logs = [], [], []
        for m, c, a in zip(*self, strict=True):
            for n, d, b in zip(*other, strict=True):
                both, gap = c + d, m - n
                gain = np.linalg.solve(both, gap)
                _, volume = np.linalg.slogdet(2 * np.pi * both)
                means.append(m - c @ gain)
                covariances.append(c - c @ np.linalg.solve(both, c))
                logs.append(a + b - 0.5 * (gap @ gain + volume))
        kept = np.asarray(logs) > np.max(logs) - 60
        return Mixture(np.asarray(means)[kept], np.asarray(covariances)[kept], np.asarray(logs)[kept])

    def power(self, exponent: int) -> Mixture:
        """A whole power."""
        out = self
        for _ in range(exponent - 1):
            out = out.times(self)
        return out

    @property
    def log_mass(self) -> float:
        """log of the integral."""
        return float(np.asarray(logsumexp(self.logs)))

    def below(self, direction: np.ndarray, place: float) -> float:
        """P(direction · x < place)."""
        shares = np.exp(self.logs - self.log_mass)
        spread = np.sqrt(np.einsum("i,kij,j->k", direction, self.covariances, direction))
        return float(shares @ norm.cdf((place - self.means @ direction) / spread))

    def median(self, direction: np.ndarray) -> float:
        """Where `below` is a half, by bisection."""
        low, high = -60.0, 60.0
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if self.below(direction, middle) < 0.5 else (low, middle)
        return 0.5 * (low + high)


class _Rule(eqx.Module):
    """The exact prediction of a mixture at any time."""

    means: jax.Array
    axes: jax.Array
    widths: jax.Array
    logs: jax.Array
    path: fk.paths.Path

    def parts(self, x, t):
        alpha, sigma = self.path.alpha(t), self.path.sigma(t)
        variances = alpha**2 * self.widths + sigma**2
        inside = jnp.einsum("kji,kj->ki", self.axes, x[None] - alpha * self.means)
        logs = self.logs - 0.5 * jnp.sum(inside**2 / variances + jnp.log(2 * jnp.pi * variances), axis=1)
        return logs, inside / variances

    def __call__(self, x, t, cond):
        alpha, sigma, rates = self.path.alpha(t), self.path.sigma(t), self.path.rates(t)
        logs, residual = self.parts(x, t)
        shares = jax.nn.softmax(logs)
        clean = shares @ self.means + alpha * jnp.einsum("k,kij,kj->i", shares, self.axes, self.widths * residual)
        noise = sigma * jnp.einsum("k,kij,kj->i", shares, self.axes, residual)
        return Prediction(clean, noise, rates.alpha_dot * clean + rates.sigma_dot * noise, -noise / sigma)


class _Density(eqx.Module):
    rule: _Rule

    def __call__(self, x, t, cond):
        return jax.nn.logsumexp(self.rule.parts(x, t)[0])


def predictor(law: Mixture, path, known: bool) -> fk.Predictor:
    """The model of a normalised mixture, with its density or, as networks are, without."""
    widths, axes = np.linalg.eigh(law.covariances)
    means, logs = jnp.asarray(law.means, jnp.float32), jnp.asarray(law.logs - law.log_mass, jnp.float32)
    rule = _Rule(means, jnp.asarray(axes, jnp.float32), jnp.asarray(widths, jnp.float32), logs, path)
    return fk.Predictor(path=path, rule=rule, shape=law.means.shape[1:], log_density=_Density(rule) if known else None)


def covariance(rng, dimension: int, low: float, high: float) -> np.ndarray:
    """Random axes, eigenvalues log-uniform between low and high."""
    axes = np.linalg.qr(rng.normal(size=(dimension, dimension)))[0]
    return axes @ np.diag(np.exp(rng.uniform(np.log(low), np.log(high), dimension))) @ axes.T


def family(name: str, rng, dimension: int) -> Mixture:
    """A random member: *ridge* (eigenvalues 0.002 to 3), *cov* (0.05 to 1.5), *sep* (small, far modes), *funnel*."""
    count = 7 if name == "funnel" else 3
    shares = rng.dirichlet(np.ones(count))
    if name == "ridge":
        means, low, high = rng.normal(size=(count, dimension)), 0.002, 3.0
    elif name == "cov":
        means, low, high = 3 * rng.normal(size=(count, dimension)) / dimension**0.5, 0.05, 1.5
    elif name == "sep":
        way = rng.normal(size=(count, dimension))
        means = way / np.linalg.norm(way, axis=1, keepdims=True) * rng.uniform(2, 5)
        sizes = np.exp(rng.uniform(-3, 3, count) / dimension)
        covariances = np.stack([s * covariance(rng, dimension, 0.1, 0.3) for s in sizes])
        return Mixture(means, covariances, np.log(shares))
    else:
        neck = np.linspace(-2.5, 2.5, count)
        turn = np.linalg.qr(rng.normal(size=(dimension, dimension)))[0]
        means = np.outer(neck, turn[:, 0])
        widths = [np.diag([0.25] + [0.3 * np.exp(1.2 * z)] * (dimension - 1)) for z in neck]
        covariances = np.stack([turn @ w @ turn.T for w in widths])
        return Mixture(means, covariances, norm.logpdf(neck, 0, 1.5))
    return Mixture(means, np.stack([covariance(rng, dimension, low, high) for _ in range(count)]), np.log(shares))
