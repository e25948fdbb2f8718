"""Arithmetic of unnormalised log-weights: shifted by their maximum, dead particles included."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from fkdiff.core import Array


def shifted(log_weights: Array) -> Array:
    """exp(log w − max log w), shape (N,): the largest is 1, and adding a constant changes nothing.

    All zero when every particle is dead; NaN wherever a log-weight is NaN or +inf, so that nothing hides.
    """
    top = jax.lax.stop_gradient(jnp.max(log_weights))
    # −inf − (−inf) is NaN: when nothing is alive there is nothing to shift.
    return jnp.exp(log_weights - jnp.where(top == -jnp.inf, jnp.zeros_like(top), top))


def normalized(log_weights: Array) -> Array:
    """W_i = w_i/Σw, shape (N,); NaN when every particle is dead."""
    weights = shifted(log_weights)
    return weights / weights.sum()


def ess(log_weights: Array) -> Array:
    """Effective sample size (Σw)²/Σw², between 1 and N; 0 when every particle is dead.

    Gradients: stopped; it only decides and reports.

    References: Kong, Liu and Wong (1994).
    """
    weights = shifted(jax.lax.stop_gradient(log_weights))
    total, squares = weights.sum(), (weights**2).sum()
    # `== 0` and not `> 0`: a NaN total must stay NaN.
    return jnp.where(total == 0, jnp.zeros_like(total), total**2 / jnp.where(total == 0, 1.0, squares))


def log_mean_exp(log_weights: Array) -> Array:
    """log (1/N) Σw over all N particles, dead ones included."""
    return jax.nn.logsumexp(log_weights) - math.log(log_weights.shape[0])


def spread(log_weights: Array) -> Array:
    """Standard deviation of log w over the living particles; 0 when none lives."""
    log_weights = jax.lax.stop_gradient(log_weights)
    alive = log_weights != -jnp.inf
    count = jnp.maximum(alive.sum(), 1).astype(log_weights.dtype)
    masked = jnp.where(alive, log_weights, 0.0)
    mean = masked.sum() / count
    return jnp.sqrt(jnp.where(alive, (log_weights - mean) ** 2, 0.0).sum() / count)


def compensated_add(total: Array, compensation: Array, term: Array) -> tuple[Array, Array]:
    """total + term with the rounding error carried along (Kahan); returns (total, compensation).

    A sum that is no longer finite carries no error: ∞ − ∞ would turn log Z = −inf into NaN.
    """
    corrected = term - compensation
    new = total + corrected
    finite = jnp.isfinite(new)
    lost = (jnp.where(finite, new, 0.0) - total) - corrected
    return new, jnp.where(finite, lost, 0.0)
