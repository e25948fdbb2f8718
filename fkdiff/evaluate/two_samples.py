"""Can two samples be told apart, and where do they fail to overlap?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from fkdiff.errors import require


class Overlap(NamedTuple):
    """Shares of one sample that lie on the manifold of the other.

    Attributes:
        precision: Of the draws, within reach of real examples: fidelity.
        recall: Of the real examples, within reach of draws: coverage.
    """

    precision: float
    recall: float


def c2st(first, second, seed: int = 0, trees: int = 200) -> float:
    """Classifier two-sample test: the share that a random forest tells apart, on rows it has not seen; ½ is chance.

    Out of the bag: every row is judged by the trees that were grown without it. Classes weigh alike, so that samples of
    different sizes may be compared.

    Args:
        first: Shape (n, ...).
        second: Shape (m, ...).
        seed: Of the forest.
        trees: How many.

    References: Lopez-Paz and Oquab (2017), section 3; Breiman (2001) for out-of-bag estimates.
    """
    from sklearn.ensemble import RandomForestClassifier

    first, second = _rows(first), _rows(second)
    x, y = np.concatenate([first, second]), np.repeat([0, 1], [len(first), len(second)])
    forest = RandomForestClassifier(
        trees, oob_score=True, random_state=seed, class_weight="balanced", min_samples_leaf=3
    )
    votes = forest.fit(x, y).oob_decision_function_
    right = np.where(y == 1, votes[:, 1] > 0.5, votes[:, 1] < 0.5) + 0.5 * (votes[:, 1] == 0.5)
    return float(np.mean([right[y == side].mean() for side in (0, 1)]))


def overlap(draws, real, neighbours: int = 3) -> Overlap:
    """Precision and recall by nearest neighbours: a point is within reach of a sample if it lies closer to one of its
    members than that member's k-th neighbour does.

    Args:
        draws: Shape (n, ...).
        real: Shape (m, ...).
        neighbours: k.

    Returns:
        Two finite samples of one law do not reach 1: compare with a second real sample of the same size.

    Cost: O((n + m)² d). References: Kynkäänniemi et al. (2019), eqs. 1 to 3.
    """
    draws, real = _rows(draws), _rows(real)
    require(
        min(len(draws), len(real)) > neighbours,
        f"neighbours={neighbours} asks for more than that many draws and examples, and there are {len(draws)} and "
        f"{len(real)}.",
    )
    between = cdist(draws, real)

    def reach(sample: np.ndarray) -> np.ndarray:
        return np.sort(cdist(sample, sample), axis=1)[:, neighbours]

    precision = (between <= reach(real)[None, :]).any(axis=1).mean()
    recall = (reach(draws)[None, :] >= between.T).any(axis=1).mean()
    return Overlap(float(precision), float(recall))


def _rows(sample) -> np.ndarray:
    rows = np.asarray(sample, np.float64)
    return rows.reshape(len(rows), -1)
