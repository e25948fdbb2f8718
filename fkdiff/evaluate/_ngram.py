"""A character n-gram model: judges text by another family's counts, on text that the model has not seen."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fkdiff.errors import require
from fkdiff.train.text import VOCABULARY, encode, pydoc_corpus

MAX_ORDER = 9  # 96⁹ is the last power that fits 63 bits


class NGram(NamedTuple):
    """Interpolated n-gram probabilities with the weights of Witten and Bell.

    p_m(c | h) = (count(hc) + T(h) p_{m−1}(c | h'))/(count(h ·) + T(h)), where h holds m − 1 characters, h' drops the
    first of them, T(h) is how many different characters followed h, and p_0 = 1/V. Contexts never seen pass to the
    shorter one. Every character has a positive probability.

    Attributes:
        order: n, the longest run of characters that is counted.
        grams: For every m ≤ n, the codes of the runs of m characters that occur, sorted.
        counts: How often each occurs.
        contexts: For every m ≤ n, the codes of the runs of m − 1 characters that have a successor, sorted.
        totals: How often each has one.
        kinds: How many different ones, T.

    References:
        Witten and Bell (1991), method C; Chen and Goodman (1999), section 2.4.
    """

    order: int
    grams: tuple[np.ndarray, ...]
    counts: tuple[np.ndarray, ...]
    contexts: tuple[np.ndarray, ...]
    totals: tuple[np.ndarray, ...]
    kinds: tuple[np.ndarray, ...]

    def log_probs(self, text: str) -> np.ndarray:
        """log p(c_i | the n − 1 characters before it), nats, (len(text),); the first characters have fewer."""
        tokens = encode(text).astype(np.int64)
        size = len(VOCABULARY)
        probability = np.full(len(tokens), 1 / size)
        for m in range(1, self.order + 1):
            codes = _runs(tokens, m)
            total = _look_up(self.contexts[m - 1], self.totals[m - 1], codes // size)
            kinds = _look_up(self.contexts[m - 1], self.kinds[m - 1], codes // size)
            count = _look_up(self.grams[m - 1], self.counts[m - 1], codes)
            shorter = probability[m - 1 :]
            known = total > 0
            mixed = (count + kinds * shorter) / np.where(known, total + kinds, 1)
            probability[m - 1 :] = np.where(known, mixed, shorter)
        return np.log(probability)

    def negative_log_likelihood(self, text: str) -> float:
        """−log p(text) in nats per character.

        Raises:
            FkdiffError: The text is empty, or holds characters that the vocabulary lacks.
        """
        require(bool(text), "text is empty and has no likelihood; pass at least one character.")
        return float(-self.log_probs(text).mean())


def ngram(text: str, order: int = 5) -> NGram:
    """Counts the runs of up to `order` characters of a text.

    Args:
        text: In the vocabulary of `fkdiff.train.text`.
        order: n, from 1 (single characters) to 9.

    Cost: one sort of the text for each order.
    """
    require(1 <= order <= MAX_ORDER, f"order={order} must be from 1 to {MAX_ORDER}; 5 is usual.")
    require(len(text) >= order, f"text has {len(text)} characters and order={order} needs at least as many.")
    tokens, size = encode(text).astype(np.int64), len(VOCABULARY)
    tables: list[list[np.ndarray]] = [[], [], [], [], []]
    for m in range(1, order + 1):
        grams, counts = np.unique(_runs(tokens, m), return_counts=True)
        contexts, first, kinds = np.unique(grams // size, return_index=True, return_counts=True)
        totals = np.add.reduceat(counts, first)
        for table, found in zip(tables, (grams, counts, contexts, totals, kinds), strict=True):
            table.append(found)
    return NGram(order, *map(tuple, tables))


def pydoc_ngram(order: int = 5) -> NGram:
    """The n-gram model of the reference part of `pydoc_corpus`, which no trained model has seen."""
    return ngram(pydoc_corpus().parts["reference"], order)


def _runs(tokens: np.ndarray, m: int) -> np.ndarray:
    """Codes of the runs of m tokens, the last token in the lowest digit; (max(n − m + 1, 0),)."""
    number = max(len(tokens) - m + 1, 0)
    codes = np.zeros(number, np.int64)
    for i in range(m):
        codes = codes * len(VOCABULARY) + tokens[i : i + number]
    return codes


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """values of `wanted` among sorted keys, 0 where it is not one."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)
