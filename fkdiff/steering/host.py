"""Rewards that JAX cannot trace: any Python function of a batch, called between compiled steps by `fkdiff.drive`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array, FkdiffError, Key, PyTree, Status, particle_keys, require
from fkdiff.core.keys import Use, stream
from fkdiff.smc.feynman_kac import MoveInfo, on_time
from fkdiff.steering.guesses import CleanEstimate
from fkdiff.steering.particle import Steered, Steering
from fkdiff.steering.potentials import POTENTIALS, opened, paid
from fkdiff.steering.tempered import AdaptiveRamp


class HostReward(eqx.Module):
    """See `host`."""

    function: Callable[[np.ndarray], Any] = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        raise FkdiffError(
            "a host reward runs between compiled steps; use fkdiff.drive(key, model, grid) in place of run_smc."
        )

    def batch(self, examples: Array) -> np.ndarray:
        """Rewards of a whole batch, (N,), refused unless they are one real number each."""
        found = np.asarray(self.function(np.asarray(examples)))
        require(
            found.shape == (len(examples),) and found.dtype.kind in "fiub",
            f"the host reward returned shape {found.shape} and dtype {found.dtype} for {len(examples)} examples; it "
            "must return one real number in nats per example.",
        )
        return found


def host(function: Callable[[np.ndarray], Any]) -> HostReward:
    """A reward in plain Python: `function(batch) -> rewards`, NumPy in, one number in nats per example out.

    It may call anything: another framework, a simulator, a web of rules. `fkdiff.steer` then gives a model for
    `fkdiff.drive`.

    Args:
        function: Takes examples (N, *shape) and returns N numbers. Called K + 2 times in a run of K steps.
    """
    require(callable(function), f"function={function!r} is not a function; pass function(batch) -> rewards.")
    return HostReward(function)


class HostSteering(eqx.Module):
    """A steered model in halves: compiled moves up to the reward, and compiled accounts after it."""

    parts: Steering

    fixed_start = True

    @classmethod
    def build(cls, parts: Steering) -> HostSteering:
        """From the parts of a steered model, whose reward is a `HostReward`."""
        require(
            not parts.twisted and isinstance(parts.guess, CleanEstimate) and not isinstance(parts.ramp, AdaptiveRamp),
            'a host reward has no gradient and is asked once per step; use proposal="base", intermediate="clean" and a '
            "ramp that is a function.",
        )
        return cls(parts)

    @property
    def time_range(self) -> tuple[Array, Array]:
        """Where the model lives in time."""
        return self.parts.time_range

    def ask(self, examples: Array) -> Array:
        """λ r of a batch, on the host."""
        rewards = self.parts.reward.batch(examples)  # type: ignore[attr-defined]
        return self.parts.strength * jnp.asarray(rewards, self.parts.strength.dtype)

    def draw(self, key: Key, num_particles: int) -> tuple[PyTree, Array]:
        """First states, and the clean estimates to be rewarded."""

        def one(particle_key):
            x, t = self.parts.start(particle_key)
            return self.parts.arrive(x, t)

        states = jax.vmap(one)(particle_keys(key, num_particles))
        return states, states.prediction.clean

    def open(self, states: PyTree, rewards: Array, t: Array) -> tuple[PyTree, Array, MoveInfo]:
        """First particles with their accounts."""
        ones, zeros = jnp.ones_like(rewards), jnp.zeros_like(rewards)
        account = jax.vmap(opened, (0, None))(rewards, self.parts.share(t))
        particles = Steered(states, account, ones, (), zeros)
        return particles, account.increment, self._info(1, particles, t)

    def advance(self, key: Key, particles: Any, t0: Array, t1: Array) -> tuple[PyTree, Array]:
        """States after a step, and the clean estimates to be rewarded."""

        def one(particle_key, particle):
            x, _, memory = self.parts.step(particle_key, particle, t0, t1, self.parts.share(t1))
            return self.parts.arrive(x, t1, memory)

        keys = particle_keys(stream(key, Use.MOVE), particles.seen.shape[0])
        states = jax.vmap(one)(keys, particles)
        return states, states.prediction.clean

    def settle(self, states: PyTree, particles: Any, rewards: Array, t1: Array) -> tuple[PyTree, Array, MoveInfo]:
        """Particles with their accounts after the step."""
        statistic, ramp = POTENTIALS[self.parts.potential], self.parts.share(t1)
        account = jax.vmap(lambda a, r, n: paid(statistic, a, r, ramp, n))(particles.account, rewards, particles.seen)
        moved = Steered(states, account, particles.seen + 1, (), particles.log_ratio)
        return moved, account.increment, self._info(self.parts.solver.evaluations, moved, t1)

    def owed(self, particles: Any, rewards: Array) -> Array:
        """What is still owed at the end, for rewards of the positions."""
        return rewards - particles.account.paid

    def extract(self, particles: Any) -> Array:
        """The positions."""
        return particles.state.x

    def _info(self, evaluations: int, particles: Any, t: Array) -> MoveInfo:
        forbidden = jnp.max(jax.vmap(self.parts.fault)(particles))
        late = on_time(self.time_range, t)
        return MoveInfo(evaluations=evaluations, status=jnp.where(late != Status.OK, late, forbidden))
