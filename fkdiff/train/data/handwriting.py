"""scikit-learn's digits, in three disjoint parts."""

from __future__ import annotations

from typing import Any

import numpy as np

from fkdiff.core import choose
from fkdiff.train.config.data import DIGIT_MEAN, DIGIT_SCALE
from fkdiff.train.data.dataset import SPLIT_SEED, Dataset

SPLITS = {"model": (0.0, 0.6), "reward": (0.6, 0.8), "judge": (0.8, 1.0)}


def digits(split: str) -> Dataset:
    """One of three disjoint, class-stratified parts of the 1797 digits of 8 × 8 pixels.

    Args:
        split: "model" (60 %, trains the generative model), "reward" (20 %, trains reward models and measures
            held-out losses) or "judge" (20 %, judges samples). The parts never change.

    Returns:
        Examples of shape (n, 64), standardised as (grey − 4.9)/6 with grey in 0 … 16; `pixels` undoes it.

    References:
        Alpaydin and Kaynak (1998), Optical recognition of handwritten digits, UCI.
    """
    from sklearn.datasets import load_digits

    first, last = choose("split", split, SPLITS)
    raw = load_digits()
    grey, labels = np.asarray(raw.data), np.asarray(raw.target)  # type: ignore[union-attr]
    rng = np.random.Generator(np.random.PCG64(SPLIT_SEED))
    chosen = []
    for digit in range(10):
        members = rng.permutation(np.flatnonzero(labels == digit))
        chosen.append(members[round(first * members.size) : round(last * members.size)])
    rows = np.sort(np.concatenate(chosen))
    return Dataset(((grey[rows] - DIGIT_MEAN) / DIGIT_SCALE).astype(np.float32), labels[rows].astype(np.int32))


def pixels(examples: Any) -> np.ndarray:
    """Digits as grey levels in [0, 1], shape (n, 8, 8), clipped."""
    grey = np.asarray(examples, np.float32).reshape(-1, 8, 8) * DIGIT_SCALE + DIGIT_MEAN
    return np.clip(grey / 16, 0, 1)


def load(section: Any, part: str, seed: int, root: Any) -> Dataset:
    """The model's part to train on; the rewards' part is held out."""
    return digits("model" if part == "train" else "reward")
