"""What an argument must be, one sentence each: the first thing that a public function asks.

Values are refused when they are known now. Those being traced pass: the status of the run carries the verdict.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core._concrete import concrete, traced
from fkdiff.core.types import Array, Key, Scalar
from fkdiff.errors import FkdiffError, require


def given() -> Any:
    """Where arguments become arrays: a transfer that was asked for, also under `jax.transfer_guard("disallow")`."""
    return jax.transfer_guard("allow")


def expect(argument: str, value: Any, kind: type | tuple[type, ...], action: str) -> None:
    """Refuses a value of another type, naming what came and what to pass."""
    came = value.__name__ if isinstance(value, type) else type(value).__name__
    if callable(value) and came == "function":
        came = f"function, {getattr(value, '__name__', 'unnamed')}"
    require(isinstance(value, kind), f"{argument} is a {came}; {action}.")


def one_key(key: Any) -> Key:
    """Refuses anything but one typed key."""
    typed = hasattr(key, "dtype") and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    require(typed, "key must be a typed random key; make one with jax.random.key(seed).")
    require(key.ndim == 0, f"key has shape {key.shape}; pass one key, or jax.vmap over many.")
    return key


def whole(argument: str, value: Any, least: int = 1, action: str = "") -> int:
    """A count as an int: True is not one, nor is 3.0."""
    fine = isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= least
    require(bool(fine), f"{argument}={value} must be a whole number of at least {least}{action and f': {action}'}.")
    return int(value)


def chunk_size(chunk: Any) -> int | None:
    """None, or how many particles a model sees at a time."""
    return None if chunk is None else whole("chunk", chunk, 1, "the particles per model call, or None for all")


def number(
    argument: str, value: Scalar, low: float = -np.inf, high: float = np.inf, action: str = "", shape: tuple | None = ()
) -> Array:
    """A finite real number in [low, high] as a leaf, so that it is traced and not compiled in.

    Inside jit a number known now stays known. `shape=None` takes arrays of any shape.
    """
    action = action and f": {action}"
    try:
        if traced(value):
            leaf = jnp.asarray(value)
        else:
            with given(), jax.ensure_compile_time_eval():
                leaf = jnp.asarray(value)
    except (TypeError, ValueError):
        raise FkdiffError(f"{argument}={value!r} is not a number{action}.") from None
    real = jnp.issubdtype(leaf.dtype, jnp.floating) or jnp.issubdtype(leaf.dtype, jnp.integer)
    require(real, f"{argument} has dtype {leaf.dtype} and must be a real number{action}.")
    require(
        shape is None or leaf.shape == shape,
        f"{argument} has shape {leaf.shape} and must be one number{action}; for many, use jax.vmap.",
    )
    known = concrete(leaf)
    if known is not None:
        bounds = {(True, False): f" of at least {low:g}", (False, True): f" of at most {high:g}"}
        bounded = (bool(np.isfinite(low)), bool(np.isfinite(high)))
        said = bounds.get(bounded, f" between {low:g} and {high:g}" if all(bounded) else "")
        inside = bool(np.all(np.isfinite(known) & (known >= low) & (known <= high)))
        require(inside, f"{argument}={known} must be a finite number{said}{action}.")
    with given(), jax.ensure_compile_time_eval():
        return leaf.astype(jnp.result_type(float))


def times_of(grid: Any) -> Array:
    """A grid as an array of real times."""
    try:
        with given():
            times = jnp.asarray(grid)
        if not (jnp.issubdtype(times.dtype, jnp.floating) or jnp.issubdtype(times.dtype, jnp.integer)):
            raise TypeError
    except (TypeError, ValueError):
        raise FkdiffError(f"grid is a {type(grid).__name__} and must hold real times; use fkdiff.grid.") from None
    return times.astype(jnp.result_type(float))
