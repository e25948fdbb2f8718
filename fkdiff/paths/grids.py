"""Time grids: where a sampler stops between noise and data."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array, Status, choose, concrete, expect, number, require, times_of, whole
from fkdiff.paths.base import Path


def _uniform(path: Path, fraction: Array, rho: Array) -> Array:
    return path.t_min + (path.t_max - path.t_min) * fraction


def _logsnr(path: Path, fraction: Array, rho: Array) -> Array:
    low, high = path.log_snr(path.t_min), path.log_snr(path.t_max)
    return path.time(low + (high - low) * fraction)


def _power(path: Path, fraction: Array, rho: Array) -> Array:
    first, last = (jnp.exp(-0.5 * path.log_snr(t) / rho) for t in (path.t_min, path.t_max))
    return path.time(-2 * rho * jnp.log(first + (last - first) * fraction))


SPACINGS = {"logsnr": _logsnr, "uniform": _uniform, "power": _power}


def grid(num_steps: int, path: Path, spacing: str = "logsnr", rho: float = 7.0) -> Array:
    """Times from `path.t_min` to `path.t_max`, shape (num_steps + 1,), strictly increasing.

    Args:
        num_steps: Number of steps, at least 1.
        path: The path that the times belong to.
        spacing: "logsnr" (equal steps of log α²/σ², the default), "uniform" (equal steps of t), or "power"
            (equal steps of (σ/α)^{1/ρ}).
        rho: ρ of the "power" spacing.

    References:
        Karras, Aittala, Aila and Laine (2022), eq. 5, for "power".
    """
    num_steps = whole("num_steps", num_steps)
    expect("path", path, Path, "pass a path, such as pred.path, or use target.grid(num_steps)")
    choose("spacing", spacing, SPACINGS)
    return _grid(num_steps, path, spacing, number("rho", rho, 1e-3, action="the usual value is 7"))


@eqx.filter_jit
def _grid(num_steps: int, path: Path, spacing: str, rho: Array) -> Array:
    # Compiled in one piece: operation by operation, a table's bisection takes seconds to compile.
    fraction = jnp.linspace(0.0, 1.0, num_steps + 1, dtype=jnp.result_type(float))[1:-1]
    ends = (jnp.atleast_1d(path.t_min), jnp.atleast_1d(path.t_max))
    return jnp.concatenate([ends[0], SPACINGS[spacing](path, fraction, rho), ends[1]])


def check_grid(times: Array, path: Path | None = None) -> Array:
    """Refuses a grid that is not a path through [t_min, t_max]; returns it as an array.

    When the times are traced nothing can be refused; `grid_status` carries the verdict instead.

    Raises:
        FkdiffError: Fewer than two times, not strictly increasing, or outside [t_min, t_max].
    """
    times = times_of(times)
    require(
        times.ndim == 1 and times.shape[0] >= 2,
        f"grid has shape {times.shape}; a sampler needs two or more times in one dimension: use fkdiff.grid.",
    )
    values = concrete(times)
    if values is None:
        return times
    require(
        not bool(np.any(~(np.diff(values) > 0))),
        "grid must increase strictly (t = 0 is noise and t = 1 is data); sort it or use fkdiff.grid.",
    )
    bounds = None if path is None else (concrete(path.t_min), concrete(path.t_max))
    if bounds is not None and bounds[0] is not None and bounds[1] is not None:
        slack = 1e-6
        require(
            bool(values[0] >= bounds[0] - slack and values[-1] <= bounds[1] + slack),
            f"grid runs from {values[0]:.4g} to {values[-1]:.4g}, outside the path's [t_min, t_max] = "
            f"[{float(bounds[0]):.4g}, {float(bounds[1]):.4g}]; use fkdiff.grid.",
        )
    return times


def grid_status(times: Array) -> Array:
    """`Status.BAD_GRID` unless the times increase strictly; for grids that are traced."""
    return jnp.where(jnp.all(jnp.diff(times) > 0), jnp.int32(Status.OK), jnp.int32(Status.BAD_GRID))
