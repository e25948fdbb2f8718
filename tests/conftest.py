"""Every test runs with strict promotion of dtypes and ranks, and with warnings as errors."""

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True)
def _precision(request):
    """Double precision for tests marked `x64`, and only for them."""
    with jax.enable_x64(request.node.get_closest_marker("x64") is not None):
        yield
