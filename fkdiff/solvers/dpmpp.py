"""DPM-Solver++(2M): second order at one evaluation per step."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import jax.numpy as jnp

from fkdiff.core import Array, Scalar, Transition
from fkdiff.prediction import Predictor
from fkdiff.solvers.base import Solver, State, span


class Previous(NamedTuple):
    """The clean estimate one step back, and how far back it lies in log(α/σ)."""

    clean: Array
    gap: Array


class Dpmpp2M(Solver):
    """See `dpmpp_2m`."""

    noise: Array  # always 0
    evaluations: ClassVar[int] = 1

    def memory(self, x: Array) -> Previous:
        # A previous estimate infinitely far back has weight 0: the first step is first order by itself.
        return Previous(jnp.zeros_like(x), jnp.asarray(jnp.inf, jnp.result_type(float)))

    def step(self, pred: Predictor, state: State, t0: Scalar, t1: Scalar) -> tuple[Transition, State]:
        t0, t1 = span(t0, t1)
        path, clean = pred.path, state.prediction.clean
        gap = 0.5 * (path.log_snr(t1) - path.log_snr(t0))
        slope = (clean - state.memory.clean) / state.memory.gap
        shrink = jnp.exp(path.log_sigma(t1) - path.log_sigma(t0))
        mean = shrink * state.x - path.alpha(t1) * jnp.expm1(-gap) * (clean + 0.5 * gap * slope)
        return Transition(mean, self.noise), state._replace(memory=Previous(clean, gap))


def dpmpp_2m() -> Dpmpp2M:
    """The exponential Adams–Bashforth step for the clean estimate, in λ = log(α/σ), h = λ' − λ.

        x' = (σ'/σ) x + α' (1 − e^{−h}) (clean + ½ h (clean − previous)/h_previous)

    Order 2 after a first step of order 1. Exact when the clean estimate does not depend on x. Deterministic.

    Cost: 1 evaluation per step, and one example of memory. Gradients: pathwise.

    References:
        Lu, Zhou, Bao, Chen, Li and Zhu (2022), "DPM-Solver++", algorithm 2.
    """
    return Dpmpp2M(jnp.zeros((), jnp.result_type(float)))
