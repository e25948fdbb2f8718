"""The two forms of a Feynman–Kac model.

    Γ_K(dx_{0:K}) = M_0(dx_0) G_0(x_0) Π_k M_k(x_{k-1}, dx_k) G_k(x_{k-1}, x_k)

A person writes `FeynmanKac`, for one particle. The engine knows only `Population`, for all of them at once;
`lift` turns the first into the second by `vmap`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import equinox as eqx
import jax.numpy as jnp

from fkdiff.core import Array, Key, PyTree, Status, chunked_vmap, particle_keys, worst
from fkdiff.core.keys import Use, stream

SLACK = 1e-6  # of a time: what rounding may do to the ends of a grid


class MoveInfo(NamedTuple):
    """What one move reports beside its particles and increments; all scalars.

    Attributes:
        log_constant: Added to the log-normaliser and to no weight (a deterministic part of log G).
        residual: sd_w(g + Aθ) Δt, this step's share of the starvation signal R.
        evaluations: Model calls per particle.
        jvps: Jacobian-vector (or vector-Jacobian) products per particle.
        status: A `Status` code.
        report: What else the model wants known about this move, any pytree of arrays; stacked in `out.info.report`.
    """

    log_constant: Array | float = 0.0
    residual: Array | float = 0.0
    evaluations: Array | int = 0
    jvps: Array | int = 0
    status: Array | int = Status.OK
    report: Any = None


class PopulationModel(Protocol):
    """What the engine runs: any pytree with these members (functions, methods, or None)."""

    initial: Any
    move: Any
    final: Any
    refresh: Any
    extract: Any
    refresh_cost: Any


class Population(eqx.Module):
    """A Feynman–Kac model over a whole population of N particles.

    Attributes:
        initial: `initial(key, num_particles, t) -> (particles, log_weights, MoveInfo)`, the law at the first
            grid time with log G_0, shape (N,).
        move: `move(key, particles, log_weights, t0, t1) -> (particles, log_increments, MoveInfo)`; it may use
            the weights (control does), and must not resample.
        final: `final(particles) -> log_increments`, once after the last move.
        refresh: `refresh(key, particles, t) -> particles`, leaves the target at t invariant; run under
            `lax.cond` after a resampling, and only then.
        extract: `extract(particles) -> tree`, what the result holds as `particles`.
        refresh_cost: (evaluations, jvps) per particle of one refresh, for the cost account.
        resampler: The one resampler that the model can run with, where there is but one; None for any.
    """

    initial: Callable
    move: Callable
    final: Callable | None = None
    refresh: Callable | None = None
    extract: Callable | None = None
    refresh_cost: tuple[int, int] = eqx.field(static=True, default=(0, 0))
    resampler: Callable | None = None


class FeynmanKac(eqx.Module):
    """A Feynman–Kac model for ONE particle, of any pytree type.

    Attributes:
        initial: `initial(key) -> (particle, log_g0)`.
        propose: `propose(key, particle, t0, t1) -> particle`.
        log_potential: `log_potential(previous, particle, t0, t1) -> scalar`, log G_k.
        log_final: `log_final(particle) -> scalar`, applied once after the last move.
        extract: Maps a particle to what `out.particles` holds.
        fault: `fault(particle) -> int`, a `Status` code for what no potential of this model may be.
        evaluations: Model calls in one propose + log_potential, for the cost account.
        jvps: Jacobian-vector products in the same, for the cost account.
        time_range: (start, end) where the model lives in time: `initial` draws at `start`, so a grid must begin there,
            and end no later than `end`. None where times mean nothing to the model.

    What G can reuse from M rides in the particle, so that a shared model call is made once.
    """

    initial: Callable
    propose: Callable
    log_potential: Callable
    log_final: Callable | None = None
    extract: Callable | None = None
    fault: Callable | None = None
    evaluations: int = eqx.field(static=True, default=0)
    jvps: int = eqx.field(static=True, default=0)
    time_range: tuple[Array, Array] | None = None


def on_time(time_range: tuple[Array, Array] | None, *times: Array) -> Array:
    """`Status.BAD_GRID` unless every time lies in the range, for grids that are traced."""
    if time_range is None:
        return jnp.int32(Status.OK)
    low, high = time_range
    fine = jnp.stack([(t >= low - SLACK) & (t <= high + SLACK) for t in times]).all()
    return jnp.where(fine, jnp.int32(Status.OK), jnp.int32(Status.BAD_GRID))


class _Lifted(eqx.Module):
    """`FeynmanKac` over a population, at most `chunk` particles at a time."""

    model: FeynmanKac
    chunk: int | None = eqx.field(static=True)

    def _info(self, particles: PyTree, *times: Array) -> MoveInfo:
        status = on_time(self.model.time_range, *times)
        if self.model.fault is not None:
            status = worst(status, jnp.max(chunked_vmap(self.model.fault, self.chunk)(particles)))
        return MoveInfo(evaluations=self.model.evaluations, jvps=self.model.jvps, status=status)

    def initial(self, key: Key, num_particles: int, t: Array) -> tuple[PyTree, Array, MoveInfo]:
        keys = particle_keys(key, num_particles)
        particles, log_g0 = chunked_vmap(self.model.initial, self.chunk)(keys)
        # One particle's `initial` is not told the time: it draws at the model's own first time.
        start = self.model.time_range
        times = (t,) if start is None else (t, 2 * start[0] - t)
        return particles, log_g0, self._info(particles, *times)

    def move(self, key, particles, log_weights, t0, t1) -> tuple[PyTree, Array, MoveInfo]:
        def one(particle_key, particle):
            new = self.model.propose(particle_key, particle, t0, t1)
            return new, self.model.log_potential(particle, new, t0, t1)

        keys = particle_keys(stream(key, Use.MOVE), log_weights.shape[0])
        moved, increments = chunked_vmap(one, self.chunk)(keys, particles)
        return moved, increments, self._info(moved, t1)

    refresh = None
    refresh_cost = (0, 0)

    @property
    def final(self) -> Callable | None:
        return self._mapped(self.model.log_final)

    @property
    def extract(self) -> Callable | None:
        return self._mapped(self.model.extract)

    def _mapped(self, function: Callable | None) -> Callable | None:
        return None if function is None else chunked_vmap(function, self.chunk)


def lift(model: FeynmanKac | PopulationModel, chunk: int | None = None) -> PopulationModel:
    """The population form of a model; a population passes unchanged."""
    return _Lifted(model, chunk) if isinstance(model, FeynmanKac) else model
