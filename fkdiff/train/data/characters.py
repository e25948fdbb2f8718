"""Windows of Python's own language reference."""

from __future__ import annotations

from typing import Any

from fkdiff.train.data.dataset import Dataset, unlabelled
from fkdiff.train.text import pydoc_corpus, windows

_OFFSETS = 8  # windows of training text overlap, so that a character is seen at this many places


def load(section: Any, part: str, seed: int, root: Any) -> Dataset:
    """Overlapping windows of the model's topics to train on; windows of other topics are held out."""
    length = section.length
    if part == "train":
        return unlabelled(windows(pydoc_corpus().parts["model"], length, max(1, length // _OFFSETS)))
    return unlabelled(windows(pydoc_corpus().parts["held_out"], length, length))
