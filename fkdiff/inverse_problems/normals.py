"""Centred Gaussians whose covariance is diagonal, a vector (m,), or dense, a matrix (m, m).

`root` is the square root that the others take: standard deviations, or a Cholesky factor.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import jax.scipy.linalg as jsl

from fkdiff.core import Array


def root(covariance: Array) -> Array:
    """L with L Lᵀ = covariance: (m,) to (m,), (m, m) to (m, m)."""
    return jnp.sqrt(covariance) if covariance.ndim == 1 else jnp.linalg.cholesky(covariance)


def whiten(root: Array, residual: Array) -> Array:
    """L⁻¹ residual, (m,)."""
    return residual / root if root.ndim == 1 else jsl.solve_triangular(root, residual, lower=True)


def solve(root: Array, residual: Array) -> Array:
    """(L Lᵀ)⁻¹ residual, (m,)."""
    white = whiten(root, residual)
    return white / root if root.ndim == 1 else jsl.solve_triangular(root, white, lower=True, trans=1)


def color(root: Array, noise: Array) -> Array:
    """L noise: standard noise (m,) to a draw."""
    return root * noise if root.ndim == 1 else root @ noise


def log_density(root: Array, residual: Array) -> Array:
    """log N(residual; 0, L Lᵀ), with every constant."""
    deviations = root if root.ndim == 1 else jnp.diagonal(root)
    squares = jnp.sum(whiten(root, residual) ** 2)
    return -0.5 * squares - jnp.sum(jnp.log(deviations)) - 0.5 * residual.shape[0] * math.log(2 * math.pi)
