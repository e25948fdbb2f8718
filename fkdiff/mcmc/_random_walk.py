"""The random-walk Metropolis algorithm."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Kernel, LogDensity, PyTree, Scalar, wide_dtype
from fkdiff.core import log_density as as_density
from fkdiff.mcmc import noise
from fkdiff.mcmc._metric import Metric, metric
from fkdiff.mcmc.states import State, kernel_of, metropolis, start, step_length
from fkdiff.mcmc.trees import axpy, dot


class RandomWalk(eqx.Module):
    """See `random_walk`.

    Attributes:
        density: log p.
        scale: Standard deviation of the proposal.
        metric: C of its covariance C Cᵀ, relative to that.
    """

    density: LogDensity
    scale: Array
    metric: Metric

    def init(self, key, position):
        """One evaluation without gradient; the key is not used."""
        state = start(self.density, position, gradient=False)
        self.metric.check(state.position)
        return state

    def step(self, key, state: State):
        """Proposes x + scale · C ξ."""
        for_noise, for_acceptance = jax.random.split(key)
        move = self.metric.forward(noise.normal_like(for_noise, state.position))
        position = axpy(self.scale, move, state.position)
        new = State(position, self.density.evaluate(position, gradient=False))
        dtype = wide_dtype(new)
        distance = self.scale.astype(dtype) * jnp.sqrt(dot(move, move, dtype))
        return metropolis(for_acceptance, "random_walk", self.density, state, new, jnp.zeros((), dtype), distance)


def random_walk(log_density: Callable[[PyTree], Array], scale: Scalar, inverse_mass: PyTree | None = None) -> Kernel:
    """Gaussian steps, accepted so that p is invariant; no gradient is evaluated.

        x* = x + scale · C ξ,    C Cᵀ = M⁻¹

    Args:
        log_density: Unnormalised log p of ONE position; it need not be differentiable.
        scale: Standard deviation of the proposal, > 0; about 2.4/√d on a whitened target, at an acceptance of 0.234.
        inverse_mass: M⁻¹, about the covariance of p: None, a diagonal (like the position, or flat) or a matrix (d, d)
            over the flattened position.

    Returns:
        `Kernel`; its info is `Info`. The evaluations it carries have no gradients.

    Raises:
        FkdiffError: The scale is not positive, the mass not positive definite or of another shape, or the log-density
            at the start not finite.

    Cost: one evaluation per step; the start's is carried in the state.

    Gradients: refused, naming `fkdiff.gradients.expectation`.

    References: Metropolis et al. (1953); Roberts, Gelman and Gilks (1997).
    """
    kernel = RandomWalk(as_density(log_density), step_length("scale", scale), metric(inverse_mass))
    return kernel_of(kernel, "refused")
