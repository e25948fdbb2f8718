"""Twisted proposals: steps shifted along the gradient of the cumulative potential ρ_k R_k of a reward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, PyTree, Transition, scalar_reward
from fkdiff.core.keys import Use, stream
from fkdiff.smc.combinators.values import ValueEstimate
from fkdiff.solvers import State
from fkdiff.steering.guidance import Guidance, Guided, shifted


class Twisted(Guidance):
    """A differentiable reward, whose value estimate moves the mean of every step.

    An estimate through the model costs one reverse pass, at the position that the step starts from. A learned value
    costs none, and its slope is taken at the mean that the step would arrive at.

    Attributes:
        reward: r of one example.
        strength: λ.
        estimate: R_k.

    References: Wu, Trippe, Naesseth, Blei and Cunningham (2023).
    """

    reward: Callable[[Array], Array]
    strength: Array
    estimate: ValueEstimate

    @property
    def jvps(self) -> int:
        return int(self.estimate.looks)

    def first_share(self, dtype: Any) -> Array:
        return jnp.zeros((), dtype)

    def told(self, share: Array, other: Array) -> Array:
        return jnp.broadcast_to(other, share.shape)

    def scaled(self, x: Array) -> Array:
        """λ r."""
        return self.strength * scalar_reward(self.reward, x)

    def start(self, key, chain) -> tuple[Array, Array]:
        x = chain.start(key)
        return x, jnp.zeros((), x.dtype)

    def look(self, key: Key | None, chain, x: Array, t: Array, memory: PyTree) -> tuple[State, Array, PyTree]:
        if not self.estimate.looks:
            return chain.arrive(x, t, memory, key), self.estimate.at(x, t), ()
        num = self.estimate.count
        draws = jax.random.key(0) if key is None else key

        def survey(z):
            state = chain.arrive(z, t, memory, key)
            ends = chain.ends(draws, state, t, num)
            rewards = self.scaled(ends) if num == 0 else self.estimate.combined(jax.vmap(self.scaled)(ends))
            return rewards, state

        (value, state), slope = jax.value_and_grad(survey, has_aux=True)(x)
        return state, value, slope

    def step(
        self, key: Key, chain, particle: Guided, transition: Transition, t0: Array, t1: Array
    ) -> tuple[Array, Array]:
        slope = particle.hint
        if not self.estimate.looks:
            slope = jax.grad(lambda z: self.estimate.at(z, t1))(transition.mean)
        return shifted(stream(key, Use.NOISE), transition, particle.share * slope)

    def settled(self, chain, x: Array) -> Array:
        return self.scaled(x)
