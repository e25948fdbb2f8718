"""The host boundary: where a status code becomes an exception, and a doubtful result a warning."""

from __future__ import annotations

import warnings
from typing import Protocol, TypeVar

from fkdiff.core.arguments import given
from fkdiff.core.memory import enough_memory
from fkdiff.errors import FkdiffError, FkdiffWarning


class Checkable(Protocol):
    """A result that can say what is wrong with it."""

    def problems(self) -> tuple[list[str], list[str]]:
        """Sentences that forbid using the result, and sentences that ask for a second look."""
        ...


R = TypeVar("R", bound=Checkable)


def check(result: R) -> R:
    """Returns `result` if it may be used; raises with a sentence if not; warns where it is doubtful.

    Args:
        result: What a driver returned (`run_smc`, `replicate`, `integrate`, ...), outside `jit`.

    Returns:
        The same object, so that `out = fk.check(fk.run_smc(...))` reads as one line.

    Raises:
        FkdiffError: The run failed (extinction, NaN, +inf, exponents that cannot be normalised), or the device's memory
            did not hold it.

    Warns:
        FkdiffWarning: Weights collapsed, a mode starved (R > 2), or few ancestors survive. Each sentence
            names the entry of `fkdiff/SYMPTOMS.md` that lists causes and fixes.
    """
    with given(), enough_memory():  # what was dispatched fails where it is first looked at
        errors, doubts = result.problems()
    if errors:
        raise FkdiffError(errors[0])
    for sentence in doubts:
        warnings.warn(sentence, FkdiffWarning, stacklevel=2)
    return result
