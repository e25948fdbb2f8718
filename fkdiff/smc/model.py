"""`Model`: what the engine runs, every combinator takes and returns, and every driver accepts.

    Γ_K(dx_{0:K}) = M_0(dx_0) G_0(x_0) Π_k M_k(x_{k-1}, dx_k) G_k(x_{k-1}, x_k)

A model acts on a whole population of N particles, any pytree with leading axis N. Two methods are abstract, `initial`
and `move`; all others are hooks with defaults, the only concrete methods that a subclass may override. One step of the
engine calls them in this order:

    resample, refresh, move, question, answer, settle, weigh

The same question, answer and settle follow `initial`, and close the run (with `last=True`) after `final`.
"""

from __future__ import annotations

import abc
import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, FkdiffError, Key, PyTree, Status, require

SLACK = 1e-6  # of a time: what rounding may do to the ends of a grid


class MoveInfo(NamedTuple):
    """What one move reports beside its particles and increments; all scalars.

    Attributes:
        log_constant: Added to the log-normaliser and to no weight (a deterministic part of log G).
        residual: sd_w(g + Aθ) Δt, this step's share of the starvation signal R; NaN where nothing measures it.
        evaluations: Model calls per particle.
        jvps: Jacobian-vector (or vector-Jacobian) products per particle.
        status: A `Status` code.
        report: What else the model wants known about this move, any pytree of arrays; stacked in `out.info.report`.
    """

    log_constant: Array | float = 0.0
    residual: Array | float = math.nan
    evaluations: Array | int = 0
    jvps: Array | int = 0
    status: Array | int = Status.OK
    report: Any = None


class Pilot(NamedTuple):
    """What a pilot run leaves for `Model.frozen`, with K steps.

    Attributes:
        times: (K + 1,).
        reports: `MoveInfo.report` of every move, stacked, (K, …).
        records: `Model.record` at every time, stacked, (K + 1, …).
    """

    times: Array
    reports: Any
    records: Any


class Model(eqx.Module):
    """A Feynman–Kac model over a population. See the module's first lines for the order of its calls."""

    @abc.abstractmethod
    def initial(self, key: Key, num_particles: int, t: Array) -> tuple[PyTree, Array, MoveInfo]:
        """The first population at time t, with log G_0 as log-weights, (N,)."""

    @abc.abstractmethod
    def move(
        self, key: Key, particles: PyTree, log_weights: Array, t0: Array, t1: Array
    ) -> tuple[PyTree, Array, MoveInfo]:
        """The population at t1 and its log-increments, (N,). It may use the weights, and must not resample."""

    # The law ----------------------------------------------------------------------------------------------

    def final(self, particles: PyTree, t: Array) -> Array:
        """Log-increments, (N,), added once after the last move."""
        return jnp.zeros(count_of(particles))

    def refresh(self, key: Key, particles: PyTree, t: Array) -> PyTree:
        """Moves that leave the law of the weighted population at t invariant; run after a resampling only."""
        return particles

    def extract(self, particles: PyTree, t: Array) -> PyTree:
        """What a result holds as `particles`, and `collect` sees."""
        return particles

    @property
    def time_range(self) -> tuple[Array, Array] | None:
        """(start, end) where the model lives in time; None where times mean nothing to it."""
        return None

    def progress(self, t: Array) -> Array:
        """The share of the path travelled at t, from 0 to 1."""
        bounds = self.time_range
        if bounds is None:
            raise FkdiffError(
                f"a {type(self).__name__} without time_range cannot say how far along its path a time lies, which a "
                'ramp needs; give it time_range=(start, end), or use potential="terminal".'
            )
        return (t - bounds[0]) / (bounds[1] - bounds[0])

    # What others may ask of a particle --------------------------------------------------------------------

    def estimate(self, key: Key, particles: PyTree, t: Array, num: int) -> PyTree:
        """Where the particles will end: `num` draws each, (N, num, …), or one estimate each, (N, …), for num = 0."""
        raise FkdiffError(
            f"a {type(self).__name__} cannot estimate where its particles will end, which a reward on the way needs; "
            'use potential="terminal", or estimate=fkdiff.steering.learned(value), or give the model an `estimate`.'
        )

    def value(self, particles: PyTree, t: Array, last: bool) -> Array:
        """The value estimate that the model's own guidance made, in nats, (N,); at the end the value itself."""
        raise FkdiffError(
            f"a {type(self).__name__} has no guidance and so no value of its own; pass a reward to fkdiff.smc.rewarded."
        )

    def aimed(self, particles: PyTree, share: Array) -> PyTree:
        """The particles, told what share of the value their guidance is to follow from here on."""
        return particles

    def position(self, particles: PyTree) -> PyTree:
        """What a kernel moves: the particles' positions, with leading axis N."""
        require(
            len(jax.tree.leaves(particles)) == 1,
            f"a particle of this model is a {type(particles).__name__} of {len(jax.tree.leaves(particles))} arrays, "
            "and a kernel moves a position: pass where=(get, put), with position = get(particle) and "
            "particle = put(particle, position), where put recomputes whatever depends on the position.",
        )
        return particles

    def replaced(self, particles: PyTree, positions: PyTree, t: Array) -> PyTree:
        """The particles at other positions, with whatever depends on a position computed anew."""
        return positions

    def held(self, particles: PyTree, reference: PyTree) -> PyTree:
        """The population with its first particle held to a recorded one (conditional SMC)."""
        return jax.tree.map(lambda leaf, kept: leaf.at[0].set(kept), particles, reference)

    def increment(self, previous: PyTree, particle: PyTree, recorded: Array | None, t0: Array, t1: Array) -> Array:
        """log G of one recorded move: computed anew where the model can (`recounts`), else what was recorded."""
        if recorded is None:
            raise FkdiffError(
                f"this trajectory holds no log_increments, and a {type(self).__name__} cannot compute them from its "
                "particles; draw one with fkdiff.smc.trajectory(key, model, grid, num_particles)."
            )
        return recorded

    # Rewards: one question per step ------------------------------------------------------------------------

    def question(self, key: Key | None, particles: PyTree, t: Array, last: bool) -> PyTree:
        """What `answer` is asked about the population at t; at the end (`last`, without a key) about `extract`."""
        return None

    def answer(self, question: PyTree) -> PyTree:
        """The answers: inside the compiled step, or on the host between two compiled halves (`asks_host`)."""
        return question

    def settle(
        self, particles: PyTree, log_weights: Array, answers: PyTree, t: Array, last: bool
    ) -> tuple[PyTree, Array]:
        """Particles and log-increments, (N,), once the answers are known; `log_weights` hold the move's increments."""
        return particles, jnp.zeros_like(log_weights)

    # Fixing what a population chose -------------------------------------------------------------------------

    def record(self, key: Key, particles: PyTree, log_weights: Array, t: Array) -> PyTree:
        """What a pilot run keeps of the population at t for `frozen`."""
        return None

    def frozen(self, pilot: Pilot) -> Model:
        """The model with whatever it chose from the pilot's population fixed as functions of time, or itself."""
        return self

    # Runs beside a run --------------------------------------------------------------------------------------

    def safe_run(
        self, key: Key, grid: Array, num_particles: int, resample: Any, collect: Any, on_nan: str, checkpoint: Any
    ) -> Any:
        """The run with those beside it that measure what it cannot see; None where the model has none.

        Arguments as in `run_smc`; `resample` is None where none was asked for.
        """
        return None

    # Facts ------------------------------------------------------------------------------------------------

    def chunked(self, chunk: int | None) -> Model:
        """The model that maps its functions over at most `chunk` particles at a time."""
        raise FkdiffError(
            f"chunk={chunk} has no effect on a {type(self).__name__}, whose functions take the whole population: "
            "leave it out, and map inside those functions with jax.lax.map(..., batch_size=chunk)."
        )

    @property
    def resampler(self) -> Any:
        """The one resampler that the model can run with; None for any."""
        return None

    @property
    def refresh_cost(self) -> tuple[int, int]:
        """(evaluations, jvps) per particle of one refresh."""
        return 0, 0

    @property
    def estimate_cost(self) -> tuple[int, int]:
        """(evaluations, jvps) per particle of one `estimate`."""
        return 0, 0

    @property
    def default_potential(self) -> str:
        """Which potential suits a reward on this model; see `fkdiff.smc.rewarded`."""
        return "difference"

    @property
    def independent(self) -> bool:
        """Whether a particle's move depends on no other particle."""
        return False

    @property
    def recounts(self) -> bool:
        """Whether `increment` needs no record."""
        return False

    @property
    def asks_host(self) -> bool:
        """Whether `answer` runs on the host, so that only `fkdiff.drive` can run the model."""
        return False

    @property
    def fixed_start(self) -> bool:
        """Whether the first population can be drawn only at the start of `time_range`."""
        return False

    @property
    def transportable(self) -> bool:
        """Whether particles may be averaged, as resampling by optimal transport does."""
        return False


def count_of(particles: PyTree) -> int:
    """N, from the leading axis."""
    return jax.tree.leaves(particles)[0].shape[0]


def on_time(time_range: tuple[Array, Array] | None, *times: Array) -> Array:
    """`Status.BAD_GRID` unless every time lies in the range, for grids that are traced."""
    if time_range is None:
        return jnp.int32(Status.OK)
    low, high = time_range
    fine = jnp.stack([(t >= low - SLACK) & (t <= high + SLACK) for t in times]).all()
    return jnp.where(fine, jnp.int32(Status.OK), jnp.int32(Status.BAD_GRID))
