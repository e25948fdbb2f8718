"""Underdamped (kinetic) Langevin dynamics by splitting."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Kernel, LogDensity, PyTree, Scalar, choose, one_key
from fkdiff.core import log_density as as_density
from fkdiff.core.density import Evaluation
from fkdiff.mcmc import noise
from fkdiff.mcmc._metric import Metric, metric
from fkdiff.mcmc.states import kernel_of, start, step_length, unadjusted
from fkdiff.mcmc.trees import axpy, scaled


class KineticState(NamedTuple):
    """Where a chain is, and how fast.

    Attributes:
        position: A pytree.
        evaluation: Every term of the density there with its gradient, unweighted.
        velocity: Whitened, N(0, I) in equilibrium; x moves along C v.
    """

    position: PyTree
    evaluation: Evaluation
    velocity: PyTree


class Underdamped(eqx.Module):
    """See `underdamped`.

    Attributes:
        density: log p.
        step_size: Δ.
        friction: γ.
        metric: C of M⁻¹ = C Cᵀ.
        scheme: "baoab" or "obabo".
    """

    density: LogDensity
    step_size: Array
    friction: Array
    metric: Metric
    scheme: str = eqx.field(static=True)

    def init(self, key, position):
        """One evaluation, and a velocity from N(0, I)."""
        position, evaluation = start(self.density, position)
        self.metric.check(position)
        return KineticState(position, evaluation, noise.normal_like(one_key(key), position))

    def step(self, key, state: KineticState):
        """One sweep of the letters of the scheme: half kicks and half drifts around what is in the middle."""
        x, v, h = state.position, state.velocity, self.step_size
        if self.scheme == "baoab":
            v = axpy(h / 2, self._pull(state.evaluation), v)
            x = axpy(h / 2, self.metric.forward(v), x)
            v = self._refresh(key, v, h)
            x = axpy(h / 2, self.metric.forward(v), x)
        else:
            first, second = jax.random.split(key)
            v = self._refresh(first, v, h / 2)
            v = axpy(h / 2, self._pull(state.evaluation), v)
            x = axpy(h, self.metric.forward(v), x)
        (x, evaluation), info = unadjusted(self.density, x)
        v = axpy(h / 2, self._pull(evaluation), v)
        if self.scheme == "obabo":
            v = self._refresh(second, v, h / 2)
        return KineticState(x, evaluation, v), info

    def _pull(self, evaluation: Evaluation) -> PyTree:
        return self.metric.back(self.density.grad(evaluation))

    def _refresh(self, key, v: PyTree, time: Array) -> PyTree:
        """The exact flow of dv = −γ v dt + √(2γ) dW."""
        decay = jnp.exp(-self.friction * time)
        return axpy(jnp.sqrt(-jnp.expm1(-2 * self.friction * time)), noise.normal_like(key, v), scaled(decay, v))


def underdamped(
    log_density: Callable[[PyTree], Array],
    step_size: Scalar,
    friction: Scalar,
    scheme: str = "baoab",
    inverse_mass: PyTree | None = None,
) -> Kernel:
    """Kinetic Langevin dynamics by symmetric splitting; the law of its positions is p up to O(Δ²).

        dx = C v dt,    dv = Cᵀ∇log p(x) dt − γ v dt + √(2γ) dW,    C Cᵀ = M⁻¹

    On a Gaussian the positions of BAOAB have the exact law at every stable step; those of OBABO have variance
    1/(1 − Δ²/4) on N(0, 1).

    Args:
        log_density: Unnormalised log p of ONE position.
        step_size: Δ > 0, in units of time: with strong friction a step moves as far as one of `ula` with h = Δ²/2.
        friction: γ > 0, per unit of time; about the smallest frequency of the target.
        scheme: "baoab" (kick, drift, noise, drift, kick) or "obabo" (noise, kick, drift, kick, noise).
        inverse_mass: M⁻¹, about the covariance of p: None, a diagonal (like the position, or flat) or a matrix (d, d)
            over the flattened position.

    Returns:
        `Kernel`; its info is `UnadjustedInfo`, its state a `KineticState`.

    Raises:
        FkdiffError: A number is not positive, the scheme unknown, the mass not positive definite or of another shape,
            or the log-density at the start not finite.

    Cost: one evaluation with its gradient per step; OBABO draws noise twice.

    Gradients: pathwise, of the chain as it stands.

    References: Leimkuhler and Matthews (2013), section 3; Bussi and Parrinello (2007), equation 23.
    """
    choose("scheme", scheme, dict.fromkeys(("baoab", "obabo")))
    kernel = Underdamped(
        as_density(log_density),
        step_length("step_size", step_size),
        step_length("friction", friction),
        metric(inverse_mass),
        scheme,
    )
    return kernel_of(kernel, "pathwise")
