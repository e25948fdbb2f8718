"""What a character model must beat: the frequencies of single characters, and of pairs."""

from __future__ import annotations

from typing import Any

import numpy as np

from fkdiff.train.text import VOCABULARY, encode, pydoc_corpus, windows

_PRIOR = 5.0  # characters' worth of the shorter context that every context starts with


def text_baselines(config: Any) -> dict[str, float]:
    """Held-out nats per character of a unigram and a bigram model; {} where data are not text."""
    if not config.is_text:
        return {}
    parts, length = pydoc_corpus().parts, config.data.length
    return count_baselines(encode(parts["model"]), windows(parts["held_out"], length, length), len(VOCABULARY))


def count_baselines(seen: np.ndarray, unseen: np.ndarray, size: int) -> dict[str, float]:
    """Nats per token of two models that count, on windows whose first token has no context.

    p(b) = (count(b) + 1)/(n + V) and p(b | a) = (count(ab) + 5 p(b))/(count(a ·) + 5).

    Args:
        seen: Tokens to count, (n,).
        unseen: Windows to predict, (m, L).
        size: V.

    Returns:
        {"unigram": ..., "bigram": ...}.
    """
    single = (np.bincount(seen, minlength=size) + 1) / (len(seen) + size)
    pairs = np.bincount(seen[:-1] * size + seen[1:], minlength=size * size).reshape(size, size)
    double = (pairs + _PRIOR * single) / (pairs.sum(1, keepdims=True) + _PRIOR)
    alone = -np.log(single[unseen])
    beside = -np.log(double[unseen[:, :-1], unseen[:, 1:]])
    return {"unigram": float(alone.mean()), "bigram": float((alone[:, 0].sum() + beside.sum()) / unseen.size)}
