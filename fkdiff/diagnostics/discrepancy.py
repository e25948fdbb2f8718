"""Distances between samples. None is zero for two finite samples of one law: see `floors`.

All take `first` (n, d), which may carry weights, and `second` (m, d), and return one number of the host. Expectations
over pairs run over blocks of rows, so that memory stays below that of `BLOCK` rows of distances.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from fkdiff.core.host import intended_transfers, numbers_of
from fkdiff.errors import choose, require

BLOCK = 2048


@intended_transfers
def energy_distance(first, second, weights=None) -> float:
    """√(2E|X − Y| − E|X − X'| − E|Y − Y'|) ≥ 0: zero in the limit only for equal laws.

    The V-statistic: pairs of a draw with itself count, which makes it a true distance of the two samples and never
    negative. In the unit of the data; needs first moments only.

    Args:
        first: Shape (n, d).
        second: Shape (m, d).
        weights: Of the rows of `first`, (n,), non-negative; equal by default.

    Cost: O((n + m)² d) time. References: Székely and Rizzo (2013), eq. 5, its square root.
    """
    return float(np.sqrt(max(_gap(lambda a, b: -cdist(a, b), first, second, weights), 0.0)))


@intended_transfers
def mmd(first, second, weights=None, scale: float | None = None, kernel: str = "gaussian") -> float:
    """Maximum mean discrepancy, √(E k(X, X') + E k(Y, Y') − 2E k(X, Y)), the V-statistic.

    Args:
        first: Shape (n, d).
        second: Shape (m, d).
        weights: Of the rows of `first`; equal by default.
        scale: Length ℓ of the kernel; by default the median distance within `second`, which must be the reference for
            values to compare.
        kernel: "gaussian", exp(−r²/2ℓ²), or "laplace", exp(−r/ℓ).

    Cost: O((n + m)² d) time. References: Gretton et al. (2012), eq. 5.
    """
    kernels: dict[str, Callable] = {
        "gaussian": lambda r: np.exp(-0.5 * r**2),
        "laplace": lambda r: np.exp(-r),
    }
    shape = choose("kernel", kernel, kernels)
    length = median_distance(second) if scale is None else float(scale)
    require(length > 0, f"scale={length} must be positive: a length in the unit of the data.")
    return float(np.sqrt(max(_gap(lambda a, b: shape(cdist(a, b) / length), first, second, weights), 0.0)))


@intended_transfers
def median_distance(draws) -> float:
    """The median distance between two of (up to 1,000) draws: a length for `mmd`."""
    draws = _rows("second", draws)[:1000]
    distances = cdist(draws, draws)[np.triu_indices(len(draws), 1)]
    return float(np.median(distances))


@intended_transfers
def sliced_wasserstein(first, second, weights=None, num_directions: int = 256, order: int = 2, seed: int = 0) -> float:
    """(mean over random directions of W_p^p of the projections)^{1/p}; exact in one dimension.

    Args:
        first: Shape (n, d).
        second: Shape (m, d); n and m may differ.
        weights: Of the rows of `first`; equal by default.
        num_directions: Uniform on the sphere; the same ones for the same seed and d, so that values compare.
        order: p, 1 or 2.
        seed: Of the directions.

    Cost: O(num_directions (n + m)(d + log(n + m))). References: Bonneel, Rabin, Peyré and Pfister (2015), section 3.
    """
    first, second, shares = _samples(first, second, weights)
    _order(order)
    directions = np.random.default_rng(seed).normal(size=(first.shape[1], num_directions))
    directions /= np.linalg.norm(directions, axis=0)
    if first.shape[1] == 1:
        directions = np.ones((1, 1))
    equal = np.full(len(second), 1 / len(second))
    costs = [_line(first @ u, shares, second @ u, equal, order) for u in directions.T]
    return float(np.mean(costs) ** (1 / order))


@intended_transfers
def wasserstein(first, second, order: int = 2, limit: int = 5000) -> float:
    """Exact W_p between two samples of equal size and weight: the cheapest of all pairings.

    Args:
        first: Shape (n, d). For weighted draws take `fkdiff.smc.resample` first.
        second: Shape (n, d), as many.
        order: p, 1 or 2.
        limit: The largest n; the assignment costs O(n³) time, about 10 s at 5,000.

    References: the assignment problem as solved by Crouse (2016), of SciPy.
    """
    first, second, _ = _samples(first, second, None)
    _order(order)
    require(
        len(first) == len(second) <= limit,
        f"first has {len(first)} rows and second {len(second)}; exact W needs equally many, at most limit={limit}; "
        "take as many of both, or use sliced_wasserstein.",
    )
    cost = cdist(first, second) ** order
    return float(cost[linear_sum_assignment(cost)].mean() ** (1 / order))


def _line(x, x_shares, y, y_shares, order: int) -> float:
    """W_p^p of two weighted samples on the line: quantile functions compared between all their jumps."""
    i, j = np.argsort(x), np.argsort(y)
    rises_x, rises_y = np.cumsum(x_shares[i]), np.cumsum(y_shares[j])
    rises_x, rises_y = rises_x / rises_x[-1], rises_y / rises_y[-1]
    levels = np.union1d(rises_x, rises_y)
    at_x = x[i][np.minimum(np.searchsorted(rises_x, levels), len(x) - 1)]
    at_y = y[j][np.minimum(np.searchsorted(rises_y, levels), len(y) - 1)]
    return float(np.sum(np.diff(levels, prepend=0.0) * np.abs(at_x - at_y) ** order))


def _gap(kernel: Callable, first, second, weights) -> float:
    """E k(X, X') + E k(Y, Y') − 2E k(X, Y) over all pairs."""
    first, second, a = _samples(first, second, weights)
    b = np.full(len(second), 1 / len(second))
    return (
        _mean(kernel, first, a, first, a) + _mean(kernel, second, b, second, b) - 2 * _mean(kernel, first, a, second, b)
    )


def _mean(kernel: Callable, x, x_shares, y, y_shares) -> float:
    blocks = range(0, len(x), BLOCK)
    return float(sum(x_shares[k : k + BLOCK] @ kernel(x[k : k + BLOCK], y) @ y_shares for k in blocks))


def _rows(name: str, draws) -> np.ndarray:
    """A sample as (n, d) in double precision; events of any shape are flattened."""
    draws = numbers_of(name, draws)
    require(
        draws.ndim >= 1 and len(draws) >= 2,
        f"{name} has shape {draws.shape}; pass at least two draws along the leading axis.",
    )
    require(
        bool(np.isfinite(draws).all()), f"{name} holds values that are not finite; a distance to them says nothing."
    )
    return draws.reshape(len(draws), -1)


def _samples(first, second, weights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both samples as rows, and the normalised weights of the first."""
    first, second = _rows("first", first), _rows("second", second)
    require(
        first.shape[1] == second.shape[1],
        f"first has draws of {first.shape[1]} numbers and second of {second.shape[1]}; compare draws of one space.",
    )
    shares = np.ones(len(first)) if weights is None else numbers_of("weights", weights)
    usable = shares.shape == (len(first),) and np.isfinite(shares).all() and np.all(shares >= 0) and shares.sum() > 0
    require(
        bool(usable),
        f"weights have shape {shares.shape} for {len(first)} draws; pass one non-negative number for each, not all "
        "zero, such as jax.nn.softmax(out.log_weights).",
    )
    return first, second, shares / shares.sum()


def _order(order: int) -> None:
    require(order in (1, 2), f"order={order} must be 1 or 2.")
