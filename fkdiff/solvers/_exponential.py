"""The exponential integrator: exact linear part, in the coordinates where Gaussian data are standard."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp

from fkdiff.core import Array, Scalar, Transition
from fkdiff.prediction import Predictor
from fkdiff.solvers.base import Solver, State, nonnegative, root, span
from fkdiff.solvers.reference import as_reference, spread


class Exponential(Solver):
    """See `exponential`."""

    noise: Array
    reference: tuple[Array, Array]
    evaluations: ClassVar[int] = 1

    def step(self, pred: Predictor, state: State, t0: Scalar, t1: Scalar) -> tuple[Transition, State]:
        t0, t1 = span(t0, t1)
        path, (mean, variance) = pred.path, self.reference
        alpha0, alpha1 = path.alpha(t0), path.alpha(t1)
        root0, root1 = jnp.sqrt(spread(path, t0, variance)), jnp.sqrt(spread(path, t1, variance))
        gap = path.log_alpha(t1) - jnp.log(root1) - path.log_alpha(t0) + jnp.log(root0)
        # f = √v score + y, written so that it does not cancel where x is nearly all noise.
        push = -state.prediction.noise / path.sigma(t0)  # the score, where the model has one
        f = alpha0 / root0 * (state.prediction.clean - mean + alpha0 * variance * push)
        y = (state.x - alpha0 * mean) / root0
        y = jnp.exp(-self.noise * gap) * y + (1 + self.noise) * decay(self.noise, gap) * f
        scale = root1 * root(-jnp.expm1(-2 * self.noise * gap))
        return Transition(alpha1 * mean + root1 * y, scale), state


def decay(rate: Array, gap: Array) -> Array:
    """φ(a) = (1 − e^{−aλ})/a, and its limit λ at a = 0; smooth in both."""
    product = rate * gap
    small = jnp.abs(product) < 1e-4
    safe = jnp.where(small, 1.0, product)
    series = 1 - product / 2 + product**2 / 6  # next term 4e-14
    return gap * jnp.where(small, series, -jnp.expm1(-safe) / safe)


def exponential(noise: Scalar = 1.0, reference: tuple = (0.0, 1.0)) -> Exponential:
    """The exponential integrator in y = (x − αm)/√v, v = α²ς² + σ², over λ = Δ log(α/√v).

        y' = e^{−νλ} y + (1 + ν) φ(ν) f + √(2νφ(2ν)) ξ,   f = √v score + y,   φ(a) = (1 − e^{−aλ})/a

    Order 1, in the weak sense when ν > 0. Exact in law at any step and any ν when the data are N(m, ς² I),
    since then f = 0. The long steps near the noise end, where x is nearly Gaussian, cost nothing.

    Args:
        noise: ν ≥ 0: 0 is the probability-flow ODE, 1 the reverse-time SDE.
        reference: (m, ς²), mean and variance of the data, each a scalar or of the shape of one example.

    Cost: 1 evaluation per step. Gradients: pathwise; in ν at ν = 0 that of the mean alone.

    References:
        Hochbruck and Ostermann (2010), eq. 2.3; Zhang and Chen (2023), eq. 11, for the log-SNR form.
    """
    return Exponential(nonnegative("noise", noise), as_reference(reference))
