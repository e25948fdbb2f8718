"""Every test runs with strict promotion of dtypes and ranks, and with warnings as errors."""

import gc
import os
from pathlib import Path

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True)
def _precision(request):
    """Double precision for tests marked `x64`, and only for them."""
    with jax.enable_x64(request.node.get_closest_marker("x64") is not None):
        yield


@pytest.fixture(scope="module", autouse=True)
def _memory():
    """Compiled programs pile up; past 3 GB they are forgotten between modules."""
    yield
    pages = Path("/proc/self/statm")
    if pages.exists() and int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") > 3e9:
        jax.clear_caches()
        gc.collect()
