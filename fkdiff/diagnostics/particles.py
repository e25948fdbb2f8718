"""Which modes a weighted population holds, in which shares, and what exact draws of that number would show."""

from __future__ import annotations

from typing import Any

import numpy as np

from fkdiff.core.host import intended_transfers, numbers_of
from fkdiff.diagnostics.floors import Floored
from fkdiff.errors import require


@intended_transfers
def nearest(draws: Any, centres: Any) -> np.ndarray:
    """Index of the nearest centre of every draw, (n,): modes as Voronoi cells.

    Args:
        draws: Shape (n, d).
        centres: Shape (K, d).
    """
    draws, centres = (numbers_of(n, v) for n, v in (("draws", draws), ("centres", centres)))
    require(
        draws.ndim == centres.ndim == 2 and draws.shape[1] == centres.shape[1],
        f"draws have shape {draws.shape} and centres {centres.shape}; pass (n, d) and (K, d).",
    )
    squares = (draws**2).sum(axis=1)[:, None] - 2 * draws @ centres.T + (centres**2).sum(axis=1)
    return np.argmin(squares, axis=1)


@intended_transfers
def mode_masses(modes: Any, num_modes: int, weights: Any = None) -> np.ndarray:
    """Share of the population in each mode, (K,).

    Args:
        modes: Index of the mode of every draw, (n,), such as `nearest` gives.
        num_modes: K.
        weights: Non-negative, (n,); equal by default.
    """
    modes = np.asarray(modes)
    shares = np.ones(len(modes)) if weights is None else numbers_of("weights", weights)
    require(
        modes.ndim == 1 and modes.dtype.kind in "iu" and shares.shape == modes.shape and len(modes) > 0,
        f"modes have shape {modes.shape} and weights {shares.shape}; pass one index and one weight for every draw.",
    )
    require(
        bool(np.all((modes >= 0) & (modes < num_modes)) and np.all(shares >= 0) and shares.sum() > 0),
        f"modes must lie in [0, {num_modes}) and weights be non-negative and not all zero.",
    )
    return np.bincount(modes, weights=shares, minlength=num_modes) / shares.sum()


@intended_transfers
def mode_error(masses: Any, truth: Any, num_draws: int, seed: int = 0, repeats: int = 2000) -> Floored:
    """Total variation ½Σ|mass − truth| of mode masses, beside that of `num_draws` independent exact draws.

    The floor is simulated: multinomial counts, `repeats` times.

    Args:
        masses: Shares found, (K,).
        truth: True masses, (K,), which sum to 1.
        num_draws: Of the population, dead ones and copies included.
        seed: Of the simulated floor.
        repeats: Simulated populations.
    """
    masses, truth = numbers_of("masses", masses), numbers_of("truth", truth)
    require(
        masses.shape == truth.shape and masses.ndim == 1 and abs(truth.sum() - 1) < 1e-6,
        f"masses have shape {masses.shape} and truth {truth.shape} with sum {truth.sum():.6g}; pass equally many, and "
        "a truth that sums to 1.",
    )
    simulated = np.random.default_rng(seed).multinomial(num_draws, truth / truth.sum(), size=repeats) / num_draws
    floors = 0.5 * np.abs(simulated - truth).sum(axis=1)
    return Floored(float(0.5 * np.abs(masses - truth).sum()), float(floors.mean()), float(floors.std(ddof=1)))
