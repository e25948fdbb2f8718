"""`drive`: a run step by step from the host, with progress, a clean Ctrl-C, and rewards that JAX cannot trace."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, FkdiffWarning, Key
from fkdiff.core.progress import progress
from fkdiff.smc import arguments, engine
from fkdiff.smc.model import Model
from fkdiff.smc.resamplers.resampling import ResampleFunction
from fkdiff.smc.results.result import SMCResult
from fkdiff.smc.weights import ess


def drive(
    key: Key,
    model: Model,
    grid: Array,
    num_particles: int = 1024,
    *,
    resample: ResampleFunction | None = None,
    chunk: int | None = None,
    collect: Callable[..., Any] | None = None,
    on_nan: str = "error",
    show: bool = True,
) -> SMCResult:
    """`run_smc` from the host, one compiled step at a time: the same law, keys and result as with `safety=False`.

    Args:
        key: One typed key.
        model: As in `run_smc`, or a model with a host reward (`fkdiff.steering.host`), which is asked once per step.
        grid: Times in strictly increasing order, (K + 1,).
        num_particles: N, at least 2.
        resample: A resampler; `adaptive(systematic, 0.5)` by default.
        chunk: As in `run_smc`.
        collect: As in `run_smc`.
        on_nan: As in `run_smc`.
        show: Progress on standard error: step, ESS, particle-steps per second, time left.

    Returns:
        `SMCResult`. After a Ctrl-C it holds the population reached so far, on the times so far, with its weights before
        any final potential, and a warning says so; a second Ctrl-C interrupts as usual.

    Cost: as `run_smc`, plus one dispatch per step (two under a host reward) and the host's own time. It cannot stand
    inside jit.
    """
    run = arguments.checked(key, model, grid, num_particles, resample, chunk, collect, on_nan, host=True)
    key, model, times, num_particles, resample, _, on_nan = run
    calls = _Halves if model.asks_host else _Whole
    state = calls.begin(key, model, num_particles, times[0], on_nan)
    first, steps, stopped = ess(state.log_weights), (), False
    kept = [] if collect is None else [_look(collect, model, state, times[0])]
    total = times.shape[0] - 1
    with progress(0, total, "particle-steps") if show else contextlib.nullcontext() as report:
        began = time.monotonic()
        try:
            for k in range(total):
                moved, info = calls.step(key, model, state, times[k], times[k + 1], resample, on_nan)
                # Waiting keeps the host beside the device: an interrupt is answered at once, between two whole steps.
                moved = jax.block_until_ready(moved)
                seen = [] if collect is None else [_look(collect, model, moved, times[k + 1])]
                state, steps, kept = moved, (*steps, info), kept + seen
                if report is not None and (k + 1 == total or time.monotonic() - began > 0.1 * len(steps)):
                    speed = num_particles * (k + 1) / max(time.monotonic() - began, 1e-9)
                    report(k + 1, speed, f"ESS {float(info.ess):.0f} of {num_particles}")
            state = calls.end(model, state, times[-1], on_nan)
        except KeyboardInterrupt:
            stopped = True
    stacked = _stacked(steps) if steps else _no_steps(state)
    reached = times[: len(steps) + 1]
    out = engine.close(model, state, reached, first, stacked, resample, _stacked(kept) if kept else None)
    if stopped:
        warnings.warn(
            f"stopped at step {len(steps)} of {total}: the population is that of t = {float(reached[-1]):.4g}, and the "
            "final potential has not been applied.",
            FkdiffWarning,
            stacklevel=2,
        )
    return out


class _Whole:
    """A model whose answers are compiled in: one program a step."""

    begin = staticmethod(eqx.filter_jit(engine.init))
    step = staticmethod(eqx.filter_jit(engine.step))
    end = staticmethod(eqx.filter_jit(engine.end))


class _Halves:
    """A model that asks the host: two programs a step, and the answers in between."""

    @staticmethod
    def begin(key, model, num_particles, t, on_nan):
        asked = _ask_first(key, model, num_particles, t)
        return _tell_first(model, asked, model.answer(asked.question), t, on_nan)

    @staticmethod
    def step(key, model, state, t0, t1, resample, on_nan):
        state, asked = _ask(key, model, state, t0, t1, resample)
        return _tell(model, state, asked, model.answer(asked.question), t0, t1, on_nan)

    @staticmethod
    def end(model, state, t, on_nan):
        state, question = _ask_last(model, state, t, on_nan)
        return _tell_last(model, state, model.answer(question), t, on_nan)


_ask_first, _tell_first = eqx.filter_jit(engine.ask_first), eqx.filter_jit(engine.tell_first)
_ask, _tell = eqx.filter_jit(engine.ask), eqx.filter_jit(engine.tell)
_ask_last, _tell_last = eqx.filter_jit(engine.ask_last), eqx.filter_jit(engine.tell_last)


@eqx.filter_jit
def _look(collect, model, state, t):
    return collect(model.extract(state.particles, t), state.log_weights, t)


def _stacked(rows):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)


def _no_steps(state) -> engine.StepInfo:
    empty = jnp.zeros((0,), state.log_weights.dtype)
    return engine.StepInfo(empty, jnp.zeros((0,), bool), empty, empty)
