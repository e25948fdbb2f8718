"""A ramp that goes as fast as the weights allow: ρ_k solved at every step by bisection on the ESS.

ρ_k is the largest value between ρ_{k−1} and a cap at which the weights after the step keep `ess` times the ESS that
they would have with nothing more promised. Without a cap everything would be promised at the first step, where all
clean estimates agree and a promise costs nothing yet. ρ depends on the population, so log Z has a bias of O(1/N), as
control has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, PyTree, Scalar, Status, number, particle_keys, require
from fkdiff.core.keys import Use, stream
from fkdiff.smc.feynman_kac import MoveInfo, on_time
from fkdiff.smc.weights import ess
from fkdiff.steering.particle import Steered, Steering
from fkdiff.steering.potentials import POTENTIALS, opened, promise, settled

HALVINGS = 20  # the ramp is known to a millionth


class AdaptiveRamp(eqx.Module):
    """See `adaptive_ramp`."""

    ess: Array
    cap: Callable[[Array], Array]

    def __call__(self, progress: Array) -> Array:
        """The most that may be promised."""
        return self.cap(progress)


def _progress(progress: Array) -> Array:
    return progress


def adaptive_ramp(ess: Scalar = 0.9, cap: Callable[[Array], Array] = _progress) -> AdaptiveRamp:
    """A ramp that raises the promise, at every step, as far as the ESS stays at `ess` of its value without the raise.

    Args:
        ess: Share in (0, 1]; nearer 1 is slower. A leaf.
        cap: The most that may be promised, over the progress from 0 to 1; linear by default.

    References: Kim, Kim and Park (2025) for tempered twists; Jasra et al. (2011) for bisection on the ESS.
    """
    require(callable(cap), f"cap={cap!r} is not a function; pass cap(progress), from 0 at t_min to 1 at t_max.")
    return AdaptiveRamp(number("ess", ess, 1e-3, 1.0, "a share of the effective sample size"), cap)


class Tempered(eqx.Module):
    """A steered model whose ramp the population decides: a population model for `run_smc`.

    Particles carry (Steered, ρ), ρ being equal for all.
    """

    parts: Steering

    fixed_start = True
    refresh = None
    refresh_cost = (0, 0)

    @classmethod
    def build(cls, parts: Steering) -> Tempered:
        """From the parts of a steered model, whose `ramp` is an `AdaptiveRamp`."""
        return cls(parts)

    @property
    def time_range(self) -> tuple[Array, Array]:
        """Where the model lives in time."""
        return self.parts.time_range

    def _info(self, start: bool, *times: Array) -> MoveInfo:
        solver, parts = self.parts.solver, self.parts
        jvps = int(parts.twisted and parts.guess.reads_model)
        status = on_time(self.time_range, *times)
        return MoveInfo(evaluations=1 if start else solver.evaluations, jvps=jvps, status=status)

    def initial(self, key: Key, num_particles: int, t: Array) -> tuple[PyTree, Array, MoveInfo]:
        """The start, with as much promised as the ESS allows."""

        def one(particle_key):
            x, first = self.parts.start(particle_key)
            return self.parts.look(particle_key, x, first)

        states, rewards, gradients = jax.vmap(one)(particle_keys(key, num_particles))
        nothing = jnp.zeros_like(rewards)
        ramp = self._ramp(nothing, nothing, rewards, nothing[0], self.parts.share(t))
        account = opened(rewards, ramp)
        ones, zeros = jnp.ones_like(rewards), jnp.zeros_like(rewards)
        particles = Steered(states, account, ones, _scaled(ramp, gradients), zeros)
        late = jnp.where(t > self.time_range[0] + 1e-6, jnp.int32(Status.BAD_GRID), jnp.int32(Status.OK))
        info = self._info(True, t)
        return (particles, zeros + ramp), account.increment, info._replace(status=jnp.maximum(late, info.status))

    def move(self, key: Key, particles: Any, log_weights: Array, t0: Array, t1: Array):
        """One step of the proposal; then the ramp, and the accounts at it."""
        steered, ramps = particles
        parts = self.parts

        def one(particle_key, particle, ramp):
            x, log_ratio, memory = parts.step(particle_key, particle, t0, t1, ramp)
            state, reward, gradient = parts.look(particle_key, x, t1, memory)
            new = POTENTIALS[parts.potential](particle.account.statistic, reward, particle.seen)
            return state, new, gradient, log_ratio

        keys = particle_keys(stream(key, Use.MOVE), log_weights.shape[0])
        states, statistics, gradients, log_ratios = jax.vmap(one)(keys, steered, ramps)
        promised = steered.account.promised
        ramp = self._ramp(log_weights + log_ratios, promised, statistics, ramps[0], parts.share(t1))
        account = settled(steered.account, statistics, promise(statistics, ramp))
        moved = Steered(states, account, steered.seen + 1, _scaled(ramp, gradients), log_ratios)
        return (moved, jnp.zeros_like(ramps) + ramp), account.increment + log_ratios, self._info(False, t1)

    def _ramp(self, log_weights: Array, promised: Array, statistics: Array, least: Array, most: Array) -> Array:
        """The largest ρ in [least, most] that keeps the ESS."""

        def weights(ramp):
            return log_weights + promise(statistics, ramp) - promised

        floor = self.parts.ramp.ess * ess(weights(least))  # type: ignore[attr-defined]

        def halve(_, bracket):
            low, high = bracket
            middle = 0.5 * (low + high)
            fine = ess(weights(middle)) >= floor
            return jnp.where(fine, middle, low), jnp.where(fine, high, middle)

        most = jnp.maximum(most, least)
        low, _ = jax.lax.fori_loop(0, HALVINGS, halve, (least, most))
        return jax.lax.stop_gradient(jnp.where(ess(weights(most)) >= floor, most, low))

    def final(self, particles: Any) -> Array:
        """What is still owed."""
        return jax.vmap(self.parts.log_final)(particles[0])

    def extract(self, particles: Any) -> Array:
        """The positions."""
        return particles[0].state.x


def _scaled(ramp: Array, gradients: PyTree) -> PyTree:
    return jax.tree.map(lambda g: ramp * g, gradients)
