"""The word reward against regular expressions."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fkdiff.core import FkdiffError
from fkdiff.evaluate import pydoc_word_share, word_list, word_share
from fkdiff.train.text import MASK, encode, pydoc_corpus, windows

WORDS = ("an", "Class", "is", "object", "the", "z" * 30)


def plainly(text, words):
    """The definition: runs of letters with something that is no letter on both sides."""
    found = [m.group() for m in re.finditer("[A-Za-z]+", text) if m.start() > 0 and m.end() < len(text)]
    return np.log((sum(word in words for word in found) + 0.5) / (len(found) + 1))


@pytest.mark.parametrize(
    "text",
    [
        " the cat is an object ",
        "the cat is the",
        " the_Class class Class2an an",
        "!!! ...",
        "theis",
        " " + "z" * 30 + " zz ",
        "\nis\n\nis-is ",
    ],
)
def test_the_score_is_the_definition(text):
    assert abs(word_share(WORDS).score(text) - plainly(text, WORDS)) <= 1e-6


def test_real_text_scores_above_shuffled_text_and_the_batch_is_the_loop():
    text = pydoc_corpus().parts["held_out"]
    words = word_list(pydoc_corpus().parts["reference"])
    reward = pydoc_word_share()
    tokens = windows(text, 64, 64)[:200]
    scores = np.asarray(jax.jit(jax.vmap(reward))(jnp.asarray(tokens)))
    wanted = [plainly(text[64 * i : 64 * i + 64], words) for i in range(200)]
    np.testing.assert_allclose(scores, wanted, atol=1e-5)
    shuffled = np.random.default_rng(0).permuted(tokens, axis=1)
    worse = np.asarray(jax.jit(jax.vmap(reward))(jnp.asarray(shuffled)))
    assert scores.mean() >= worse.mean() + 1


def test_a_mask_ends_a_word():
    tokens = encode(" the object ")
    tokens[7] = MASK
    # "the" is known, "ob" and "ect" on either side of the mask are not.
    assert abs(float(word_share(WORDS)(jnp.asarray(tokens))) - np.log(1.5 / 4)) <= 1e-6


def test_lists_hold_words():
    assert word_list("a b a ab. ab, c") == ("a", "ab")
    assert word_list("a b a", 1) == ("a", "b")
    with pytest.raises(FkdiffError, match="words is empty"):
        word_share(())
    with pytest.raises(FkdiffError, match="'a b', which is not a run of letters"):
        word_share(("a b",))
