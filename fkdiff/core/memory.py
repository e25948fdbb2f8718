"""Out of memory, as a sentence that says what to make smaller."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import jax

from fkdiff.errors import FkdiffError


@contextlib.contextmanager
def enough_memory(what: str = "the run") -> Iterator[None]:
    """Turns the compiler's and the allocator's exhaustion into one sentence; other errors pass."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        found = re.search(r"allocat\w* (\d+) bytes", str(error))
        size = f" for {int(found[1]) / 2**30:,.1f} GiB at once" if found else ""
        raise FkdiffError(
            f"{what} asked{size} and the device has no such memory; pass chunk=256 (particles per model call) if the "
            "model's own arrays are what is large, or use fewer particles, several populations by fkdiff.replicate."
        ) from None
