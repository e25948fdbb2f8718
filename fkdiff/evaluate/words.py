"""How much of a text is made of words that a corpus has: a reward in nats for ONE text of tokens."""

from __future__ import annotations

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array
from fkdiff.errors import require
from fkdiff.train.text import VOCABULARY, encode, pydoc_corpus

_LETTER = np.array([character.isalpha() for character in VOCABULARY] + [False])  # the mask is no letter
_BASE = np.uint32(1_000_003)


class WordShare(eqx.Module):
    """log((known + ½)/(words + 1)): the log of the share of words that are on a list, in nats.

    A word is a run of letters, as it is spelt. Runs that touch either end of the text are not counted, since
    they may go on outside it. The halves are Jeffreys' prior: a text without words scores log ½, and each known
    word brings the score closer to 0. Words are compared by a 32-bit hash, so one unknown word in about
    2³²/len(list) passes for a known one.

    Attributes:
        hashes: Of the words on the list, sorted, uint32.

    Gradients: none, for tokens have none.
    """

    hashes: Array

    def __call__(self, tokens: Array) -> Array:
        """The score of ONE text: tokens (L,) to nats."""
        letter = jnp.asarray(_LETTER)[tokens]

        def step(carry, inputs):
            value, inside, whole, known, words = carry
            token, is_letter = inputs
            ended = inside & ~is_letter & whole
            place = jnp.minimum(jnp.searchsorted(self.hashes, value), self.hashes.shape[0] - 1)
            found = ended & (self.hashes[place] == value)
            # A word is whole once something that is no letter has been seen before it.
            whole = whole | ~is_letter
            value = jnp.where(is_letter, value * _BASE + token.astype(jnp.uint32) + jnp.uint32(1), jnp.uint32(0))
            counts = known + found.astype(jnp.int32), words + ended.astype(jnp.int32)
            return (value, is_letter, whole, *counts), None

        zero = jnp.zeros((), jnp.int32)
        start = (jnp.zeros((), jnp.uint32), jnp.asarray(False), jnp.asarray(False), zero, zero)
        (_, _, _, known, words), _ = jax.lax.scan(step, start, (tokens, letter))
        real = jnp.result_type(float)
        return jnp.log(known.astype(real) + 0.5) - jnp.log(words.astype(real) + 1)

    def score(self, text: str) -> float:
        """The same of a string."""
        return float(self(jnp.asarray(encode(text))))


def word_list(text: str, least: int = 2) -> tuple[str, ...]:
    """The different words of a text, sorted: runs of letters that occur at least `least` times."""
    words, counts = np.unique(re.findall("[A-Za-z]+", text), return_counts=True)
    return tuple(str(word) for word in words[counts >= least])


def word_share(words: tuple[str, ...]) -> WordShare:
    """The reward of a list of words, each made of letters."""
    require(bool(words), "words is empty; pass at least one word, such as word_list(text) gives.")
    odd = next((word for word in words if not re.fullmatch("[A-Za-z]+", word)), None)
    require(odd is None, f"words holds {odd!r}, which is not a run of letters; leave it out.")
    hashes = np.zeros(len(words), np.uint32)
    with np.errstate(over="ignore"):
        for row, word in enumerate(words):
            for token in encode(word):
                hashes[row] = hashes[row] * _BASE + np.uint32(token + 1)
    return WordShare(jnp.asarray(np.unique(hashes)))


def pydoc_word_share() -> WordShare:
    """The reward of the words that occur twice or more in the reference part of `pydoc_corpus`."""
    return word_share(word_list(pydoc_corpus().parts["reference"]))


# Rewards of text that a config may name.
TEXT_REWARDS = {"words": pydoc_word_share}
