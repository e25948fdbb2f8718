"""`drive`: a run step by step from the host, with progress, a clean Ctrl-C, and rewards that JAX cannot trace."""

from __future__ import annotations

import contextlib
import time
import warnings
from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, FkdiffWarning, Key, PyTree, one_key
from fkdiff.core.progress import progress
from fkdiff.smc import arguments, engine
from fkdiff.smc.feynman_kac import MoveInfo
from fkdiff.smc.resampling import Resampler
from fkdiff.smc.result import SMCResult
from fkdiff.smc.weights import ess


class HostModel(Protocol):
    """A population model in halves, with a question for the host between them."""

    def ask(self, examples: Array) -> Array:
        """Answers on the host, (N,)."""
        ...

    def draw(self, key: Key, num_particles: int) -> tuple[PyTree, Array]:
        """First states, and what to ask about."""
        ...

    def open(self, states: PyTree, answers: Array, t: Array) -> tuple[PyTree, Array, MoveInfo]:
        """First particles, log-weights, info."""
        ...

    def advance(self, key: Key, particles: PyTree, t0: Array, t1: Array) -> tuple[PyTree, Array]:
        """States after a step, and what to ask about."""
        ...

    def settle(self, states: PyTree, particles: PyTree, answers: Array, t1: Array) -> tuple[PyTree, Array, MoveInfo]:
        """Particles after the step, increments, info."""
        ...

    def owed(self, particles: PyTree, answers: Array) -> Array:
        """The final increments, once the host has been asked about what `extract` gives."""
        ...

    def extract(self, particles: PyTree) -> Array:
        """What the result holds."""
        ...


def drive(
    key: Key,
    model: Any,
    grid: Array,
    num_particles: int = 1024,
    resample: Resampler | None = None,
    chunk: int | None = None,
    on_nan: str = "error",
    show: bool = True,
) -> SMCResult:
    """`run_smc` from the host, one compiled step at a time: the same law, keys and result.

    Args:
        key: One typed key.
        model: As in `run_smc`, or a model with a host reward (`fkdiff.steer` with `fkdiff.steering.host`).
        grid: Times in strictly increasing order, (K + 1,).
        num_particles: N, at least 2.
        resample: A resampler; `adaptive(systematic, 0.5)` by default.
        chunk: Particles per model call, for a `FeynmanKac`.
        on_nan: As in `run_smc`.
        show: Progress on standard error: step, ESS, particle-steps per second, time left.

    Returns:
        `SMCResult`. After a Ctrl-C it holds the population reached so far, on the times so far, with its weights before
        any final potential, and a warning says so; a second Ctrl-C interrupts as usual.

    Cost: as `run_smc`, plus one dispatch per step and the host's own time. It cannot stand inside jit.
    """
    key, num_particles = one_key(key), arguments.check_count(num_particles)
    arguments.check_functions(resample, None)
    times, resample = arguments.check_times(grid, model), arguments.check_resampler(resample, model)
    on_nan = arguments.check_choice(on_nan)
    halves = _Halves(model) if hasattr(model, "ask") else _Whole(arguments.lifted(model, chunk))
    state = halves.begin(key, times[0], num_particles, on_nan)
    first, steps, stopped = ess(state.log_weights), (), False
    total = times.shape[0] - 1
    with progress(0, total, "particle-steps") if show else contextlib.nullcontext() as report:
        began = time.monotonic()
        try:
            for k in range(total):
                moved, info = halves.step(key, state, times[k], times[k + 1], resample, on_nan)
                # Waiting keeps the host beside the device: an interrupt is answered at once, between two whole steps.
                state, steps = jax.block_until_ready(moved), (*steps, info)
                if report is not None and (k + 1 == total or time.monotonic() - began > 0.1 * len(steps)):
                    speed = num_particles * (k + 1) / max(time.monotonic() - began, 1e-9)
                    report(k + 1, speed, f"ESS {float(info.ess):.0f} of {num_particles}")
            state = halves.end(state, on_nan)
        except KeyboardInterrupt:
            stopped = True
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *steps) if steps else _no_steps(state)
    reached = times[: len(steps) + 1]
    out = engine.close(halves.extract, state, reached, first, stacked, resample)
    if stopped:
        warnings.warn(
            f"stopped at step {len(steps)} of {total}: the population is that of t = {float(reached[-1]):.4g}, and the "
            "final potential has not been applied.",
            FkdiffWarning,
            stacklevel=2,
        )
    return out


class _Whole:
    """A pure model: one compiled step at a time."""

    def __init__(self, model):
        self.model, self.extract = model, getattr(model, "extract", None)

    def begin(self, key, t, num_particles, on_nan):
        return _init(key, self.model, num_particles, t, on_nan)

    def step(self, key, state, t0, t1, resample, on_nan):
        return _step(key, self.model, state, t0, t1, resample, on_nan)

    def end(self, state, on_nan):
        return _close(self.model, state, on_nan)


class _Halves:
    """A model with a question for the host in the middle of every step."""

    def __init__(self, model: HostModel):
        self.model, self.extract = model, model.extract

    def begin(self, key, t, num_particles, on_nan):
        states, examples = _draw(engine.initial_key(key), self.model, num_particles)
        return _open(self.model, states, self.model.ask(examples), t, num_particles, on_nan)

    def step(self, key, state, t0, t1, resample, on_nan):
        state, resampled, states, examples = _advance(key, self.model, state, t0, t1, resample)
        return _settle(self.model, state, states, self.model.ask(examples), resampled, t0, t1, on_nan)

    def end(self, state, on_nan):
        answers = self.model.ask(self.model.extract(state.particles))
        return _owe(self.model, state, answers, on_nan)


def _no_steps(state) -> engine.StepInfo:
    empty = jnp.zeros((0,), state.log_weights.dtype)
    return engine.StepInfo(empty, jnp.zeros((0,), bool), empty, empty)


@eqx.filter_jit
def _init(key, model, num_particles, t, on_nan):
    return engine.init(key, model, num_particles, t, on_nan=on_nan)


@eqx.filter_jit
def _step(key, model, state, t0, t1, resample, on_nan):
    return engine.step(key, model, state, t0, t1, resample, on_nan)


@eqx.filter_jit
def _close(model, state, on_nan):
    final = getattr(model, "final", None)
    return state if final is None else engine.settle(state, final(state.particles), on_nan)


@eqx.filter_jit
def _draw(key, model, num_particles):
    return model.draw(key, num_particles)


@eqx.filter_jit
def _open(model, states, answers, t, num_particles, on_nan):
    particles, log_g0, info = model.open(states, answers, t)
    return engine.begin(particles, log_g0, info, num_particles, on_nan)


@eqx.filter_jit
def _advance(key, model, state, t0, t1, resample):
    move = engine.move_key(key, state)
    state, resampled = engine.select(key, model, state, t0, resample)
    return state, resampled, *model.advance(move, state.particles, t0, t1)


@eqx.filter_jit
def _settle(model, state, states, answers, resampled, t0, t1, on_nan):
    moved, increments, info = model.settle(states, state.particles, answers, t1)
    return engine.absorb(state, moved, increments, info, resampled, t0, t1, on_nan)


@eqx.filter_jit
def _owe(model, state, answers, on_nan):
    return engine.settle(state, model.owed(state.particles, answers), on_nan)
