"""scikit-learn's small tables, standardised."""

from __future__ import annotations

from typing import Any

import numpy as np

from fkdiff.train.data.dataset import Dataset, part_of

_HELD_OUT = 0.2


def load(section: Any, part: str, seed: int, root: Any) -> Dataset:
    """Rows less the mean of the training rows, over their deviation; so is a condition that is a number."""
    from sklearn import datasets

    raw = getattr(datasets, f"load_{section.name}")()
    features, target = np.asarray(raw.data, np.float64), np.asarray(raw.target)
    rows, training = part_of(len(features), part, _HELD_OUT), part_of(len(features), "train", _HELD_OUT)

    def standardised(columns: np.ndarray) -> np.ndarray:
        known = columns[training]
        return ((columns[rows] - known.mean(0)) / known.std(0)).astype(np.float32)

    labels = standardised(target[:, None].astype(float)) if section.cond_length else target[rows].astype(np.int32)
    return Dataset(standardised(features), labels)
