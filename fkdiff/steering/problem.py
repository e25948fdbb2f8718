"""A linear inverse problem on a model, and one guided particle of it."""

from __future__ import annotations

import abc
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp

from fkdiff.core import Array, Key, PyTree, Transition
from fkdiff.prediction import Predictor
from fkdiff.solvers import Solver, State
from fkdiff.steering import normals
from fkdiff.steering.frames import Frame
from fkdiff.steering.operators import LinearOperator
from fkdiff.steering.potentials import Account


class Problem(eqx.Module):
    """y = A x + noise ξ, with x from a model.

    Attributes:
        pred: The model.
        solver: Its stochastic solver.
        operator: A.
        observation: y, flattened, (m,).
        noise: The standard deviation of the noise of y.
        frame: The Gaussian that stands for the data, in coordinates that suit A.
    """

    pred: Predictor
    solver: Solver
    operator: LinearOperator
    observation: Array
    noise: Array
    frame: Frame

    def residual(self, x: Array) -> Array:
        """y − A x, (m,)."""
        return self.observation - self.operator.apply(x).reshape(-1)

    def log_likelihood(self, x: Array) -> Array:
        """log N(y; A x, noise² I), with every constant."""
        return normals.log_density(jnp.broadcast_to(self.noise, self.observation.shape), self.residual(x))

    def start(self) -> tuple[Array, Array]:
        """Mean (d,) and spectrum, () or (d,), of the first positions: N(α m, α² Σ + σ² I) at t_min."""
        path = self.pred.path
        alpha, sigma = path.alpha(path.t_min), path.sigma(path.t_min)
        return alpha * self.frame.mean, alpha**2 * self.frame.variance + sigma**2


class Guided(NamedTuple):
    """One particle.

    Attributes:
        state: Where it is, with its prediction.
        account: Its log-twist, paid so far.
        hint: What its next step needs; () where that is the state alone.
        log_ratio: log M − log M̃ of the step that led here.
    """

    state: State
    account: Account
    hint: PyTree
    log_ratio: Array


class Guidance(eqx.Module):
    """A twist log ψ(x, t), and a proposal that follows it with an exact ratio; for ONE particle.

    Any twist and any proposal leave the law alone; a good pair leaves the weights alone too.

    Attributes:
        jvps: Products with the model's Jacobian, per step.
    """

    jvps: eqx.AbstractClassVar[int]

    @abc.abstractmethod
    def start(self, key: Key, problem: Problem) -> tuple[Array, Array]:
        """A position at t_min, and log M − log M̃ of it."""

    @abc.abstractmethod
    def look(self, problem: Problem, x: Array, t: Array, memory: PyTree) -> tuple[State, Array, PyTree]:
        """The state at a new position, log ψ there, and the hint for the next step. One evaluation."""

    @abc.abstractmethod
    def step(
        self, key: Key, problem: Problem, particle: Guided, transition: Transition, t0: Array, t1: Array
    ) -> tuple[Array, Array]:
        """The next position, and log M − log M̃ of it, M being `transition`."""
