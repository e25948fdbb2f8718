"""One steered particle: where it is, what it was promised, and how it moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, PyTree, Status
from fkdiff.core.keys import Use, stream
from fkdiff.prediction import Predictor, scalar_reward
from fkdiff.solvers import Solver, State, arrive
from fkdiff.steering.guesses import Guess
from fkdiff.steering.potentials import POTENTIALS, Account, opened, paid
from fkdiff.steering.proposals import shifted


class Steered(NamedTuple):
    """One particle.

    Attributes:
        state: Where it is, with its prediction.
        account: What it has been promised and paid.
        seen: How many rewards it has seen.
        slope: Gradient of what is promised, the shape of one example; () where no proposal needs it.
        log_ratio: log M − log M̃ of the step that led here.
    """

    state: State
    account: Account
    seen: Array
    slope: PyTree
    log_ratio: Array


class Steering(eqx.Module):
    """The functions of a steered model, sharing its parts; for ONE particle.

    Attributes:
        pred: The model.
        solver: Its stochastic solver.
        reward: r(x), for clean data.
        strength: λ.
        ramp: ρ over the progress from t_min to t_max.
        guess: R_k from where a particle is.
        reference: Mean and variance of the data.
        potential: A key of `POTENTIALS`.
        twisted: Whether proposals are shifted along the gradient of the promise.
    """

    pred: Predictor
    solver: Solver
    reward: Callable[[Array], Array]
    strength: Array
    ramp: Callable[[Array], Array]
    guess: Guess
    reference: tuple[Array, Array]
    potential: str = eqx.field(static=True)
    twisted: bool = eqx.field(static=True)

    @property
    def time_range(self) -> tuple[Array, Array]:
        """Where the model lives in time: its first particles are noise at t_min."""
        return self.pred.path.t_min, self.pred.path.t_max

    def nats(self, x: Array) -> Array:
        """λ r(x)."""
        return self.strength * scalar_reward(self.reward, x)

    def share(self, t: Array) -> Array:
        """ρ at a time; 0 throughout for "terminal"."""
        path = self.pred.path
        if self.potential == "terminal":
            return jnp.zeros_like(t)
        return jnp.asarray(self.ramp((t - path.t_min) / (path.t_max - path.t_min)), t.dtype)

    def start(self, key: Key) -> tuple[Array, Array]:
        """A position at t_min, and t_min."""
        path, (mean, variance) = self.pred.path, self.reference
        t = path.t_min
        spread = path.alpha(t) ** 2 * variance + path.sigma(t) ** 2
        noise = jax.random.normal(stream(key, Use.NOISE), self.pred.shape, t.dtype)
        return path.alpha(t) * mean + jnp.sqrt(spread) * noise, t

    def look(self, key: Key, x: Array, t: Array, memory: PyTree = ()) -> tuple[State, Array, PyTree]:
        """The state at a new position, R there and, where proposals need it, ∇R through the model. One evaluation."""

        def survey(z):
            state = arrive(self.pred, z, t, memory)
            return self._guessed(key, z, state.prediction, t), state

        if not self.twisted:
            reward, state = survey(x)
            return state, reward, ()
        if not self.guess.reads_model:
            reward, state = survey(x)
            return state, reward, jnp.zeros_like(x)  # its slope is taken where the next step arrives
        (reward, state), gradient = jax.value_and_grad(survey, has_aux=True)(x)
        return state, reward, gradient

    def arrive(self, x: Array, t: Array, memory: PyTree = ()) -> State:
        """The state at a new position. One evaluation."""
        return arrive(self.pred, x, t, memory)

    def _guessed(self, key: Key, x: Array, prediction: Any, t: Array) -> Array:
        return self.guess(key, self.nats, self.pred.path, self.reference, x, prediction, t)

    def step(self, key: Key, particle: Steered, t0: Array, t1: Array, ramp: Array) -> tuple[Array, Array, PyTree]:
        """A new position, log M − log M̃, and the solver's memory; `ramp` is ρ for guesses that look ahead."""
        transition, state = self.solver.step(self.pred, particle.state, t0, t1)
        noise_key = stream(key, Use.NOISE)
        if not self.twisted:
            return transition.sample(noise_key), jnp.zeros((), t1.dtype), state.memory
        slope = particle.slope
        if not self.guess.reads_model:
            ahead = jax.grad(lambda z: self._guessed(key, z, state.prediction, t1))(transition.mean)
            slope = ramp * ahead
        return *shifted(noise_key, transition, slope), state.memory

    def initial(self, key: Key) -> tuple[Steered, Array]:
        """The start, with what is promised there."""
        x, t = self.start(key)
        state, reward, gradient = self.look(key, x, t)
        ramp = self.share(t)
        account = opened(reward, ramp)
        slope = jax.tree.map(lambda g: ramp * g, gradient)
        one, zero = jnp.ones((), t.dtype), jnp.zeros((), t.dtype)
        return Steered(state, account, one, slope, zero), account.increment

    def propose(self, key: Key, particle: Steered, t0: Array, t1: Array) -> Steered:
        """One step of the proposal, and the account there."""
        ramp = self.share(t1)
        x, log_ratio, memory = self.step(key, particle, t0, t1, ramp)
        state, reward, gradient = self.look(key, x, t1, memory)
        account = paid(POTENTIALS[self.potential], particle.account, reward, ramp, particle.seen)
        return Steered(state, account, particle.seen + 1, jax.tree.map(lambda g: ramp * g, gradient), log_ratio)

    def log_potential(self, previous: Steered, particle: Steered, t0: Array, t1: Array) -> Array:
        """log G_k."""
        return particle.account.increment + particle.log_ratio

    def log_final(self, particle: Steered) -> Array:
        """What is still owed."""
        return self.nats(particle.state.x) - particle.account.paid

    def extract(self, particle: Steered) -> Array:
        """The position."""
        return particle.state.x

    def fault(self, particle: Steered) -> Array:
        """A promise of −inf would kill, before the end, paths that the end may well pay for."""
        return jnp.where(particle.account.promised == -jnp.inf, jnp.int32(Status.FORBIDDEN), jnp.int32(Status.OK))
