"""Feynman–Kac steering: particles of any stochastic solver, weighted by a reward on the clean estimate."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, Scalar, choose, concrete, number, require
from fkdiff.core.keys import Use, stream
from fkdiff.prediction import Predictor, scalar_reward
from fkdiff.smc import FeynmanKac
from fkdiff.solvers import Solver, State, arrive
from fkdiff.solvers.base import check_model, check_solver
from fkdiff.solvers.reference import as_reference
from fkdiff.steering.potentials import POTENTIALS, Account, opened, paid


class Steered(NamedTuple):
    """One particle: where it is with its prediction, its account, and how many rewards it has seen."""

    state: State
    account: Account
    seen: Array


class _Steering(eqx.Module):
    """The five functions of a steered model, sharing its parts."""

    pred: Predictor
    solver: Solver
    reward: Callable[[Array], Array]
    strength: Array
    ramp: Callable[[Array], Array]
    reference: tuple[Array, Array]
    potential: str = eqx.field(static=True)

    def _reward(self, x: Array) -> Array:
        return self.strength * scalar_reward(self.reward, x)

    def _ramp(self, t: Array) -> Array:
        path = self.pred.path
        return jnp.asarray(self.ramp((t - path.t_min) / (path.t_max - path.t_min)), t.dtype)

    def initial(self, key: Key) -> tuple[Steered, Array]:
        path, (mean, variance) = self.pred.path, self.reference
        t = path.t_min
        spread = path.alpha(t) ** 2 * variance + path.sigma(t) ** 2
        noise = jax.random.normal(stream(key, Use.NOISE), self.pred.shape, t.dtype)
        state = self.solver.init(self.pred, path.alpha(t) * mean + jnp.sqrt(spread) * noise, t)
        account = opened(self._reward(state.prediction.clean), self._ramp(t))
        return Steered(state, account, jnp.ones((), t.dtype)), account.increment

    def propose(self, key: Key, particle: Steered, t0: Array, t1: Array) -> Steered:
        transition, state = self.solver.step(self.pred, particle.state, t0, t1)
        state = arrive(self.pred, transition.sample(stream(key, Use.NOISE)), t1, state.memory)
        reward = self._reward(state.prediction.clean)
        statistic = POTENTIALS[self.potential]
        account = paid(statistic, particle.account, reward, self._ramp(t1), particle.seen)
        return Steered(state, account, particle.seen + 1)

    def log_potential(self, previous: Steered, particle: Steered, t0: Array, t1: Array) -> Array:
        return particle.account.increment

    def log_final(self, particle: Steered) -> Array:
        return self._reward(particle.state.x) - particle.account.paid

    def extract(self, particle: Steered) -> Array:
        return particle.state.x


def linear_ramp(progress: Array) -> Array:
    """The default ramp: as much of the reward as of the path."""
    return progress


def steer(
    pred: Predictor,
    solver: Solver,
    reward: Callable[[Array], Array],
    ramp: Callable[[Array], Array] = linear_ramp,
    potential: str = "difference",
    *,
    strength: Scalar = 1.0,
    reference: tuple[Scalar, Scalar] = (0.0, 1.0),
) -> FeynmanKac:
    """Draws from p_base · e^{strength · reward}, normalised, where p_base is what the solver samples.

    The reward guides on the way, through the model's clean estimate, and is settled exactly at the end, so the law is
    right at any number of steps. It need not be differentiable.

    Args:
        pred: The model.
        solver: A stochastic solver (`ddim(eta=1)`, `euler(noise=1)`, `exponential()`). Under a deterministic one
            duplicates would never separate.
        reward: `reward(x) -> scalar` in nats for ONE example, any JAX function; wrap others in `jax.pure_callback`.
        ramp: `ramp(progress)`, the share of the reward promised so far; progress runs from 0 at t_min to 1 at t_max.
        potential: "difference": log G_k = ρ_k R_k − ρ_{k−1} R_{k−1}, R_k = strength · reward(clean(x_k)).
        strength: λ; a leaf.
        reference: Mean and variance of the data at the start.

    Returns:
        A `FeynmanKac` model for `run_smc`, on a grid that starts at the path's t_min. `out.particles` are positions.

    Raises:
        FkdiffError: The solver is deterministic, or the reward does not return one number.

    Cost: the solver's evaluations, + 1 at the start; the reward is evaluated once per step.

    Gradients: none through resampling; see `fkdiff.correctors.tilt` for rewards that are differentiable.

    References:
        Singhal et al. (2025), difference potential, with the weights carried between resamplings.
    """
    pred, solver = check_model(pred), check_solver(solver)
    require(callable(reward), f"reward={reward!r} is not a function; pass reward(x) -> one number in nats.")
    require(callable(ramp), f"ramp={ramp!r} is not a function; pass ramp(progress), from 0 at t_min to 1 at t_max.")
    choose("potential", potential, POTENTIALS)
    level = concrete(solver.noise)
    require(
        level is None or bool(level > 0),
        "solver is deterministic, so copies made by resampling would never separate; use ddim(eta=1.0), "
        "euler(noise=1.0) or exponential(noise=1.0), or fkdiff.correctors.tilt, which needs no noise.",
    )
    parts = _Steering(
        pred=pred,
        solver=solver,
        reward=reward,
        strength=number("strength", strength, action="it multiplies the reward"),
        ramp=ramp,
        reference=as_reference(reference),
        potential=potential,
    )
    return FeynmanKac(
        initial=parts.initial,
        propose=parts.propose,
        log_potential=parts.log_potential,
        log_final=parts.log_final,
        extract=parts.extract,
        evaluations=solver.evaluations,
        time_range=(pred.path.t_min, pred.path.t_max),
    )
