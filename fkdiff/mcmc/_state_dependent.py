"""Overdamped Langevin dynamics whose diffusion depends on the position."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Kernel, LogDensity, PyTree, Scalar, common_dtype, raveled, require
from fkdiff.core import log_density as as_density
from fkdiff.mcmc import noise
from fkdiff.mcmc.states import State, kernel_of, start, step_length, unadjusted
from fkdiff.mcmc.trees import axpy, described


class StateDependent(eqx.Module):
    """See `state_dependent`.

    Attributes:
        density: log p.
        diffusion: D.
        step_size: h.
    """

    density: LogDensity
    diffusion: Callable[[PyTree], PyTree]
    step_size: Array

    def init(self, key, position):
        """One evaluation; the key is not used."""
        return start(self.density, position)

    def step(self, key, state: State):
        """x + h (D ∇log p + ∇·D) + √(2hD) ξ."""
        x = state.position
        diffusion, divergence = self._diffusion(x)
        grad = self.density.grad(state.evaluation)
        drift = jax.tree.map(lambda d, g, v: d * g + v, diffusion, grad, divergence)
        spread = jax.tree.map(lambda d, n: jnp.sqrt(d) * n, diffusion, noise.normal_like(key, x))
        drifted = axpy(self.step_size, drift, x)
        return unadjusted(self.density, axpy(jnp.sqrt(2 * self.step_size), spread, drifted))

    def _diffusion(self, x: PyTree) -> tuple[PyTree, PyTree]:
        """D and ∇·D, both like the position; a scalar's divergence is its gradient."""
        shapes = jax.eval_shape(self.diffusion, x)
        leaves = jax.tree.leaves(shapes)
        if len(leaves) == 1 and leaves[0].shape == ():
            value, gradient = jax.value_and_grad(lambda y: jax.tree.leaves(self.diffusion(y))[0])(x)
            require(
                value.dtype == common_dtype(x),
                f"diffusion(x) has dtype {value.dtype} where the position has {common_dtype(x)}; return that of the "
                "position.",
            )
            return jax.tree.map(lambda leaf: jnp.full(leaf.shape, value.astype(leaf.dtype)), x), gradient
        came, wanted = described(shapes), described(x)
        require(
            came == wanted,
            f"diffusion(x) is {came} where the position is {wanted}; return one positive number, or a diagonal like "
            "the position.",
        )
        flat, unravel = raveled(x)

        def one(tangent):
            out, moved = jax.jvp(lambda y: raveled(self.diffusion(unravel(y)))[0], (flat,), (tangent,))
            return out, jnp.sum(moved * tangent)

        values, divergences = jax.vmap(one)(jnp.eye(flat.size, dtype=flat.dtype))
        return unravel(values[0]), unravel(divergences)


def state_dependent(
    log_density: Callable[[PyTree], Array], diffusion: Callable[[PyTree], PyTree], step_size: Scalar
) -> Kernel:
    """Euler–Maruyama steps of Langevin dynamics with diffusion D(x); their law is p up to O(h), for every D > 0.

        x' = x + h (D(x) ∇log p(x) + ∇·D(x)) + √(2h D(x)) ξ

    Without ∇·D the law is another: with −log p = x²/2 and D = 1 + x²/2 its variance is 0.639 instead of 1.

    Args:
        log_density: Unnormalised log p of ONE position.
        diffusion: `diffusion(x)`: one positive number, or a positive diagonal like the position; differentiable. A
            negative one makes the position NaN, which the info counts as divergent.
        step_size: h > 0, in the position's units squared where D is 1.

    Returns:
        `Kernel`; its info is `UnadjustedInfo`.

    Raises:
        FkdiffError: The step size is not positive, the diffusion returns something else, or the log-density at the
            start is not finite.

    Cost: one evaluation with its gradient and one gradient of D per step; a diagonal D costs d jvps of D instead.

    Gradients: pathwise, of the chain as it stands.

    References: Roberts and Stramer (2002), equation 3; Ma, Chen and Fox (2015), equation 3.
    """
    require(callable(diffusion), f"diffusion={diffusion!r} is not a function; pass diffusion(x) > 0.")
    kernel = StateDependent(as_density(log_density), diffusion, step_length("step_size", step_size))
    return kernel_of(kernel, "pathwise")
