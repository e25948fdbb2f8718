"""Errors are one sentence: the argument, what was expected, what came, and the next action.

Free of JAX, so that the command line can refuse a bad config before anything heavy is imported.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


class FkdiffError(ValueError):
    """A wrong argument, or a run that failed."""


class FkdiffWarning(UserWarning):
    """A result that stands but should not be trusted without a second look."""


def require(condition: bool, sentence: str) -> None:
    """Raises `FkdiffError(sentence)` unless `condition` holds."""
    if not condition:
        raise FkdiffError(sentence)


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """'; did you mean "x"?' for the nearest option, or nothing."""
    near = difflib.get_close_matches(str(name), list(options), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


def choose(argument: str, name: str, options: dict[str, T]) -> T:
    """Looks `name` up in a closed registry, or says what the names are."""
    if isinstance(name, str) and name in options:
        return options[name]
    listed = ", ".join(options)
    raise FkdiffError(f'{argument}="{name}" is not one of {listed}{did_you_mean(name, options)}')


def deprecated(old: str, new: str, stacklevel: int = 3) -> None:
    """Warns that a name has changed; the old one is accepted for one release."""
    warnings.warn(f"{old} is now {new}; the old name goes with the next release.", FkdiffWarning, stacklevel=stacklevel)
