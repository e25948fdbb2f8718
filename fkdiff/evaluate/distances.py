"""Distances between samples."""

from __future__ import annotations

import numpy as np

from fkdiff.core.host import intended_transfers, numbers_of
from fkdiff.errors import require


@intended_transfers
def frechet(first, second, weights=None) -> float:
    """Fréchet distance between Gaussians fitted to two sets of feature vectors, |Δm|² + tr(C₁ + C₂ − 2(C₁C₂)^½).

    Args:
        first: Shape (n, d).
        second: Shape (m, d).
        weights: Of the rows of `first`, (n,), non-negative; equal by default.

    Returns:
        The squared distance, in squared units of the features. Two finite samples of one law are not at 0:
        compare with what a second real sample of the same size gives.

    References:
        Heusel et al. (2017), eq. 6, in features of one's own choice.
    """
    first, second = numbers_of("first", first), numbers_of("second", second)
    require(
        first.ndim == 2 and second.ndim == 2 and first.shape[1] == second.shape[1] and min(len(first), len(second)) > 1,
        f"first and second have shapes {first.shape} and {second.shape}; pass (n, d) and (m, d) with n, m > 1.",
    )
    shares = np.full(len(first), 1 / len(first)) if weights is None else numbers_of("weights", weights)
    shares = shares / shares.sum()
    gap = shares @ first - second.mean(axis=0)
    one, two = np.atleast_2d(np.cov(first.T, aweights=shares)), np.atleast_2d(np.cov(second.T))
    # tr (C₁C₂)^½ by the symmetric C₁^½ C₂ C₁^½, whose eigenvalues rounding cannot turn complex.
    values, vectors = np.linalg.eigh(one)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ two @ root), 0)).sum()
    return float(gap @ gap + np.trace(one + two) - 2 * cross)
