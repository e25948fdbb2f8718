"""`run_smc`: a Feynman–Kac model, a grid and a resampler in; a weighted population out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, checkpoint_segments, enough_memory, scan
from fkdiff.smc import arguments, engine
from fkdiff.smc.model import Model
from fkdiff.smc.resamplers.resampling import ResampleFunction
from fkdiff.smc.results.result import SMCResult
from fkdiff.smc.weights import ess


def run_smc(
    key: Key,
    model: Model,
    grid: Array,
    num_particles: int = 1024,
    *,
    resample: ResampleFunction | None = None,
    chunk: int | None = None,
    collect: Callable[..., Any] | None = None,
    on_nan: str = "error",
    checkpoint: int | None = None,
    safety: bool = True,
) -> SMCResult:
    """Weighted particles of the law ∝ Γ_K and an unbiased estimate of its mass, exp(out.log_normalizer).

    Args:
        key: One typed key. Random numbers belong to (step, use, particle index): the same under any `chunk`.
        model: Any `Model`: a `FeynmanKac`, a `Population`, `target.feynman_kac()`, `fkdiff.steer(...)`, ….
        grid: Times in strictly increasing order, (K + 1,); `fkdiff.grid` makes them.
        num_particles: N, at least 2.
        resample: A resampler; `adaptive(systematic, 0.5)` by default.
        chunk: Particles per model call; bounds memory and changes at most the last bit of a sum.
        collect: `collect(particles, log_weights, t)`, called at every grid time on what `out.particles` would hold;
            stacked along a leading axis of K + 1 in `out.collected`. Only the last population is kept otherwise.
        on_nan: "error" lets a NaN weight fail the run with its step, count and first index; "kill" gives it weight
            zero, counts it in `info.killed` and marks the result biased.
        checkpoint: Segments, about √K, that a derivative recomputes instead of keeping every step in memory.
        safety: Whether the runs are made that measure what one run cannot see, where the model has them: for the flow
            of a corrector in up to 16 dimensions a pilot for its control, plain draws of its models for the modes that
            control starves, and a run of half the steps for the error of steps. They cost a third more with "heun" and
            take their particles out of the N; `collect` sees the others. Without them `out` says that these errors were
            not measured.

    Returns:
        `SMCResult`. Call `fkdiff.check` on it: numerical failures ride in its status and never raise by themselves.

    Raises:
        FkdiffError: An argument, or the shape of a log-potential, is wrong, or the memory does not hold it.

    Cost: the model's own, plus O(N) per step; `info.evaluations` and `info.jvps` count model calls per particle.
    A second call with another key, or other leaf values in `model`, `grid` or `resample`, compiles nothing; functions
    are compared by identity, so build them once.

    Gradients: pathwise through moves and weights. Through a plain resampling they are refused, since its choice carries
    none: `fkdiff.gradients` says what to use.

    References: Del Moral (2004), chapter 11; Chopin and Papaspiliopoulos (2020), chapter 10.
    """
    run = arguments.checked(key, model, grid, num_particles, resample, chunk, collect, on_nan)
    with enough_memory(f"num_particles={run.num_particles}"):
        return _run(*run, checkpoint_segments(checkpoint), resample is not None, safety)


def answered(key, model, grid, num_particles, resample, collect, on_nan, checkpoint, given, safety) -> SMCResult:
    """`run_smc` without argument checks or compilation, for drivers that compile around it.

    `given` says whether the resampler was asked for, rather than the default.
    """
    if safety:
        out = model.safe_run(key, grid, num_particles, resample if given else None, collect, on_nan, checkpoint)
        if out is not None:
            return out
    return unchecked(key, model, grid, num_particles, resample, collect, on_nan, checkpoint)


def unchecked(key, model, grid, num_particles, resample, collect, on_nan, checkpoint=None) -> SMCResult:
    """One run of the engine, without the runs beside it."""

    def look(particles, log_weights, t):
        return None if collect is None else collect(model.extract(particles, t), log_weights, t)

    return observed(key, model, grid, num_particles, resample, look, on_nan, checkpoint)


def observed(key, model, grid, num_particles, resample, look, on_nan, checkpoint=None) -> SMCResult:
    """The scan itself; `look(particles, log_weights, t)` sees whole particles at every grid time."""

    def body(state, interval):
        t0, t1 = interval
        state, info = engine.step(key, model, state, t0, t1, resample, on_nan)
        return state, (info, look(state.particles, state.log_weights, t1))

    first = engine.init(key, model, num_particles, grid[0], on_nan)
    state, (steps, rest) = scan(body, first, (grid[:-1], grid[1:]), checkpoint)
    start = look(first.particles, first.log_weights, grid[0])
    joined = jax.tree.map(lambda a, b: jnp.concatenate([jnp.asarray(a)[None], b]), start, rest)
    return engine.finish(model, state, grid, ess(first.log_weights), steps, resample, joined, on_nan)


_run = eqx.filter_jit(answered)
