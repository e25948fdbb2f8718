"""Hamiltonian Monte Carlo with a fixed number of leapfrog steps."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Kernel, LogDensity, PyTree, Scalar, number, require, whole, wide_dtype, widened
from fkdiff.core import log_density as as_density
from fkdiff.core._concrete import concrete
from fkdiff.core.density import Evaluation
from fkdiff.mcmc import noise
from fkdiff.mcmc._metric import Metric, metric
from fkdiff.mcmc.states import MAX_ENERGY_ERROR, State, kernel_of, metropolis, start, step_length
from fkdiff.mcmc.trees import axpy, dot


def leapfrog(
    density: LogDensity, mass: Metric, state: State, velocity: PyTree, step_size: Array, num_steps: int
) -> tuple[State, PyTree]:
    """`num_steps` leapfrog steps of length ε in (x, v), with v whitened; reversible and volume-preserving.

        v += ½ε Cᵀ∇log p(x),    x += ε C v,    v += ½ε Cᵀ∇log p(x)

    Half kicks of neighbouring steps are merged, and only the last position needs its log-density.

    Cost: `num_steps` gradients and one value.
    """

    def kick(scale: Array, evaluation: Evaluation, v: PyTree) -> PyTree:
        return axpy(scale, mass.back(density.grad(evaluation)), v)

    def drift(x: PyTree, v: PyTree) -> PyTree:
        return axpy(step_size, mass.forward(v), x)

    def inner(_, carry):
        x = drift(*carry)
        return x, kick(step_size, density.evaluate(x), carry[1])

    carry = state.position, kick(step_size / 2, state.evaluation, velocity)
    if num_steps > 1:
        carry = jax.lax.fori_loop(0, num_steps - 1, inner, carry)
    position = drift(*carry)
    evaluation = density.evaluate(position)
    return State(position, evaluation), kick(step_size / 2, evaluation, carry[1])


class Hmc(eqx.Module):
    """See `hmc`.

    Attributes:
        density: log p.
        step_size: ε.
        metric: C of M⁻¹ = C Cᵀ.
        jitter: j, or None for a constant step.
        num_steps: Leapfrog steps.
    """

    density: LogDensity
    step_size: Array
    metric: Metric
    jitter: Array | None
    num_steps: int = eqx.field(static=True)

    def init(self, key, position):
        """One evaluation; the key is not used."""
        state = start(self.density, position)
        self.metric.check(state.position)
        return state

    def step(self, key, state: State):
        """One trajectory from a fresh velocity, and one decision."""
        keys = jax.random.split(key, 2 if self.jitter is None else 3)
        step_size = self.step_size
        if self.jitter is not None:
            step_size = step_size * (1 + self.jitter * (2 * noise.uniform(keys[2], step_size) - 1))
        velocity = noise.normal_like(keys[0], state.position)
        new, last = leapfrog(self.density, self.metric, state, velocity, step_size, self.num_steps)
        first, last = widened((velocity, last))
        slower, faster = jax.tree.map(jnp.subtract, last, first), jax.tree.map(jnp.add, last, first)
        dtype = wide_dtype(new)
        kinetic = dot(slower, faster, dtype) / 2
        path = jax.tree.map(jnp.subtract, *widened((new.position, state.position)))
        distance = jnp.sqrt(dot(path, path, dtype))
        return metropolis(keys[1], "hmc", self.density, state, new, kinetic, distance, MAX_ENERGY_ERROR)


def hmc(
    log_density: Callable[[PyTree], Array],
    step_size: Scalar,
    num_steps: int,
    inverse_mass: PyTree | None = None,
    jitter: Scalar = 0.0,
) -> Kernel:
    """Leapfrog trajectories of H = −log p + ½|p|²_{M⁻¹} from fresh momenta, accepted so that p is invariant.

    Args:
        log_density: Unnormalised log p of ONE position.
        step_size: ε > 0, in units of time; stable below 2/ω_max on a Gaussian.
        num_steps: Leapfrog steps L ≥ 1, compiled in.
        inverse_mass: M⁻¹, about the covariance of p: None, a diagonal (like the position, or flat) or a matrix (d, d)
            over the flattened position.
        jitter: j in [0, 1): every trajectory has a step of its own, ε(1 + j(2u − 1)) with u uniform, and so a length of
            its own at the same cost. A constant length can resonate: on a Gaussian, εL = 2π/ω returns to where it was.

    Returns:
        `Kernel`; its info is `Info`. NaN and ΔH > 1000 are rejected and counted as divergent; ΔH < 0 is accepted,
        however large.

    Raises:
        FkdiffError: The step size is not positive, the mass not positive definite or of another shape, the jitter
            outside [0, 1), the count below 1, or the log-density at the start not finite.

    Cost: `num_steps` evaluations with their gradients per step (values only where they are needed); the start's is
    carried in the state.

    Gradients: refused, naming `fkdiff.gradients.expectation`.

    References: Duane et al. (1987); Neal (2011), figure 2.
    """
    spread = number("jitter", jitter, 0.0, 1.0, "the relative half-width of the step")
    known = concrete(spread)
    require(known is None or bool(known < 1), f"jitter={known} must be below 1, or steps could have length 0.")
    kernel = Hmc(
        as_density(log_density),
        step_length("step_size", step_size),
        metric(inverse_mass),
        None if known is not None and known == 0 else spread,
        whole("num_steps", num_steps, 1, "the leapfrog steps of a trajectory"),
    )
    return kernel_of(kernel, "refused", kernel.num_steps)
