"""`OneParticle`: models written for ONE particle, and `FeynmanKac`, whose functions a person gives.

`initial`, `move`, `final` and `extract` over the population are written here once, by `vmap` over at most `chunk`
particles at a time, with one key per particle index: results do not depend on `chunk`.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, PyTree, Status, chunked_vmap, particle_keys, worst
from fkdiff.core.keys import Use, stream
from fkdiff.smc.model import Model, MoveInfo, count_of, on_time


class OneParticle(Model):
    """A model over functions of one particle, any pytree.

    Attributes:
        chunk: Particles per call; None for all.
    """

    chunk: eqx.AbstractVar[int | None]

    @abc.abstractmethod
    def draw(self, key: Key) -> tuple[PyTree, Array]:
        """A particle of the first law, and log G_0."""

    @abc.abstractmethod
    def propose(self, key: Key, particle: PyTree, t0: Array, t1: Array) -> PyTree:
        """The particle at t1."""

    @abc.abstractmethod
    def log_potential(self, previous: PyTree, particle: PyTree, t0: Array, t1: Array) -> Array:
        """log G_k of a move."""

    def log_final(self, particle: PyTree) -> Array:
        """Added once after the last move."""
        return jnp.zeros(())

    def shown(self, particle: PyTree) -> PyTree:
        """What a result holds of a particle."""
        return particle

    def estimated(self, key: Key, particle: PyTree, t: Array, num: int) -> PyTree:
        """`estimate` for one particle; a model that has none keeps the refusal."""
        return super().estimate(key, particle, t, num)

    def fault(self, particle: PyTree) -> Array:
        """A `Status` code for what no particle of this model may be."""
        return jnp.int32(Status.OK)

    @property
    def cost(self) -> tuple[int, int]:
        """(evaluations, jvps) of one draw, and of one move."""
        return 0, 0

    @property
    def independent(self) -> bool:
        return True

    @property
    def fixed_start(self) -> bool:
        """One particle's draw is not told the time: it draws at the model's own first time."""
        return self.time_range is not None

    def initial(self, key: Key, num_particles: int, t: Array) -> tuple[PyTree, Array, MoveInfo]:
        """Draws of one particle's law, each with a key of its own."""
        particles, log_g0 = chunked_vmap(self.draw, self.chunk)(particle_keys(key, num_particles))
        start = self.time_range
        times = (t,) if start is None else (t, 2 * start[0] - t)
        return particles, log_g0, self._info(particles, *times)

    def move(self, key: Key, particles: PyTree, log_weights: Array, t0: Array, t1: Array):
        """Proposals and potentials of one particle, each with a key of its own."""

        def one(particle_key, particle):
            new = self.propose(particle_key, particle, t0, t1)
            return new, self.log_potential(particle, new, t0, t1)

        keys = particle_keys(stream(key, Use.MOVE), log_weights.shape[0])
        moved, increments = chunked_vmap(one, self.chunk)(keys, particles)
        return moved, increments, self._info(moved, t1)

    def increment(self, previous, particle, recorded, t0, t1):
        """A potential knows both ends of its move, so that it follows parameters that have changed since."""
        return self.log_potential(previous, particle, t0, t1)

    @property
    def recounts(self) -> bool:
        return True

    def final(self, particles: PyTree, t: Array) -> Array:
        """`log_final` of every particle."""
        return chunked_vmap(self.log_final, self.chunk)(particles)

    def extract(self, particles: PyTree, t: Array) -> PyTree:
        """`shown` of every particle."""
        return chunked_vmap(self.shown, self.chunk)(particles)

    def estimate(self, key: Key, particles: PyTree, t: Array, num: int) -> PyTree:
        """`estimated` of every particle, each with a key of its own."""
        keys = particle_keys(key, count_of(particles))
        return chunked_vmap(lambda k, particle: self.estimated(k, particle, t, num), self.chunk)(keys, particles)

    def chunked(self, chunk: int | None) -> OneParticle:
        """The same model, `chunk` particles at a time."""
        return dataclasses.replace(self, chunk=chunk)  # type: ignore[type-var]

    def _info(self, particles: PyTree, *times: Array) -> MoveInfo:
        codes = chunked_vmap(self.fault, self.chunk)(particles)
        status = worst(on_time(self.time_range, *times), _first(codes))
        return MoveInfo(evaluations=self.cost[0], jvps=self.cost[1], status=status)


def _first(codes: Array) -> Array:
    """The first code of a population that is not OK: codes are names, and the largest says nothing."""
    return codes[jnp.argmax(codes != Status.OK)]


class FeynmanKac(OneParticle):
    """A Feynman–Kac model from functions of ONE particle, of any pytree type.

    What G can reuse from M rides in the particle, so that a shared model call is made once.

    Args:
        initial: `initial(key) -> (particle, log_g0)`.
        propose: `propose(key, particle, t0, t1) -> particle`.
        log_potential: `log_potential(previous, particle, t0, t1) -> scalar`, log G_k.
        log_final: `log_final(particle) -> scalar`, applied once after the last move.
        extract: Maps a particle to what `out.particles` holds.
        fault: `fault(particle) -> int`, a `Status` code for what no potential of this model may be.
        evaluations: Model calls in one propose + log_potential, for the cost in `info`.
        jvps: Jacobian-vector products in the same, for the cost in `info`.
        time_range: (start, end) where the model lives in time: `initial` draws at `start`, so a grid must begin there,
            and end no later than `end`. None where times mean nothing to the model.
        estimate: `estimate(key, particle, t) -> example`, a draw or an estimate of where the particle will end, in the
            form of what `extract` gives; `fkdiff.smc.rewarded` asks for it.
        chunk: Particles per call.
    """

    initial_one: Callable
    propose_one: Callable
    potential_one: Callable
    final_one: Callable | None
    extract_one: Callable | None
    fault_one: Callable | None
    estimate_one: Callable | None
    times: tuple[Array, Array] | None
    calls: tuple[int, int] = eqx.field(static=True)
    chunk: int | None = eqx.field(static=True, default=None, kw_only=True)

    def __init__(
        self,
        initial: Callable,
        propose: Callable,
        log_potential: Callable,
        log_final: Callable | None = None,
        extract: Callable | None = None,
        fault: Callable | None = None,
        evaluations: int = 0,
        jvps: int = 0,
        time_range: tuple[Array, Array] | None = None,
        *,
        estimate: Callable | None = None,
        chunk: int | None = None,
    ):
        self.initial_one, self.propose_one, self.potential_one = initial, propose, log_potential
        self.final_one, self.extract_one, self.fault_one, self.estimate_one = log_final, extract, fault, estimate
        self.calls, self.times, self.chunk = (evaluations, jvps), time_range, chunk

    def draw(self, key):
        return self.initial_one(key)

    def propose(self, key, particle, t0, t1):
        return self.propose_one(key, particle, t0, t1)

    def log_potential(self, previous, particle, t0, t1):
        return self.potential_one(previous, particle, t0, t1)

    def log_final(self, particle):
        return super().log_final(particle) if self.final_one is None else self.final_one(particle)

    def shown(self, particle):
        return particle if self.extract_one is None else self.extract_one(particle)

    def fault(self, particle):
        return super().fault(particle) if self.fault_one is None else self.fault_one(particle)

    def estimated(self, key, particle, t, num):
        ends = self.estimate_one
        if ends is None:
            return super().estimated(key, particle, t, num)
        return (
            ends(key, particle, t) if num == 0 else jax.vmap(lambda k: ends(k, particle, t))(jax.random.split(key, num))
        )

    @property
    def cost(self) -> tuple[int, int]:
        return self.calls

    @property
    def time_range(self) -> tuple[Array, Array] | None:
        return self.times

    @property
    def transportable(self) -> bool:
        """A person's particle may be averaged if its leaves may: whoever writes it decides by the resampler."""
        return True

    def chunked(self, chunk: int | None) -> FeynmanKac:
        return FeynmanKac(
            self.initial_one, self.propose_one, self.potential_one, self.final_one, self.extract_one, self.fault_one,
            *self.calls, self.times, estimate=self.estimate_one, chunk=chunk,
        )  # fmt: skip
