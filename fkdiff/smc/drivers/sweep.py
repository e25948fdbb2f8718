"""One sweep of conditional SMC: a run with slot 0 held to a trajectory, and a trajectory drawn from it.

See `conditional` for the law; this file is the algorithm. Slot 0 is the reference at every time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import (
    Array,
    Key,
    PyTree,
    Status,
    categorical,
    chunked_vmap,
    expect,
    require,
    select,
    stream,
    take,
    worst,
)
from fkdiff.core.keys import Use
from fkdiff.smc import arguments
from fkdiff.smc.drivers.retained import REFUSAL, RETAINING
from fkdiff.smc.model import Model
from fkdiff.smc.weights import ess, log_mean_exp


class Trajectory(NamedTuple):
    """One path of a Feynman–Kac model.

    Attributes:
        particles: The particle at every grid time: pytree with leading axis K + 1.
        log_g0: log G_0 of the first, (): a model reveals it only as it draws, so it travels along.
        log_increments: Of every move, (K,), rewards excluded, where the model cannot compute them anew from the
            particles; else None.
    """

    particles: PyTree
    log_g0: Array
    log_increments: Array | None = None


class ConditionalState(NamedTuple):
    """Between two sweeps.

    Attributes:
        position: The current `Trajectory`.
    """

    position: Trajectory


class ConditionalInfo(NamedTuple):
    """What one sweep reports.

    Attributes:
        ess: Effective sample size at every time, (K + 1,).
        renewed: Whether the new trajectory left the reference at each time, bool (K + 1,); its mean is the share that
            was renewed. Early times are renewed least: if they hardly ever are, use more particles or `log_transition`.
        log_normalizer: log Ẑ of the sweep, (). Under the exact law E[1/Ẑ] = 1/Z.
        status: A `Status` code. Unless it is OK the trajectory is the one that came in.
    """

    ess: Array
    renewed: Array
    log_normalizer: Array
    status: Array


class History(NamedTuple):
    """A whole run.

    Attributes:
        particles: (K + 1, N, …).
        log_weights: Of one step, rewards included, (K + 1, N).
        log_g0: Of the first, (N,).
        increments: Of the moves alone, (K, N); None where the model computes them anew.
        ancestors: (K, N).
        status: A `Status` code.
    """

    particles: PyTree
    log_weights: Array
    log_g0: Array
    increments: Array | None
    ancestors: Array
    status: Array


class Sweep(eqx.Module):
    """The parts of a conditional run; its methods are the kernel's two functions."""

    model: Model
    grid: Array
    log_transition: Callable[..., Any] | None
    num_particles: int = eqx.field(static=True)
    scheme: str = eqx.field(static=True)
    renew: str = eqx.field(static=True)

    def init(self, key: Key, position: Trajectory) -> ConditionalState:
        """Holds a trajectory that `trajectory` drew, or that the person made; `key` is not used."""
        expect("position", position, Trajectory, "draw one with fkdiff.smc.trajectory(key, model, grid, num_particles)")
        position = jax.tree.map(jnp.asarray, position)
        drawn = jax.eval_shape(lambda k: self.draw(k, self.forward(k, None))[0], jax.random.key(0))
        expected, shapes = jax.tree.map(lambda leaf: leaf.shape, drawn), jax.tree.map(jnp.shape, position)
        require(
            jax.tree.structure(drawn) == jax.tree.structure(position) and expected == shapes,
            f"position has shapes {shapes} and the model's trajectories {expected}: one particle for each of the "
            f"{self.grid.shape[0]} times of the grid; draw one with fkdiff.smc.trajectory.",
        )
        return ConditionalState(position)

    def step(self, key: Key, state: ConditionalState) -> tuple[ConditionalState, ConditionalInfo]:
        """One sweep."""
        reference = state.position
        history = self.forward(key, reference)
        new, renewed, status = self.draw(key, history)
        status = worst(history.status, status)
        fine = status == Status.OK
        info = ConditionalInfo(
            ess=jax.vmap(ess)(history.log_weights),
            renewed=renewed & fine,
            log_normalizer=jax.vmap(log_mean_exp)(history.log_weights).sum(),
            status=status,
        )
        return ConditionalState(select(fine, new, reference)), info

    def forward(self, key: Key, reference: Trajectory | None) -> History:
        """A run with slot 0 held to the reference; free without one."""
        count, first_key = self.num_particles, jax.random.fold_in(key, 0)
        particles, log_g0, started = self.model.initial(stream(first_key, Use.INITIAL), count, self.grid[0])
        log_g0 = arguments.check_log_weights(log_g0, count, "log_g0 of the initial draw")
        # Half precision cannot count particles.
        log_g0 = log_g0.astype(jnp.float32) if log_g0.dtype.itemsize < 4 else log_g0
        particles = arguments.check_particles(jax.tree.map(jnp.asarray, particles), count)
        if reference is not None:
            particles = self.model.held(particles, _at(reference.particles, 0))
            log_g0 = log_g0.at[0].set(reference.log_g0.astype(log_g0.dtype))
        particles, log_weights = self.settled(first_key, particles, log_g0, self.grid[0])
        constant = jnp.asarray(started.log_constant, log_weights.dtype)

        def body(carry, at):
            (particles, log_weights), (number, t0, t1, held) = carry, at
            moved, increments, after, ancestors, status = self.advance(
                key, particles, log_weights, number, t0, t1, held
            )
            return (moved, after), (moved, None if self.model.recounts else increments, after, ancestors, status)

        steps = jnp.arange(1, self.grid.shape[0])
        path = None
        if reference is not None:
            path = _at(reference.particles, slice(1, None)), reference.log_increments
        carry, rest = jax.lax.scan(body, (particles, log_weights), (steps, self.grid[:-1], self.grid[1:], path))
        moved, increments, after, ancestors, codes = rest
        first = particles, log_weights + constant
        particles, log_weights = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, (moved, after))
        ends = self.ended(*carry)
        status = worst(started.status, verdict(first[1]), _first(codes), verdict(ends))
        return History(particles, log_weights.at[-1].set(ends), log_g0, increments, ancestors, status)

    def settled(self, key, particles, increments, t) -> tuple[PyTree, Array]:
        """Question, answer and settle: particles, and one-step log-weights with what rewards add."""
        question = self.model.question(stream(key, Use.VALUE), particles, t, False)
        particles, extra = self.model.settle(particles, increments, self.model.answer(question), t, False)
        return particles, _added(increments, extra)

    def ended(self, particles, log_weights) -> Array:
        """The last log-weights, with the final potential and the reward of the end."""
        t = self.grid[-1]
        final = arguments.check_log_weights(self.model.final(particles, t), self.num_particles, "log_final")
        log_weights = _added(log_weights, final)
        answers = self.model.answer(self.model.question(None, particles, t, True))
        return _added(log_weights, self.model.settle(particles, log_weights, answers, t, True)[1])

    def advance(self, key, particles, log_weights, number, t0, t1, held):
        """Resamples and moves: (particles, increments, one-step log-weights, ancestors, status)."""
        key = jax.random.fold_in(key, number)
        key_parent, key_others = jax.random.split(stream(key, Use.RESAMPLE))
        parent, chosen = self.parent(key_parent, particles, log_weights, held, t0, t1)
        ancestors = RETAINING[self.scheme](key_others, log_weights, parent)
        previous = self.model.refresh(stream(key, Use.REFRESH), take(particles, ancestors), t0)
        moved, increments, info = self.model.move(key, previous, jnp.zeros_like(log_weights), t0, t1)
        arguments.check_moved(particles, moved)
        increments = arguments.check_log_weights(increments, self.num_particles, "log_potential of a move")
        increments = increments.astype(log_weights.dtype) + jnp.asarray(info.log_constant, log_weights.dtype)
        if held is not None:
            moved = self.model.held(moved, held[0])
            own = self.model.increment(_at(previous, 0), held[0], held[1], t0, t1)
            increments = increments.at[0].set(own.astype(increments.dtype))
        moved, after = self.settled(key, moved, increments, t1)
        on_grid = jnp.where(t1 > t0, jnp.asarray(info.status, jnp.int32), jnp.int32(Status.BAD_GRID))
        return moved, increments, after, ancestors, worst(on_grid, chosen, verdict(after))

    def parent(self, key, particles, log_weights, reference, t0, t1) -> tuple[Array, Array]:
        """Where slot 0 comes from, with a status: its own past, or a draw."""
        if reference is not None and self.renew != "ancestor":
            return jnp.int32(0), jnp.int32(Status.OK)
        logits = log_weights if reference is None else self.link(particles, log_weights, reference[0], t0, t1)
        return _pick(key, logits), verdict(logits)

    def link(self, particles, log_weights, particle, t0, t1) -> Array:
        """log [w^j G(x^j, particle) M(x^j, particle)] over the population at t0, (N,)."""

        def one(previous):
            density = self.log_transition(previous, particle, t0, t1)  # pyright: ignore[reportOptionalCall]
            return density + self.model.log_potential(previous, particle, t0, t1)  # type: ignore[attr-defined]

        values = chunked_vmap(one, self.model.chunk)(particles)  # type: ignore[attr-defined]
        return _added(log_weights, arguments.check_log_weights(values, self.num_particles, "log_transition"))

    def draw(self, key: Key, history: History) -> tuple[Trajectory, Array, Array]:
        """One trajectory of the population, where it left slot 0, and a status."""
        key = stream(jax.random.fold_in(key, self.grid.shape[0]), Use.RESAMPLE)
        end = _pick(key, history.log_weights[-1])
        earlier, later = _at(history.particles, slice(None, -1)), _at(history.particles, slice(1, None))

        def back(slot, at):
            number, particles, after, log_weights, ancestors, t0, t1 = at
            if self.renew != "backward":
                return ancestors[slot], (ancestors[slot], jnp.int32(Status.OK))
            logits = self.link(particles, log_weights, _at(after, slot), t0, t1)
            chosen = _pick(jax.random.fold_in(key, number), logits)
            return chosen, (chosen, verdict(logits))

        times = (self.grid[:-1], self.grid[1:])
        steps = (jnp.arange(self.grid.shape[0] - 1), earlier, later, history.log_weights[:-1], history.ancestors)
        _, (slots, codes) = jax.lax.scan(back, end, (*steps, *times), reverse=True)
        slots = jnp.concatenate([slots, end[None]])
        particles = jax.vmap(take)(history.particles, slots)
        increments = history.increments
        if increments is not None:
            increments = jax.vmap(take)(increments, slots[1:])
        return Trajectory(particles, history.log_g0[slots[0]], increments), slots != 0, _first(codes)


def verdict(log_weights: Array) -> Array:
    """What is wrong with weights that should define a law: a `Status`, int32 ()."""
    top = jnp.max(log_weights)  # NaN if anything is
    status = jnp.where(top == -jnp.inf, jnp.int32(Status.EXTINCT), jnp.int32(Status.OK))
    status = jnp.where(top == jnp.inf, jnp.int32(Status.INFINITE), status)
    return jnp.where(jnp.isnan(top), jnp.int32(Status.NAN), status)


def _added(log_weights: Array, values: Array) -> Array:
    """The dead stay dead, whatever their increments are."""
    return jnp.where(log_weights == -jnp.inf, log_weights, log_weights + values.astype(log_weights.dtype))


def _pick(key: Key, logits: Array) -> Array:
    """One index of probability ∝ exp(logits), int32 ()."""
    return categorical(key, logits, REFUSAL)


def _first(codes: Array) -> Array:
    """The first status of a scan that is not OK."""
    return codes[jnp.argmax(codes != Status.OK)]


def _at(tree: PyTree, index: Any) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[index], tree)
