"""Gaussian data, so everything has a closed form: each step of a solver is affine, and so is y.

The law that a chain reaches follows from the slopes and offsets of its own steps, in NumPy; the posterior and the
evidence from that law by Gaussian conditioning. Nothing here knows a twist.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

import fkdiff as fk


class Linear:
    """A linear-Gaussian problem in d dimensions: anisotropic, off centre, m numbers observed with noise tau."""

    def __init__(self, d, m, tau, seed=0):
        rng = np.random.default_rng(seed)
        axes = np.linalg.qr(rng.normal(size=(d, d)))[0]
        self.covariance = (axes * np.geomspace(0.3, 2.0, d)) @ axes.T
        self.mean = 0.7 * rng.normal(size=d)
        self.matrix = rng.normal(size=(m, d)) / np.sqrt(d)
        self.tau = tau
        truth = self.mean + np.linalg.cholesky(self.covariance) @ rng.normal(size=d)
        self.y = self.matrix @ truth + tau * rng.normal(size=m)

    def predictor(self, path):
        return fk.targets.gaussian(self.mean, self.covariance).predictor(path)


def reached(pred, solver, grid, mean, covariance):
    """Mean and covariance after a walk that starts from N(mean, covariance)."""

    @jax.jit
    def affine(t0, t1):
        step = lambda x: solver.step(pred, solver.init(pred, x, t0), t0, t1)[0]  # noqa: E731
        origin = jnp.zeros(pred.shape)
        return jax.jacfwd(lambda x: step(x).mean)(origin), step(origin)

    for t0, t1 in itertools.pairwise(grid):
        slope, offset = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), affine(t0, t1))
        mean = slope @ mean + offset.mean
        covariance = slope @ covariance @ slope.T + offset.scale**2 * np.eye(len(mean))
    return mean, covariance


def start(path, mean, covariance):
    """N(α m, α² Σ + σ² I) at t_min."""
    alpha, sigma = float(path.alpha(path.t_min)), float(path.sigma(path.t_min))
    return alpha * mean, alpha**2 * covariance + sigma**2 * np.eye(len(mean))


def conditioned(mean, covariance, matrix, y, tau):
    """Posterior mean and covariance of x ~ N(mean, covariance) given y = A x + tau ξ, and log p(y)."""
    total = matrix @ covariance @ matrix.T + tau**2 * np.eye(len(y))
    residual = y - matrix @ mean
    gain = covariance @ matrix.T @ np.linalg.inv(total)
    log_evidence = -0.5 * (residual @ np.linalg.solve(total, residual) + np.linalg.slogdet(2 * np.pi * total)[1])
    return mean + gain @ residual, covariance - gain @ matrix @ covariance, log_evidence


def exact(problem, path, solver, grid, reference):
    """Posterior mean, covariance and log p(y) of the discretised chain."""
    d = len(problem.mean)
    mean, variance = reference
    first = start(path, np.broadcast_to(mean, d), variance * np.eye(d) if np.ndim(variance) == 0 else variance)
    law = reached(problem.predictor(path), solver, grid, *first)
    return conditioned(*law, problem.matrix, problem.y, problem.tau)
