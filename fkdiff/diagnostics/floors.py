"""What a distance means: the one that exact draws of the same size have stands beside it.

A distance of 0.05 to reference draws is excellent or a failure, depending on the size of the sample. `floored` gives
both numbers: the distance of the draws to exact ones, and the distances of exact draws of the same number to them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from fkdiff.core import Key, one_key, require, whole
from fkdiff.core.host import intended_transfers


class Floored(NamedTuple):
    """A distance and its floor.

    Attributes:
        value: Between the draws and exact ones.
        floor: Mean distance between exact draws of the same number and those.
        floor_sd: Standard deviation of the latter.
    """

    value: float
    floor: float
    floor_sd: float

    @property
    def ratio(self) -> float:
        """value / floor; 1 for exact draws."""
        return self.value / self.floor

    @property
    def excess(self) -> float:
        """(value − floor) / floor_sd: deviations above what exact draws show."""
        return (self.value - self.floor) / self.floor_sd

    def __str__(self) -> str:
        return f"{self.value:.4g} (exact draws: {self.floor:.4g} ± {self.floor_sd:.2g})"


@intended_transfers
def floored(
    key: Key,
    distance: Callable[..., float],
    draws: Any,
    sample: Callable[[Key, int], Any],
    num_reference: int | None = None,
    repeats: int = 20,
    **options: Any,
) -> Floored:
    """`distance(draws, reference)` beside `distance(exact, reference)` for fresh exact draws of the same number.

        fk.diagnostics.floored(key, fk.diagnostics.energy_distance, out.particles, target.sample,
                               weights=jax.nn.softmax(out.log_weights))

    The reference is drawn once and shared, so the floor holds its noise too. Weighted draws are held against as many
    unweighted ones: the excess then includes what the weights cost.

    Args:
        key: A typed key, for exact draws.
        distance: Of this package, or any `distance(first, second) -> float`.
        draws: (n, …).
        sample: `sample(key, num_samples) -> exact draws`, a method of the `fkdiff.targets` that can be drawn.
        num_reference: Exact draws to compare with; n by default.
        repeats: Fresh exact samples for the floor, at least 2.
        **options: For `distance`; `weights` go to the first call alone.

    Raises:
        FkdiffError: An argument is wrong.

    Cost: 1 + `repeats` distances.
    """
    key, repeats = one_key(key), whole("repeats", repeats, 2, "exact samples for the floor")
    require(callable(sample), f"sample={sample!r} is not a function; pass sample(key, num_samples) -> exact draws.")
    draws = np.asarray(draws)
    size = len(draws)
    num_reference = size if num_reference is None else whole("num_reference", num_reference, 2)

    def exact(number: int, count: int) -> np.ndarray:
        return np.asarray(sample(jax.random.fold_in(key, number), count))

    weights = options.pop("weights", None)
    reference = exact(0, num_reference)
    given = {} if weights is None else {"weights": weights}
    value = distance(draws, reference, **given, **options)
    floors = np.array([distance(exact(number, size), reference, **options) for number in range(1, repeats + 1)])
    return Floored(float(value), float(floors.mean()), float(floors.std(ddof=1)))
