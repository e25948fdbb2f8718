"""What a solver is: one Gaussian transition of ONE example over an interval of times.

    state = solver.init(pred, x, t0, key)
    transition, state = solver.step(pred, state, t0, t1)
    state = solver.arrive(pred, transition.sample(key), t1, state.memory, key)

The state carries the prediction at (x, t), so whoever else needs it there (a twist, a reward on the clean
estimate) reads it at no cost. A key is for solvers that look at the model through a random probe; it may be the
key of the noise that led to x.
"""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp

from fkdiff.core import Array, Key, PyTree, Scalar, Transition, concrete, expect, number, require
from fkdiff.paths import Path
from fkdiff.prediction import Prediction, Predictor


class State(NamedTuple):
    """Where one example is, and what is known there.

    Attributes:
        x: Position, the shape of one example.
        prediction: The model's prediction at (x, t).
        memory: What a solver knows beside the prediction: of earlier steps, or of the model's slope; else ().
    """

    x: Array
    prediction: Prediction
    memory: PyTree


class Solver(eqx.Module):
    """A rule that moves one example from t0 to t1 > t0. A new one gives `step`, and `memory` if multistep.

    One that needs more than a prediction at every position gives `arrive` and `jvps`.

    Attributes:
        noise: A scalar that is 0 exactly when every step is deterministic (scale 0).
        evaluations: Model calls per step, counting the one of `arrive`.
    """

    noise: eqx.AbstractVar[Array]
    evaluations: eqx.AbstractClassVar[int]

    def memory(self, x: Array) -> PyTree:
        """The memory before the first step from `x`."""
        return ()

    def jvps(self, shape: tuple[int, ...]) -> int:
        """Products with the model's Jacobian at each `arrive`, for examples of a shape."""
        return 0

    def init(self, pred: Predictor, x: Array, t: Scalar, key: Key | None = None) -> State:
        """The state at the first time. Cost: that of `arrive`."""
        return self.arrive(pred, x, t, self.memory(x), key)

    def arrive(self, pred: Predictor, x: Array, t: Scalar, memory: PyTree, key: Key | None = None) -> State:
        """The state at a new position. Cost: one evaluation, and `jvps`."""
        return arrive(pred, x, t, memory)

    @abc.abstractmethod
    def step(self, pred: Predictor, state: State, t0: Scalar, t1: Scalar) -> tuple[Transition, State]:
        """The law of the position at t1, and the state with its memory moved on.

        The returned state still holds position and prediction at t0; `arrive` moves it to the drawn x.

        Cost: `evaluations` − 1; the remaining one is made by `arrive`.
        """


def arrive(pred: Predictor, x: Array, t: Scalar, memory: PyTree = ()) -> State:
    """The state at a new position for solvers that need a prediction there and no more; any has `solver.arrive`.

    Cost: one evaluation.
    """
    return State(x, pred(x, t), memory)


def nonnegative(argument: str, value: Scalar, most: float = float("inf")) -> Array:
    """A number as a leaf, refused when it is known and lies outside [0, most]."""
    return number(argument, value, 0.0, most, "0 is the deterministic solver")


def check_model(pred: Any, otherwise: str = "") -> Predictor:
    """Refuses anything but a model."""
    expect(
        "pred",
        pred,
        Predictor,
        "pass a Predictor (fkdiff.targets, Parameterization.predictor, fkdiff.interop, load_predictor); the target of "
        "a corrector is sampled by run_smc(key, target.feynman_kac(), grid), a distribution has .predictor(path)"
        + otherwise,
    )
    return pred


def check_solver(solver: Any) -> Solver:
    """Refuses anything but a solver: its name, or the function that makes it."""
    expect("solver", solver, Solver, "call one: fkdiff.solvers.heun(), ancestral(), euler(noise=1.0), exponential()")
    return solver


def check_score(pred: Predictor, purpose: str) -> Predictor:
    """Refuses a model that has a velocity and no score."""
    require(
        not pred.coupled,
        f"{purpose} needs a score, and this model was trained on coupled pairs of noise and data (minibatch optimal "
        'transport), which have none; sample it with a deterministic solver, or train with coupling "independent".',
    )
    return pred


def langevin(pred: Predictor, strength: Array, score: Array) -> Array:
    """strength · score; for a model that has no score NaN, or 0 where none is asked for."""
    return jnp.where(strength > 0, score, 0.0) if pred.coupled else strength * score


def check_stochastic(solver: Any, otherwise: str = "") -> Solver:
    """Refuses a solver without noise: copies made by resampling would never separate."""
    level = concrete(check_solver(solver).noise)
    require(
        level is None or bool(level > 0),
        "solver is deterministic, so copies made by resampling would never separate; use ancestral(), "
        f"ddim(eta=1.0), euler(noise=1.0) or exponential(noise=1.0){otherwise}.",
    )
    return solver


def span(t0: Scalar, t1: Scalar) -> tuple[Array, Array]:
    """The two times as arrays of the default dtype."""
    dtype = jnp.result_type(float)
    return jnp.asarray(t0, dtype), jnp.asarray(t1, dtype)


def diffusion(path: Path, t0: Array, t1: Array) -> Array:
    """∫κ dt over [t0, t1] by Simpson's rule, whose error is below that of any solver here."""
    middle = 0.5 * (t0 + t1)
    return (t1 - t0) / 6 * (path.kappa(t0) + 4 * path.kappa(middle) + path.kappa(t1))


def root(square: Array) -> Array:
    """√square, with 0 at 0 in value and gradient; NaN stays NaN.

    The scale of a deterministic step is √0: a plain square root would send NaN to the gradients in t0 and t1.
    """
    positive = ~(square <= 0)
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)
