"""Can two samples be told apart, and where do they fail to overlap?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from fkdiff.core.host import intended_transfers, rows_of
from fkdiff.errors import require

FOLDS = 5  # of `c2st`


class Overlap(NamedTuple):
    """Shares of one sample that lie on the manifold of the other.

    Attributes:
        precision: Of the draws, within reach of real examples: fidelity.
        recall: Of the real examples, within reach of draws: coverage.
    """

    precision: float
    recall: float


@intended_transfers
def c2st(first, second, seed: int = 0, trees: int = 200) -> float:
    """Classifier two-sample test: the share that a random forest tells apart, on rows it has not seen; ½ is chance.

    By cross-validation in five folds, each with its share of both samples. The samples weigh alike, in the forests and
    in the share, so that those of different sizes may be compared: ½ is chance whatever their sizes.

    Args:
        first: Shape (n, ...), n at least 5.
        second: Shape (m, ...), m at least 5.
        seed: Of the folds and the forests.
        trees: How many, over all folds.

    Raises:
        FkdiffError: A sample is too small, or holds values that are not finite.

    References: Lopez-Paz and Oquab (2017), section 3; Kohavi (1995) for stratified folds.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedKFold

    first, second = _rows(first), _rows(second)
    least = min(len(first), len(second))
    require(
        least >= FOLDS, f"a sample has {least} rows and each of the {FOLDS} folds needs one of both; pass more draws."
    )
    x, y = np.concatenate([first, second]), np.repeat([0, 1], [len(first), len(second)])
    forest = RandomForestClassifier(
        max(trees // FOLDS, 1), random_state=seed, class_weight="balanced", min_samples_leaf=3
    )
    votes = np.zeros(len(y))
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(x, y):
        votes[test] = forest.fit(x[train], y[train]).predict_proba(x[test])[:, 1]
    right = np.where(y == 1, votes > 0.5, votes < 0.5) + 0.5 * (votes == 0.5)
    return float(np.mean([right[y == side].mean() for side in (0, 1)]))


@intended_transfers
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
    rows = rows_of("a sample", sample)
    require(bool(np.isfinite(rows).all()), "a sample holds values that are not finite; leave them out, and say so.")
    return rows
