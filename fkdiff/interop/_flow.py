"""Velocities of flow matching, whichever way their time runs."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx

from fkdiff.core import Array, PyTree, choose
from fkdiff.interop.outside import Outside, outside
from fkdiff.paths import Path, linear
from fkdiff.prediction import Parameterization, Prediction, Predictor

# Where the data are on the outside clock -> (sign of our velocity, whether the clock runs backwards).
CONVENTIONS = {"data_at_1": (1.0, False), "data_at_0": (-1.0, True)}


class FlowRule(eqx.Module):
    """Reads the model at its own time, and turns its velocity round where that time runs backwards."""

    form: Parameterization
    model: Outside
    convention: str = eqx.field(static=True)

    def __call__(self, x: Array, t: Array, cond: PyTree) -> Prediction:
        sign, backwards = CONVENTIONS[self.convention]
        out = self.model(x, 1 - t if backwards else t, cond)
        return self.form.prediction(sign * out, x, t)


def flow(
    velocity_fn: Callable,
    shape: tuple[int, ...],
    convention: str = "data_at_1",
    path: Path | None = None,
    batched: bool = False,
    cond: PyTree = None,
) -> Predictor:
    """A velocity trained by flow matching, as a `Predictor`.

    Args:
        velocity_fn: `velocity_fn(x, tau)`, or `velocity_fn(x, tau, cond)` once a condition is bound; ONE
            example; dx/dτ in its own time τ. Keep one function object: a fresh lambda compiles again.
        shape: Shape of one example.
        convention: "data_at_1": τ = 0 is noise, trained on clean − noise. "data_at_0": τ = 0 is data,
            trained on noise − clean (rectified-flow image models).
        path: The Gaussian path of the training, `linear()` by default.
        batched: The function wants, and returns, a leading axis on x, tau and condition.
        cond: A condition to bind at once.

    References:
        Lipman, Chen, Ben-Hamu, Nickel and Le (2023), eq. 23; Liu, Gong and Liu (2023), eq. 1.
    """
    choose("convention", convention, CONVENTIONS)
    form = Parameterization(linear() if path is None else path, "velocity")
    rule = FlowRule(form, outside("velocity_fn", velocity_fn, batched), convention)
    return Predictor(form.path, rule, tuple(shape)).given(cond)
