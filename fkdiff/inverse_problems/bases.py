"""Coordinates in which the Gaussian N(m, Σ) that stands for the data meets a linear operator A.

Every matrix that a twist needs is I or Σ-shaped: Q diag(h) Qᵀ with Q the eigenvectors of Σ and h a function of its
eigenvalues and of time. `Isotropic` (Σ = ς² I) turns observations by the singular vectors of A, which makes
A Q diag(h) Qᵀ Aᵀ diagonal; `Correlated` keeps observations as they are and takes a Cholesky
factor, once per step for all particles.
"""

from __future__ import annotations

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array, concrete, number, require
from fkdiff.inverse_problems.operators import LinearOperator


class Basis(eqx.Module):
    """The data's Gaussian and A; spectra h are scalars or (d,), whatever `variance` is.

    Attributes:
        mean: m, flattened, (d,).
        variance: Eigenvalues of Σ, () or (d,).
    """

    mean: eqx.AbstractVar[Array]
    variance: eqx.AbstractVar[Array]

    @abc.abstractmethod
    def variances(self, shape: tuple[int, ...]) -> Array:
        """The diagonal of Σ: one number, or one for each coordinate of an example."""

    @abc.abstractmethod
    def covariance(self, operator: LinearOperator, spectrum: Array, floor: Array) -> Array:
        """floor I + A Q diag(h) Qᵀ Aᵀ in the coordinates of observations: (m,) or (m, m)."""

    @abc.abstractmethod
    def across(self, operator: LinearOperator, gain: Array) -> Array:
        """A Q diag(h) Qᵀ itself in those coordinates, (m, d): what `push` multiplies by."""

    @abc.abstractmethod
    def turned(self, operator: LinearOperator, residual: Array) -> Array:
        """An observation, (m,), in its coordinates."""

    @abc.abstractmethod
    def push(self, operator: LinearOperator, gain: Array, x: Array) -> Array:
        """A Q diag(h) Qᵀ x in those coordinates: (d,) to (m,)."""

    @abc.abstractmethod
    def pull(self, operator: LinearOperator, gain: Array, y: Array) -> Array:
        """Its transpose, Q diag(h) Qᵀ Aᵀ y: (m,) to (d,)."""

    @abc.abstractmethod
    def color(self, deviation: Array, noise: Array) -> Array:
        """A draw of N(0, Q diag(deviation²) Qᵀ) from standard noise, (d,)."""


class Isotropic(Basis):
    """Σ = ς² I; observations are turned by Uᵀ, A = U diag(s) Vᵀ."""

    mean: Array
    variance: Array

    def variances(self, shape: tuple[int, ...]) -> Array:
        return self.variance

    def covariance(self, operator: LinearOperator, spectrum: Array, floor: Array) -> Array:
        return floor + spectrum * operator.singular**2

    def across(self, operator: LinearOperator, gain: Array) -> Array:
        return gain * operator.singular[:, None] * operator.right

    def turned(self, operator: LinearOperator, residual: Array) -> Array:
        return operator.left.T @ residual

    def push(self, operator: LinearOperator, gain: Array, x: Array) -> Array:
        return gain * operator.singular * (operator.right @ x)

    def pull(self, operator: LinearOperator, gain: Array, y: Array) -> Array:
        return gain * ((operator.singular * y) @ operator.right)

    def color(self, deviation: Array, noise: Array) -> Array:
        return deviation * noise


class Correlated(Basis):
    """A full Σ = Q diag(variance) Qᵀ, with W = A Q computed once."""

    mean: Array
    variance: Array
    axes: Array  # Q, (d, d)
    seen: Array  # W, (m, d)

    def variances(self, shape: tuple[int, ...]) -> Array:
        return (self.axes**2 @ self.variance).reshape(shape)

    def covariance(self, operator: LinearOperator, spectrum: Array, floor: Array) -> Array:
        inner = (self.seen * jnp.broadcast_to(spectrum, self.variance.shape)[None, :]) @ self.seen.T
        return inner + floor * jnp.eye(self.seen.shape[0], dtype=inner.dtype)

    def across(self, operator: LinearOperator, gain: Array) -> Array:
        return (self.seen * jnp.broadcast_to(gain, self.variance.shape)[None, :]) @ self.axes.T

    def turned(self, operator: LinearOperator, residual: Array) -> Array:
        return residual

    def push(self, operator: LinearOperator, gain: Array, x: Array) -> Array:
        return self.seen @ (gain * (self.axes.T @ x))

    def pull(self, operator: LinearOperator, gain: Array, y: Array) -> Array:
        return self.axes @ (gain * (self.seen.T @ y))

    def color(self, deviation: Array, noise: Array) -> Array:
        return self.axes @ (deviation * noise)


def basis(operator: LinearOperator, reference: Any) -> Basis:
    """The basis of a reference (mean, variance), the variance being one number or a covariance (d, d).

    Raises:
        FkdiffError: Other shapes, or a covariance that is not symmetric or has a negative eigenvalue.
    """
    require(
        isinstance(reference, tuple | list) and len(reference) == 2,
        f"reference={reference!r} must be a pair (mean, variance) of the data; the default is (0.0, 1.0).",
    )
    size, shape = operator.matrix.shape[1], operator.shape
    mean = number("reference mean", reference[0], action="pass (mean, variance) of the data", shape=None)
    require(
        mean.shape in ((), shape), f"reference mean has shape {mean.shape}; pass one number or one example, {shape}."
    )
    mean = jnp.broadcast_to(mean.reshape(-1) if mean.ndim else mean, (size,))
    variance = number("reference variance", reference[1], action="pass (mean, variance) of the data", shape=None)
    require(
        variance.shape in ((), (size, size)),
        f"reference variance has shape {variance.shape}; pass one number, or the covariance of flattened examples, "
        f"({size}, {size}).",
    )
    if variance.ndim == 0:
        return Isotropic(mean, number("reference variance", variance, 0.0, action="a variance"))
    known = concrete(reference[1])
    require(known is not None, "a reference covariance is decomposed on the host; pass it from outside jit.")
    dense = np.asarray(known, np.float64)
    require(
        bool(np.allclose(dense, dense.T, rtol=1e-4, atol=1e-6 * np.abs(dense).max())),
        "reference covariance is not symmetric; pass (covariance + covariance.T) / 2 if that is what you mean.",
    )
    values, axes = np.linalg.eigh(0.5 * (dense + dense.T))
    require(
        bool(values.min() >= -1e-5 * values.max()),
        f"reference covariance has the eigenvalue {values.min():.3g}, and no covariance has a negative one.",
    )
    seen = np.asarray(operator.matrix, np.float64) @ axes
    leaves = (jnp.asarray(v, mean.dtype) for v in (np.maximum(values, 0.0), axes, seen))
    return Correlated(mean, *leaves)
