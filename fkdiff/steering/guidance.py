"""`Guidance`: how the steps of a chain are shifted towards high values, with exact ratios.

It is the one thing that does not factor through a model's move: value, slope and prediction come from one pass.

A guidance makes a value estimate log ψ(x, t) and a proposal that follows it. Any value and any proposal leave the law
alone; a good pair leaves the weights alone too.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, PyTree, Transition
from fkdiff.core.keys import Use, stream
from fkdiff.solvers import State

if TYPE_CHECKING:
    from fkdiff.steering._chain import Chain


class Guided(NamedTuple):
    """One particle of a chain.

    Attributes:
        state: Where it is, with its prediction.
        value: log ψ there, in nats; () where nothing guides.
        hint: What the next step needs of it; () where that is the state alone.
        share: How much of the value the next step follows; () where all.
        log_ratio: log M − log M̃ of the step that led here; () where nothing guides.
    """

    state: State
    value: PyTree
    hint: PyTree
    share: PyTree
    log_ratio: PyTree


class Guidance(eqx.Module):
    """A value log ψ(x, t) and a proposal that follows it with an exact ratio; for ONE particle."""

    @property
    @abc.abstractmethod
    def jvps(self) -> int:
        """Products with the model's Jacobian, per step."""

    @abc.abstractmethod
    def start(self, key: Key, chain: Chain) -> tuple[Array, Array]:
        """A position at t_min, and log M − log M̃ of it."""

    @abc.abstractmethod
    def look(self, key: Key | None, chain: Chain, x: Array, t: Array, memory: PyTree) -> tuple[State, PyTree, PyTree]:
        """The state at a new position, log ψ there, and the hint for the next step. One evaluation, by `chain.arrive`.

        Without a key the solver looks through the probe that it has, and draws of the end are those of a fixed key.
        """

    @abc.abstractmethod
    def step(
        self, key: Key, chain: Chain, particle: Guided, transition: Transition, t0: Array, t1: Array
    ) -> tuple[Array, Array]:
        """The next position, and log M − log M̃ of it, M being `transition`."""

    @abc.abstractmethod
    def settled(self, chain: Chain, x: Array) -> Array:
        """The value itself at the end, in nats."""

    def first_share(self, dtype: Any) -> PyTree:
        """The `share` of a particle before its model is told another; () where the whole value is followed."""
        return ()

    def told(self, share: PyTree, other: Array) -> PyTree:
        """The `share` of a population that is told another."""
        return share


class Unguided(Guidance):
    """The solver's own steps."""

    jvps: ClassVar[int] = 0

    def start(self, key: Key, chain: Chain) -> tuple[Array, PyTree]:
        return chain.start(key), ()

    def look(self, key: Key | None, chain: Chain, x: Array, t: Array, memory: PyTree) -> tuple[State, PyTree, PyTree]:
        return chain.arrive(x, t, memory, key), (), ()

    def step(self, key, chain, particle, transition, t0, t1) -> tuple[Array, PyTree]:
        return transition.sample(stream(key, Use.NOISE)), ()

    def settled(self, chain: Chain, x: Array) -> Array:
        return jnp.zeros((), x.dtype)


def shifted(key: Key, transition: Transition, slope: Array) -> tuple[Array, Array]:
    """A draw x from M̃, and log M(x) − log M̃(x): a step of the solver, shifted along a slope.

    The solver's step is M = N(mean, S), S = diag(s²). A shift by S times a slope gives M̃ = N(mean + S slope, S), and
    for x = mean + S slope + s ξ

        log M(x) − log M̃(x) = −½ |s slope|² − s slope·ξ.

    Any slope is exact. ∇ log of the optimal twist is the best one; where s = 0 the proposal is the solver's own.

    Args:
        key: Draws ξ.
        transition: M.
        slope: In nats per unit of x, the shape of one example.

    References: Wu, Trippe, Naesseth, Blei and Cunningham (2023), eqs. 10 and 11; Girsanov's theorem for small steps.
    """
    mean, scale = transition
    xi = jax.random.normal(key, mean.shape, mean.dtype)
    x = mean + scale**2 * slope + scale * xi
    return x, -0.5 * jnp.sum((scale * slope) ** 2) - jnp.sum(scale * slope * xi)
