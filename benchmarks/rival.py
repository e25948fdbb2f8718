"""Comparisons with other libraries in one process: interleaved pairs, minimal CPU times, their ratio.

The rivals are extras: `pip install fkdiff[benchmarks]`.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from types import ModuleType

import jax


def library(name: str) -> ModuleType:
    """The rival, or one sentence that says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        sys.exit(f"{name} is not installed and this benchmark compares with it: pip install 'fkdiff[benchmarks]'")


def cpu_seconds(call: Callable[[], object]) -> float:
    """CPU time of one call, of all threads."""
    start = time.process_time()
    jax.block_until_ready(call())
    return time.process_time() - start


def paired(ours: Callable[[], object], theirs: Callable[[], object], pairs: int) -> tuple[float, float]:
    """(ours, theirs): minimal CPU seconds over interleaved pairs, after both have compiled.

    The minimum is what the machine's other business disturbs least, and interleaving gives both the same weather.
    """
    jax.block_until_ready(ours())
    jax.block_until_ready(theirs())
    times = [(cpu_seconds(ours), cpu_seconds(theirs)) for _ in range(pairs)]
    return min(t for t, _ in times), min(t for _, t in times)
