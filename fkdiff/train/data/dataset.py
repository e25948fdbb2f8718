"""What every source of data gives: examples, and what each is an example of."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

SPLIT_SEED = 20_240_229  # of every permutation that parts a data set; changing it changes every published number


class Dataset(NamedTuple):
    """Examples and their conditions.

    Attributes:
        examples: Shape (n, ...), float32, about zero mean and unit variance; text is tokens, (n, L) int32. May be a
            `Stored` where they are more than memory should hold.
        labels: Classes, (n,) int32 in [0, num_classes), all 0 where there are none; or vectors (n, k) float32.
    """

    examples: Any
    labels: np.ndarray


def unlabelled(examples: np.ndarray) -> Dataset:
    """A data set without conditions."""
    return Dataset(examples, np.zeros(len(examples), np.int32))


def shuffled(count: int) -> np.ndarray:
    """The one permutation of `count` rows that parts are cut from."""
    return np.random.Generator(np.random.PCG64(SPLIT_SEED)).permutation(count)


def part_of(count: int, part: str, share: float) -> np.ndarray:
    """Rows of "train", or of the `share` that is "held_out", in increasing order."""
    order, aside = shuffled(count), round(count * share)
    return np.sort(order[:aside] if part == "held_out" else order[aside:])
