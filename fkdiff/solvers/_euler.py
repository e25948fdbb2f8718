"""Euler and Euler–Maruyama."""

from __future__ import annotations

from typing import ClassVar

from fkdiff.core import Array, Scalar, Transition
from fkdiff.prediction import Predictor
from fkdiff.solvers.base import Solver, State, diffusion, langevin, nonnegative, root, span


class Euler(Solver):
    """See `euler`."""

    noise: Array
    evaluations: ClassVar[int] = 1

    def step(self, pred: Predictor, state: State, t0: Scalar, t1: Scalar) -> tuple[Transition, State]:
        t0, t1 = span(t0, t1)
        # One integral for drift and variance: the Langevin part keeps its temperature on long steps.
        level = self.noise * diffusion(pred.path, t0, t1)
        mean = state.x + (t1 - t0) * state.prediction.velocity + langevin(pred, level, state.prediction.score)
        return Transition(mean, root(2 * level)), state


def euler(noise: Scalar = 0.0) -> Euler:
    """One Euler step of dX = (velocity + νκ score) dt + √(2νκ) dW, with ∫κ dt in place of κ h.

    Order 1, in the weak sense when ν > 0; in the limit of small steps every ν gives the model's law at every
    time. Exact when the velocity is constant along the trajectory (linear path, one clean example).

    Args:
        noise: ν ≥ 0: 0 is the probability-flow ODE, 1 the reverse-time SDE.

    Cost: 1 evaluation per step. Gradients: pathwise; in ν at ν = 0 that of the drift alone.

    References:
        Song, Sohl-Dickstein, Kingma, Kumar, Ermon and Poole (2021), eqs. 6 and 13.
    """
    return Euler(nonnegative("noise", noise))
