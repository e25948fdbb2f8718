"""What can be refused before anything runs: one sentence each."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array, Key, PyTree, chunk_size, concrete, expect, given, one_key, require, times_of, whole
from fkdiff.smc.model import SLACK, Model
from fkdiff.smc.resamplers.resampling import ResampleFunction, Resampler, adaptive, as_resampler, systematic


class Run(NamedTuple):
    """What every driver was given, checked."""

    key: Key
    model: Model
    grid: Array
    num_particles: int
    resample: Resampler
    collect: Any
    on_nan: str


def checked(
    key: Any,
    model: Any,
    grid: Any,
    num_particles: Any,
    resample: Any = None,
    chunk: Any = None,
    collect: Any = None,
    on_nan: Any = "error",
    host: bool = False,
) -> Run:
    """What every driver asks of its arguments; see `run_smc` for their sense."""
    key, model = one_key(key), check_model(model, chunk, host)
    check_functions(resample, collect)
    with given():
        grid, num_particles = check_times(grid, model), check_count(num_particles)
        resample = check_resampler(resample, model)
    return Run(key, model, grid, num_particles, resample, collect, check_choice(on_nan))


def check_choice(on_nan: str) -> str:
    """What to do with a NaN weight."""
    require(
        on_nan in ("error", "kill"),
        f'on_nan="{on_nan}" is neither "error" (the run fails) nor "kill" (weight zero, counted, result biased).',
    )
    return on_nan


def check_count(num_particles: Any) -> int:
    """A population needs two particles to have weights worth comparing."""
    return whole("num_particles", num_particles, 2, "with fewer there is nothing to weigh")


def check_functions(resample: Any, collect: Any) -> None:
    """A resampler and a collector are functions, not their names."""
    require(
        resample is None or callable(resample),
        f"resample={resample!r} is not a resampler; pass fkdiff.smc.systematic, or fkdiff.smc.adaptive(systematic, "
        "0.5) to resample only when ESS is low.",
    )
    require(
        collect is None or callable(collect),
        f"collect={collect!r} is not a function; pass collect(particles, log_weights, t) -> tree.",
    )


def check_resampler(resample: ResampleFunction | None, model: Model) -> Resampler:
    """What was given; else the model's own, else `adaptive(systematic, 0.5)`. A model with its own takes no other.

    A plain function becomes a resampler here.
    """
    own = model.resampler
    require(
        resample is None or own is None,
        f"a {type(model).__name__} resamples in its own way, and resample={resample!r} was given: leave it out.",
    )
    if resample is not None:
        resample = as_resampler(resample)
        require(
            model.transportable or not resample.averages,
            f"resample={resample!r} averages particles, and those of a {type(model).__name__} hold what has no average "
            "(a prediction, a cumulative potential); resample by a scheme that copies, such as fkdiff.smc.systematic.",
        )
        return resample
    return adaptive(systematic, 0.5) if own is None else as_resampler(own)


def check_model(model: Any, chunk: int | None = None, host: bool = False) -> Model:
    """Refuses anything but a model, and one that asks the host where nobody answers; maps it by chunks if asked to."""
    expect(
        "model",
        model,
        Model,
        "pass a FeynmanKac, a Population or another fkdiff.smc.Model, such as target.feynman_kac() or "
        "fkdiff.steer(...)",
    )
    require(
        host or not model.asks_host,
        f"model is a {type(model).__name__} with a reward that runs on the host between its moves; use fkdiff.drive in "
        "place of run_smc.",
    )
    chunk = chunk_size(chunk)
    return model if chunk is None else model.chunked(chunk)


def check_times(grid: Any, model: Model | None) -> Array:
    """Refuses a grid that does not increase strictly or leaves the model's `time_range`.

    Values are checked when they are known; when traced, or when the model is not known yet (None), the status carries
    the verdict.
    """
    grid = times_of(grid)
    require(
        grid.ndim == 1 and grid.shape[0] >= 2,
        f"grid has shape {grid.shape}; a run needs at least two times in one dimension: use fkdiff.grid.",
    )
    times = concrete(grid)
    if times is None:
        return grid
    require(
        bool(np.all(np.diff(times) > 0)),
        "grid must increase strictly (t = 0 is noise and t = 1 is data): sort it or use fkdiff.grid.",
    )
    bounds = [] if model is None else [concrete(t) for t in model.time_range or ()]
    if model is not None and len(bounds) == 2 and bounds[0] is not None and bounds[1] is not None:
        low, high, slack = float(bounds[0]), float(bounds[1]), SLACK
        require(
            bool(low - slack <= times[0] and times[-1] <= high + slack),
            f"grid runs from {times[0]:.4g} to {times[-1]:.4g}, outside the model's times [{low:.4g}, {high:.4g}]; "
            "use fkdiff.grid with the model's path, or target.grid(num_steps) where models live on several.",
        )
        require(
            not model.fixed_start or bool(times[0] <= low + slack),
            f"grid starts at {times[0]:.4g} and this model can draw its first particles only at t = {low:.4g}; start "
            "the grid there: use fkdiff.grid with the model's path.",
        )
    return grid


def check_log_weights(values: Any, num_particles: int, origin: str) -> Array:
    """Refuses log-potentials that are not one floating number per particle."""
    values = jnp.asarray(values)
    require(
        values.shape == (num_particles,),
        f"{origin} has shape {values.shape} for {num_particles} particles; a log-potential is one number per "
        "particle: sum over the event's axes.",
    )
    require(
        bool(jnp.issubdtype(values.dtype, jnp.floating)),
        f"{origin} has dtype {values.dtype}; a log-potential is a floating number: return it as a float.",
    )
    return values


def check_particles(particles: PyTree, num_particles: int) -> PyTree:
    """Refuses populations whose leaves do not share the particle axis."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(particles):
        shape = jnp.shape(leaf)
        require(
            len(shape) >= 1 and shape[0] == num_particles,
            f"particles{jax.tree_util.keystr(path)} has shape {shape}; its first axis must hold the "
            f"{num_particles} particles.",
        )
    return particles


def check_moved(before: PyTree, after: PyTree) -> None:
    """Refuses a move that changes what a particle is made of."""
    kinds = [jax.tree.map(lambda leaf: (jnp.shape(leaf), jnp.result_type(leaf)), tree) for tree in (before, after)]
    require(
        jax.tree.structure(before) == jax.tree.structure(after) and kinds[0] == kinds[1],
        f"a move turned particles of {_described(before)} into {_described(after)}; both must have the same tree, "
        "shapes and dtypes: let the initial draw return what the moves do.",
    )


def _described(particles: PyTree) -> str:
    return eqx.tree_pformat(jax.tree.map(jnp.asarray, particles), width=10**6)
