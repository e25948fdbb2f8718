"""Control of the weights: a tiny least-squares problem over the population.

For any θ, adding Σ θ_j φ_j to u and Σ θ_j A_j to g leaves the target law unchanged. θ is chosen to make g + Aθ as
nearly constant over the weighted population as the basis allows: that is where the variance of the weights goes.

θ depends on the population, so log Z has an O(1/N) bias, and particles are coupled: error bars from independent
populations (`fkdiff.replicate`) are safer than those of one run. `freeze` takes θ from a pilot population instead: no
bias but that of the time steps, and no coupling.

References:
    Ren et al. (2026), variance-controlling guidance; Vargas et al. (2024) for the escorted form.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fkdiff.core import Array

MOST_NOISE = 0.95  # of what a column varies by, taken for its probe's
RIDGE = 1e-4  # relative to unit-variance columns: x and s_i are collinear while the noise dominates


class Fit(NamedTuple):
    """A solved control.

    Attributes:
        theta: θ, (J,).
        rates: g + Aθ, (N,).
        spread: sd_w(g + Aθ), a scalar: its time integral is the starvation signal R.
        noise: The variance that probes give to each rate, (N,); zeros without probes.
    """

    theta: Array
    rates: Array
    spread: Array
    noise: Array


class Schedule(NamedTuple):
    """A control fixed in advance: θ and the centre of its affine columns as functions of time.

    Attributes:
        times: Increasing, (M,).
        theta: θ at each time, (M, J).
        centre: x̄ at each time, (M, *shape).
    """

    times: Array
    theta: Array
    centre: Array

    def at(self, t: Array) -> tuple[Array, Array]:
        """θ and the centre at time t, linear between the times."""
        right = jnp.clip(jnp.searchsorted(self.times, t), 1, self.times.shape[0] - 1)
        left = right - 1
        share = (t - self.times[left]) / (self.times[right] - self.times[left])
        theta, centre = ((1 - share) * v[left] + share * v[right] for v in (self.theta, self.centre))
        return theta, centre


def living_shares(log_weights: Array) -> Array:
    """Self-normalised weights; zeros for dead particles, and zeros for all when all are dead."""
    alive = log_weights > -jnp.inf
    top = jnp.max(jnp.where(alive, log_weights, -jnp.inf))
    weights = jnp.where(alive, jnp.exp(log_weights - jnp.where(jnp.isfinite(top), top, 0.0)), 0.0)
    total = jnp.sum(weights)
    return weights / jnp.where(total > 0, total, 1.0)


def solve(rates: Array, columns: Array, log_weights: Array, noise: Array | None = None) -> Fit:
    """Minimises Var_w[g + Aθ] over θ, as if the columns had been seen without their probes.

    The noise of a probe is independent of everything else, so that it adds its covariance to AᵀWA and would shrink θ.

    Args:
        rates: g, (N,).
        columns: A, (N, J).
        log_weights: Current log-weights, (N,).
        noise: The covariance of each row of A, (N, J, J); None where divergences are exact.

    Returns:
        The fit. With fewer than ten effective particles per column only the first ESS/10 columns are used.

    Cost: O(N J²), no model calls. Gradients: stopped, since θ is a choice and not a quantity.
    """
    weights = living_shares(log_weights)
    # Dead rows first: 0 · NaN is NaN, and a dead particle may well hold one.
    alive = (weights > 0)[:, None]
    g = jnp.where(alive[:, 0], rates, 0.0)
    if columns.shape[1] == 0:
        return apply(jnp.zeros((0,), g.dtype), rates, columns, log_weights, noise)
    a = jnp.where(alive, columns, 0.0)
    affordable = 10 * jnp.arange(a.shape[1]).astype(a.dtype) < 1 / jnp.sum(weights**2) - 9.999
    if noise is not None:
        of_probes = jnp.tensordot(weights, jnp.where(alive[:, :, None], noise, 0.0), axes=1)
        of_probes = jnp.where(affordable[None, :] & affordable[:, None], of_probes, 0.0)
    else:
        of_probes = None
    theta = _least_squares(weights, g, jnp.where(affordable[None, :], a, 0.0), of_probes)
    return apply(theta, rates, columns, log_weights, noise)


def apply(theta: Array, rates: Array, columns: Array, log_weights: Array, noise: Array | None = None) -> Fit:
    """The rates under a given θ, (J,); θ carries no gradient."""
    weights, theta = living_shares(log_weights), jax.lax.stop_gradient(theta)
    alive = weights > 0
    # A row dead before stays dead: its own increment is left as it is.
    controlled = rates + jnp.where(alive, jnp.where(alive[:, None], columns, 0.0) @ theta, 0.0)
    of_probes = jnp.zeros_like(controlled)
    if noise is not None:
        of_probes = jnp.where(alive, jnp.where(alive[:, None, None], noise, 0.0) @ theta @ theta, 0.0)
    return Fit(theta, controlled, _spread(weights, jnp.where(alive, controlled, 0.0)), of_probes)


def _least_squares(weights: Array, g: Array, a: Array, noise: Array | None) -> Array:
    centred = a - jnp.sum(weights[:, None] * a, axis=0, keepdims=True)
    variance = jnp.sum(weights[:, None] * centred**2, axis=0)
    scale = jnp.sqrt(variance + jnp.finfo(a.dtype).tiny)
    unit = centred / scale[None, :]
    precise = jax.lax.Precision.HIGHEST  # accelerators round products to 10 bits otherwise
    normal = jnp.matmul((weights[:, None] * unit).T, unit, precision=precise)
    normal = normal + RIDGE * jnp.eye(a.shape[1], dtype=a.dtype)
    if noise is not None:
        normal = normal - _bounded(noise / (scale[:, None] * scale[None, :]), normal)
    target = jnp.matmul(unit.T, weights * (g - jnp.sum(weights * g)), precision=precise)
    return -jnp.linalg.solve(normal, target) / scale


def _bounded(noise: Array, normal: Array) -> Array:
    """The noise, scaled down where it would take more than 95 % of any direction of the normal matrix."""
    factor = jnp.linalg.cholesky(normal)
    half = jax.scipy.linalg.solve_triangular(factor, noise, lower=True)
    share = jnp.linalg.eigvalsh(jax.scipy.linalg.solve_triangular(factor, half.T, lower=True))[-1]
    return noise * jnp.minimum(1.0, MOST_NOISE / jnp.maximum(share, jnp.finfo(noise.dtype).tiny))


def _spread(weights: Array, rates: Array) -> Array:
    mean = jnp.sum(weights * rates)
    return jnp.sqrt(jnp.sum(weights * (rates - mean) ** 2))
