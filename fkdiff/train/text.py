"""Characters as tokens, and a corpus that comes with Python: the topics of its own language reference."""

from __future__ import annotations

import functools
import hashlib
import re
from typing import NamedTuple

import numpy as np

from fkdiff.core import require

# Printable ASCII and the end of a line; the mask is one more, after the last.
VOCABULARY = "\n" + "".join(map(chr, range(32, 127)))
MASK = len(VOCABULARY)
_CODES = {character: code for code, character in enumerate(VOCABULARY)}

# What typography adds to plain letters is undone; whatever else is left is dropped.
_PLAIN = str.maketrans({"“": '"', "”": '"', "’": "'", "‘": "'", "–": "-", "—": "-", "…": "..."})
_STRANGE = re.compile(f"[^{re.escape(VOCABULARY)}]")

# The model learns from one part; n-gram models that judge it learn from another; losses are measured on the third.
SHARES = {"model": 0.6, "reference": 0.3, "held_out": 0.1}


def encode(text: str) -> np.ndarray:
    """Tokens of a text, int32 in [0, V).

    Raises:
        FkdiffError: The text holds characters that the vocabulary lacks; `plain` replaces or drops them.
    """
    strange = sorted(set(_STRANGE.findall(text)))
    require(
        not strange,
        f"text holds {', '.join(map(ascii, strange[:8]))}, which the vocabulary lacks; pass it through "
        "fkdiff.train.text.plain first.",
    )
    return np.array([_CODES[character] for character in text], np.int32)


def decode(tokens: np.ndarray, mask: str = "_") -> str:
    """The text of tokens, with `mask` wherever a token is still masked.

    Raises:
        FkdiffError: A token is neither in the vocabulary nor the mask.
    """
    codes = np.asarray(tokens)
    require(codes.ndim == 1, f"tokens have shape {codes.shape}; pass one text, of shape (L,).")
    require(
        bool(np.issubdtype(codes.dtype, np.integer) and ((codes >= 0) & (codes <= MASK)).all()),
        f"tokens must be whole numbers from 0 to {MASK}, the last one the mask; pass what encode or a sampler gave.",
    )
    return "".join(VOCABULARY[code] if code < MASK else mask for code in codes)


def plain(text: str) -> str:
    """The text in the vocabulary: curly quotes, dashes and dots made plain, other strangers dropped."""
    return _STRANGE.sub("", text.translate(_PLAIN))


class Corpus(NamedTuple):
    """A corpus in three disjoint parts.

    Attributes:
        parts: "model", "reference", "held_out" -> plain text.
        topics: The same -> names of the topics in it.
        sha256: Of the raw text, before anything was replaced, dropped or left out as a repetition.
        repeated: Characters left out because an earlier topic had the same paragraph.
    """

    parts: dict[str, str]
    topics: dict[str, tuple[str, ...]]
    sha256: str
    repeated: int


@functools.cache
def pydoc_corpus() -> Corpus:
    """The language reference inside Python's `pydoc_data.topics`, parted by topic.

    A paragraph that several topics share is kept in the first, so that no part holds a copy of another's text.
    Topics then go, longest first, to the part that is furthest below its share: the parts depend on the text alone.
    The text differs between versions of Python; `sha256` says which it was.
    """
    from pydoc_data.topics import topics as raw

    digest = hashlib.sha256("\0".join(f"{name}\0{raw[name]}" for name in sorted(raw)).encode()).hexdigest()
    seen: set[str] = set()
    texts, repeated = {}, 0
    for name in sorted(raw):
        kept = []
        for paragraph in plain(raw[name]).split("\n\n"):
            # Short ones, such as "Note:", belong to the language and not to a topic.
            if len(paragraph) > 40 and paragraph.strip() in seen:
                repeated += len(paragraph)
                continue
            seen.add(paragraph.strip())
            kept.append(paragraph)
        texts[name] = "\n\n".join(kept).strip("\n")
    chosen: dict[str, list[str]] = {part: [] for part in SHARES}
    sizes = dict.fromkeys(SHARES, 0)
    for name in sorted(texts, key=lambda name: (-len(texts[name]), name)):
        part = min(SHARES, key=lambda part: sizes[part] / SHARES[part])
        chosen[part].append(name)
        sizes[part] += len(texts[name])
    topics = {part: tuple(sorted(names)) for part, names in chosen.items()}
    parts = {part: "\n\n".join(texts[name] for name in names) for part, names in topics.items()}
    return Corpus(parts, topics, digest, repeated)


def windows(text: str, length: int, stride: int) -> np.ndarray:
    """Tokens of every window of `length` characters, `stride` apart, int32 of shape (n, length)."""
    tokens = encode(text)
    require(
        len(tokens) >= length, f"length={length} is longer than the text, {len(tokens)} characters; make it shorter."
    )
    return np.lib.stride_tricks.sliding_window_view(tokens, length)[::stride].copy()
