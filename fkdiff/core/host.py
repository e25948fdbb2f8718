"""Arrays of anybody as numbers of the host, in double precision."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np

from fkdiff.errors import FkdiffError

P = ParamSpec("P")
T = TypeVar("T")


def intended_transfers(function: Callable[P, T]) -> Callable[P, T]:
    """A function that moves numbers between host and device on purpose, under any `jax.transfer_guard`.

    The guard looks for transfers that nobody meant. What measures, averages and prints means its own.
    """

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        with jax.transfer_guard("allow"):
            return function(*args, **kwargs)

    return guarded


def numbers_of(argument: str, values: Any) -> np.ndarray:
    """`values` in double precision, whatever real dtype they have.

    Raises:
        FkdiffError: They are no array of real numbers.
    """
    try:
        found = np.asarray(values)
        if found.dtype.kind == "c":
            raise TypeError
        return found.astype(np.float64)
    except (TypeError, ValueError):
        raise FkdiffError(
            f"{argument} is a {type(values).__name__} and must be one array of real numbers; of a tree pass one leaf."
        ) from None


def rows_of(argument: str, values: Any) -> np.ndarray:
    """A sample as (n, d): events of any shape are flattened."""
    found = numbers_of(argument, values)
    if found.ndim < 1:
        raise FkdiffError(f"{argument} is one number; pass draws along a leading axis.")
    return found.reshape(len(found), -1)
