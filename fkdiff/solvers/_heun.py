"""Heun's second-order method, with optional additive noise."""

from __future__ import annotations

from typing import ClassVar

from fkdiff.core import Array, Scalar, Transition
from fkdiff.prediction import Prediction, Predictor
from fkdiff.solvers.base import Solver, State, diffusion, langevin, nonnegative, root, span


class Heun(Solver):
    """See `heun`."""

    noise: Array
    evaluations: ClassVar[int] = 2

    def _drift(self, pred: Predictor, prediction: Prediction, t: Array) -> Array:
        return prediction.velocity + langevin(pred, self.noise * pred.path.kappa(t), prediction.score)

    def step(self, pred: Predictor, state: State, t0: Scalar, t1: Scalar) -> tuple[Transition, State]:
        t0, t1 = span(t0, t1)
        h = t1 - t0
        first = self._drift(pred, state.prediction, t0)
        # The predictor stage carries no noise, so that the transition given x stays Gaussian.
        second = self._drift(pred, pred(state.x + h * first, t1), t1)
        mean = state.x + 0.5 * h * (first + second)
        return Transition(mean, root(2 * self.noise * diffusion(pred.path, t0, t1))), state


def heun(noise: Scalar = 0.0) -> Heun:
    """The trapezoidal step x + ½h (b(x, t0) + b(x + h b, t1)) of the drift b = velocity + νκ score.

    Order 2 for ν = 0. For ν > 0 the noise √(2ν∫κ dt) is added once, at the end: a Gaussian transition of weak
    order 1.

    Args:
        noise: ν ≥ 0: 0 is the probability-flow ODE, 1 the reverse-time SDE.

    Cost: 2 evaluations per step. Gradients: pathwise; in ν at ν = 0 that of the drift alone.

    References:
        Karras, Aittala, Aila and Laine (2022), algorithm 1 (ν = 0), in t in place of σ.
    """
    return Heun(nonnegative("noise", noise))
