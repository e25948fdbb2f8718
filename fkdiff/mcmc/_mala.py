"""The Metropolis-adjusted Langevin algorithm."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Kernel, LogDensity, PyTree, Scalar, wide_dtype, widened
from fkdiff.core import log_density as as_density
from fkdiff.mcmc import noise
from fkdiff.mcmc._metric import Metric, metric
from fkdiff.mcmc.states import MAX_ENERGY_ERROR, State, kernel_of, metropolis, start, step_length
from fkdiff.mcmc.trees import axpy, dot


class Mala(eqx.Module):
    """See `mala`.

    Attributes:
        density: log p.
        step_size: h.
        metric: C of M⁻¹ = C Cᵀ.
    """

    density: LogDensity
    step_size: Array
    metric: Metric

    def init(self, key, position):
        """One evaluation; the key is not used."""
        state = start(self.density, position)
        self.metric.check(state.position)
        return state

    def step(self, key, state: State):
        """Proposes x + C(h Cᵀ∇log p + √(2h) ξ).

        With a = √(h/2) and s = Cᵀ(∇log p(x) + ∇log p(x')), the logarithm of the proposal ratio q(x|x')/q(x'|x) is
        ½|ξ|² − ½|ξ + a s|² = −a s·(ξ + a s/2): one sum, and no difference of two large ones.
        """
        for_noise, for_acceptance = jax.random.split(key)
        half, length = jnp.sqrt(self.step_size / 2), jnp.sqrt(2 * self.step_size)
        xi = noise.normal_like(for_noise, state.position)
        pull = self.metric.back(self.density.grad(state.evaluation))
        move = self.metric.forward(axpy(half, pull, xi))
        position = axpy(length, move, state.position)
        new = State(position, self.density.evaluate(position))
        pulls = jax.tree.map(jnp.add, pull, self.metric.back(self.density.grad(new.evaluation)))
        pulls, xi = widened((pulls, xi))
        dtype = wide_dtype(new)
        half = half.astype(dtype)
        kinetic = half * dot(pulls, axpy(half / 2, pulls, xi), dtype)
        distance = length.astype(dtype) * jnp.sqrt(dot(move, move, dtype))
        return metropolis(for_acceptance, "mala", self.density, state, new, kinetic, distance, MAX_ENERGY_ERROR)


def mala(log_density: Callable[[PyTree], Array], step_size: Scalar, inverse_mass: PyTree | None = None) -> Kernel:
    """Langevin proposals, accepted so that p is invariant.

        x* = x + h M⁻¹∇log p(x) + √(2h) M^{−1/2} ξ

    Args:
        log_density: Unnormalised log p of ONE position.
        step_size: h > 0; in d dimensions about d^{−1/3}, at an acceptance of 0.574.
        inverse_mass: M⁻¹, about the covariance of p: None, a diagonal (like the position, or flat) or a matrix (d, d)
            over the flattened position.

    Returns:
        `Kernel`; its info is `Info`.

    Raises:
        FkdiffError: The step size is not positive, the mass not positive definite or of another shape, or the
            log-density at the start not finite.

    Cost: one evaluation with its gradient per step; the start's is carried in the state.

    Gradients: refused, naming `fkdiff.gradients.expectation`.

    References: Roberts and Tweedie (1996), section 1.4.2; Roberts and Rosenthal (1998).
    """
    kernel = Mala(as_density(log_density), step_length("step_size", step_size), metric(inverse_mass))
    return kernel_of(kernel, "refused")
