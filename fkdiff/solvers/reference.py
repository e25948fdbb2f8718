"""The Gaussian N(m, ς² I) that stands for the data where noise hides everything else."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from fkdiff.core import Array, FkdiffError, Scalar, concrete, require
from fkdiff.paths import Path


def as_reference(reference: Any) -> tuple[Array, Array]:
    """(m, ς²) as leaves.

    Raises:
        FkdiffError: Not a pair, or the variance is negative.
    """
    try:
        mean, variance = reference
    except (TypeError, ValueError):
        raise FkdiffError(
            f"reference={reference!r} must be a pair (mean, variance) of the data; the default is (0.0, 1.0)."
        ) from None
    dtype = jnp.result_type(float)
    mean, variance = jnp.asarray(mean, dtype), jnp.asarray(variance, dtype)
    known = concrete(variance)
    require(
        known is None or bool((known >= 0).all()),
        f"reference has variance {known}, which must not be negative; pass (mean, variance) of the data.",
    )
    return mean, variance


def spread(path: Path, t: Scalar, variance: Array) -> Array:
    """v = α²ς² + σ², the variance of x_t for reference data."""
    return path.alpha(t) ** 2 * variance + path.sigma(t) ** 2
