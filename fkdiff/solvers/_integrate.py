"""The driver: many examples from noise to data, with one compiled scan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import (
    Array,
    Key,
    PyTree,
    Status,
    checkpoint_segments,
    chunk_size,
    chunked_vmap,
    concrete,
    one_key,
    require,
    scan,
    stream,
    whole,
)
from fkdiff.core.keys import Use
from fkdiff.paths.grids import check_grid, grid_status
from fkdiff.prediction import Predictor
from fkdiff.solvers.base import Solver, State, check_model, check_score, check_solver
from fkdiff.solvers.reference import as_reference, spread


def integrate(
    key: Key,
    pred: Predictor,
    solver: Solver,
    grid: Array,
    num_samples: int = 256,
    denoise: bool = False,
    chunk: int | None = None,
    collect: Callable[[State], PyTree] | None = None,
    initial: Array | None = None,
    reference: tuple = (0.0, 1.0),
    checkpoint: int | None = None,
) -> Any:
    """Independent samples from the model's law at the last grid time, up to the solver's error.

    They start from N(α m, (α²ς² + σ²) I) at the first grid time, where (m, ς²) is the reference.

    Args:
        key: A typed key. Sample i depends on the key and i alone, not on `num_samples` or `chunk`.
        pred: The model.
        solver: `euler`, `heun`, `ddim`, `ancestral`, `dpmpp_2m` or `exponential`.
        grid: Increasing times, shape (num_steps + 1,), from `fkdiff.grid`.
        num_samples: Number of samples.
        denoise: Replaces the last position by the model's clean estimate there, at one more evaluation.
        chunk: At most this many samples at a time; bounds memory and changes no random number (positions agree
            to the last digit of what the compiler vectorises alike).
        collect: `collect(state) -> tree` for ONE sample, asked before every step. Keep one function object: a
            fresh lambda compiles again.
        initial: Positions at the first grid time, shape (num_samples, *pred.shape), in place of random ones.
        reference: (m, ς²), mean and variance of the data, each a scalar or of the shape of one example.
        checkpoint: Segments, about √num_steps, that a derivative recomputes instead of keeping every step in memory.

    Returns:
        Samples, shape (num_samples, *pred.shape); with `collect` the pair (samples, collected), whose leaves
        start with (num_samples, num_steps). A grid that is traced and does not increase gives NaN.

    Raises:
        FkdiffError: The grid does not increase or leaves the path; a count or shape is wrong.

    Cost: num_steps × `solver.evaluations` (and `solver.jvps`), + 1 with `denoise`; otherwise none at the last time.

    Gradients: pathwise, in the parameters, the condition, the grid and `initial`.
    """
    key, pred, solver = one_key(key), check_model(pred), check_solver(solver)
    level = concrete(solver.noise)
    if level is not None and bool(level > 0):
        check_score(pred, "a stochastic solver")
    times = check_grid(grid, pred.path)
    num_samples, chunk = whole("num_samples", num_samples), chunk_size(chunk)
    require(collect is None or callable(collect), f"collect={collect!r} is not a function; pass collect(state).")
    reference = as_reference(reference)
    if initial is not None:
        initial = jnp.asarray(initial, jnp.result_type(float))
        require(
            initial.ndim == len(pred.shape) + 1 and initial.shape[1:] == pred.shape,
            f"initial has shape {initial.shape}; pass one position per sample, (num_samples, *{pred.shape}).",
        )
        num_samples = initial.shape[0]
    segments = checkpoint_segments(checkpoint)
    result = _run(key, pred, solver, times, initial, reference, num_samples, denoise, chunk, collect, segments)
    return result[0] if collect is None else result


@eqx.filter_jit
def _run(key, pred, solver, times, initial, reference, num_samples, denoise, chunk, collect, segments):
    # One key per grid time: the first draws the start, the others the noise of the step that ends there.
    every = jax.vmap(lambda k: jax.random.fold_in(key, k))(jnp.arange(times.shape[0]))
    keys, looks = (jax.vmap(lambda k, use=use: stream(k, use))(every) for use in (Use.NOISE, Use.SOLVER))

    def start(index: Array) -> Array:
        mean, variance = reference
        noise = jax.random.normal(jax.random.fold_in(keys[0], index), pred.shape, times.dtype)
        return pred.path.alpha(times[0]) * mean + jnp.sqrt(spread(pred.path, times[0], variance)) * noise

    def one(index: Array, x: Array | None) -> tuple[Array, PyTree]:
        x = start(index) if x is None else x

        def body(carry, step):
            # Arriving first makes one evaluation per step, none of them after the last.
            step_key, look_key, t0, t1 = step
            state = solver.arrive(pred, carry[0], t0, carry[1], jax.random.fold_in(look_key, index))
            transition, moved = solver.step(pred, state, t0, t1)
            x = jax.lax.cond(
                jnp.any(transition.scale > 0),
                lambda: transition.sample(jax.random.fold_in(step_key, index)),
                lambda: transition.mean,
            )
            return (x, moved.memory), None if collect is None else collect(state)

        steps = (keys[1:], looks[:-1], times[:-1], times[1:])
        (end, _), collected = scan(body, (x, solver.memory(x)), steps, segments)
        return (pred(end, times[-1]).clean if denoise else end), collected

    indices = jnp.arange(num_samples)
    if initial is None:
        samples, collected = chunked_vmap(lambda i: one(i, None), chunk)(indices)
    else:
        samples, collected = chunked_vmap(one, chunk)(indices, initial)
    return jnp.where(grid_status(times) == Status.OK, samples, jnp.nan), collected
