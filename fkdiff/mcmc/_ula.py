"""The unadjusted Langevin algorithm."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp

from fkdiff.core import Array, Kernel, LogDensity, PyTree, Scalar
from fkdiff.core import log_density as as_density
from fkdiff.mcmc import noise
from fkdiff.mcmc.states import State, kernel_of, start, step_length, unadjusted
from fkdiff.mcmc.trees import axpy


class Ula(eqx.Module):
    """See `ula`.

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
        """x + h ∇log p + √(2h) ξ."""
        drifted = axpy(self.step_size, self.density.grad(state.evaluation), state.position)
        position = axpy(jnp.sqrt(2 * self.step_size), noise.normal_like(key, drifted), drifted)
        return unadjusted(self.density, position)


def ula(log_density: Callable[[PyTree], Array], step_size: Scalar) -> Kernel:
    """Euler–Maruyama steps of overdamped Langevin dynamics; their law is p up to O(h).

        x' = x + h ∇log p(x) + √(2h) ξ

    On N(0, 1) the variance is 1/(1 − h/2) instead of 1.

    Args:
        log_density: Unnormalised log p of ONE position.
        step_size: h > 0, in the position's units squared.

    Returns:
        `Kernel`; its info is `UnadjustedInfo`.

    Raises:
        FkdiffError: The step size is not positive, or the log-density at the start is not finite.

    Cost: one evaluation with its gradient per step.

    Gradients: pathwise, of the chain as it stands.

    References: Roberts and Tweedie (1996), section 1.4.1.
    """
    kernel = Ula(as_density(log_density), step_length("step_size", step_size))
    return kernel_of(kernel, "pathwise")
