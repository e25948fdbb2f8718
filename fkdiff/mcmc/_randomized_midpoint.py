"""Overdamped Langevin dynamics by the randomised midpoint."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Kernel, LogDensity, PyTree, Scalar
from fkdiff.core import log_density as as_density
from fkdiff.mcmc import noise
from fkdiff.mcmc.states import State, kernel_of, start, step_length, unadjusted
from fkdiff.mcmc.trees import axpy


class RandomizedMidpoint(eqx.Module):
    """See `randomized_midpoint`.

    Attributes:
        density: log p.
        step_size: h.
    """

    density: LogDensity
    step_size: Array

    def init(self, key, position):
        """One evaluation; the key is not used."""
        return start(self.density, position)

    def step(self, key, state: State):
        """The drift of the whole step is taken at a uniform time u h within it, on the same Brownian path."""
        for_time, for_first, for_second = jax.random.split(key, 3)
        h = self.step_size
        u = noise.uniform(for_time, h)
        first = noise.normal_like(for_first, state.position)
        second = noise.normal_like(for_second, state.position)
        early = axpy(jnp.sqrt(2 * h) * jnp.sqrt(u), first, state.position)
        middle = axpy(u * h, self.density.grad(state.evaluation), early)
        drifted = axpy(h, self.density.grad(self.density.evaluate(middle)), early)
        return unadjusted(self.density, axpy(jnp.sqrt(2 * h) * jnp.sqrt(1 - u), second, drifted))


def randomized_midpoint(log_density: Callable[[PyTree], Array], step_size: Scalar) -> Kernel:
    """Langevin steps whose drift is an unbiased estimate of its integral; a smaller bias than `ula` at the same h.

        x⁺ = x + u h ∇log p(x) + √2 W(uh),    x' = x + h ∇log p(x⁺) + √2 W(h),    u ~ U[0, 1)

    On N(0, 1) the variance is (2h − 2h² + h³)/(2h − 2h² + h³ − h⁴/3).

    Args:
        log_density: Unnormalised log p of ONE position.
        step_size: h > 0, in the position's units squared.

    Returns:
        `Kernel`; its info is `UnadjustedInfo`.

    Raises:
        FkdiffError: The step size is not positive, or the log-density at the start is not finite.

    Cost: two evaluations with their gradients per step, and noise twice.

    Gradients: pathwise, of the chain as it stands.

    References: Shen and Lee (2019), algorithm 1; He, Balasubramanian and Erdogdu (2020), equation 2, overdamped.
    """
    kernel = RandomizedMidpoint(as_density(log_density), step_length("step_size", step_size))
    return kernel_of(kernel, "pathwise", 2)
