"""The Gaussian N(m, ς² I) that stands for the data where noise hides everything else."""

from __future__ import annotations

from typing import Any

from fkdiff.core import Array, FkdiffError, Scalar, number
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
    action = "pass (mean, variance) of the data"
    mean = number("reference mean", mean, action=action, shape=None)
    return mean, number("reference variance", variance, 0.0, action=action, shape=None)


def spread(path: Path, t: Scalar, variance: Array) -> Array:
    """v = α²ς² + σ², the variance of x_t for reference data."""
    return path.alpha(t) ** 2 * variance + path.sigma(t) ** 2
