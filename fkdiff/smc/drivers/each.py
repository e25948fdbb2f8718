"""One population for each of many conditions, compiled once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, PyTree, one_key, particle_keys, require
from fkdiff.smc import arguments
from fkdiff.smc.drivers.run import answered
from fkdiff.smc.model import Model
from fkdiff.smc.resamplers.resampling import ResampleFunction
from fkdiff.smc.results.result import SMCResult


def run_each(
    key: Key,
    build: Callable[[PyTree], Model],
    conditions: PyTree,
    grid: Array,
    num_particles: int = 1024,
    *,
    resample: ResampleFunction | None = None,
    chunk: int | None = None,
    collect: Callable[..., Any] | None = None,
    on_nan: str = "error",
    safety: bool = True,
) -> SMCResult:
    """The run of `build(condition)` for every row of `conditions`, each with an evidence of its own.

    Row i is `run_smc(jax.random.fold_in(key, i), build(condition_i), grid, ...)`, whatever the other rows are. The rows
    run one after the other in a `lax.map`, since `vmap` would turn every conditional resampling and refresh into both
    of its branches.

    Args:
        key: One typed key.
        build: `build(condition) -> model`, any JAX function of ONE condition; it is traced once.
        conditions: Pytree of arrays with a common leading axis n (labels, observations, reward weights).
        grid: Times shared by all, (K + 1,).
        num_particles: N of each population.
        resample: A resampler; `adaptive(systematic, 0.5)` by default.
        chunk: As in `run_smc`.
        collect: As in `run_smc`.
        on_nan: As in `run_smc`.
        safety: As in `run_smc`, for each population.

    Returns:
        `SMCResult` whose every array has a leading axis n; `jax.tree.map(lambda leaf: leaf[i], out)` is the run of
        condition i, which `fkdiff.check` takes. What a model refuses by value is traced here, and rides in the status.

    Raises:
        FkdiffError: An argument is wrong, or the conditions share no leading axis.

    Cost: n runs, and the memory of n final populations. Another key or other conditions compile nothing.

    Gradients: as those of `run_smc`.
    """
    key = one_key(key)
    require(callable(build), f"build={build!r} is not a function; pass build(condition) -> model.")
    arguments.check_functions(resample, collect)
    grid, num_particles = arguments.check_times(grid, None), arguments.check_count(num_particles)
    conditions, count = _batch(conditions)
    options = grid, num_particles, resample, chunk, collect, on_nan
    return _run(particle_keys(key, count), build, conditions, *options, safety)


@eqx.filter_jit
def _run(keys, build, conditions, grid, num_particles, resample, chunk, collect, on_nan, safety) -> SMCResult:
    def one(row):
        key, condition = row
        model = build(condition)
        run = arguments.checked(key, model, grid, num_particles, resample, chunk, collect, on_nan)
        return answered(*run, None, resample is not None, safety)

    return jax.lax.map(one, (keys, conditions))


def _batch(conditions: PyTree) -> tuple[PyTree, int]:
    """The conditions as arrays and how many there are."""
    leaves = jax.tree_util.tree_leaves_with_path(conditions)
    require(len(leaves) > 0, f"conditions={conditions!r} holds no array; give one row for each population.")
    sizes = {}
    for path, leaf in leaves:
        name, shape = f"conditions{jax.tree_util.keystr(path)}", jnp.shape(leaf)
        require(len(shape) > 0, f"{name} has shape (); give one row for each population, or let build close over it.")
        sizes[name] = shape[0]
    require(
        len(set(sizes.values())) == 1 and min(sizes.values()) > 0,
        f"conditions must share one leading axis, of at least one row, and have {_listed(sizes)}.",
    )
    return jax.tree.map(jnp.asarray, conditions), next(iter(sizes.values()))


def _listed(sizes: dict[str, int]) -> str:
    return ", ".join(f"{size} in {name}" for name, size in sizes.items())
