"""The n-gram model against counts by hand, and against a recursion over dictionaries."""

import collections

import numpy as np
import pytest

from fkdiff.core import FkdiffError
from fkdiff.evaluate import ngram, pydoc_ngram
from fkdiff.train.text import VOCABULARY, pydoc_corpus

V = len(VOCABULARY)


def test_probabilities_of_abab_by_hand():
    model = ngram("ababa", 2)
    # a three times and b twice, two kinds: p(a) = (3 + 2/V)/(5 + 2). After a only b (2 of 2, one kind).
    a, b, c = (3 + 2 / V) / 7, (2 + 2 / V) / 7, (2 / V) / 7
    np.testing.assert_allclose(np.exp(model.log_probs("ab")), [a, (2 + b) / 3], rtol=1e-12)
    np.testing.assert_allclose(np.exp(model.log_probs("ba")), [b, (2 + a) / 3], rtol=1e-12)
    np.testing.assert_allclose(np.exp(model.log_probs("aa")), [a, a / 3], rtol=1e-12)
    # After c, which was never seen, the single characters decide.
    np.testing.assert_allclose(np.exp(model.log_probs("cb")), [c, b], rtol=1e-12)
    wanted = -(np.log(a) + np.log((2 + b) / 3) + np.log((2 + a) / 3)) / 3
    assert abs(model.negative_log_likelihood("aba") - wanted) <= 1e-12


def slow(text, order, history, character):
    """The definition, by recursion over dictionaries."""
    probability = 1 / V
    for m in range(1, order + 1):
        if m - 1 > len(history):
            break
        context = history[len(history) - m + 1 :]
        follow = collections.Counter(
            text[i + m - 1] for i in range(len(text) - m + 1) if text[i : i + m - 1] == context
        )
        total, kinds = follow.total(), len(follow)
        if total:
            probability = (follow[character] + kinds * probability) / (total + kinds)
    return probability


@pytest.mark.parametrize("order", [1, 3, 5])
def test_the_tables_are_the_definition(order):
    text = pydoc_corpus().parts["reference"][:1500]
    judged = "The class is\n an object, qqq, ~ and the end."
    found = ngram(text, order).log_probs(judged)
    wanted = [slow(text, order, judged[max(0, i - order + 1) : i], c) for i, c in enumerate(judged)]
    np.testing.assert_allclose(np.exp(found), wanted, rtol=1e-10)


@pytest.mark.parametrize("context", ["", "t", "the ", "qz~ "])
def test_probabilities_of_the_next_character_sum_to_one(context):
    model = ngram(pydoc_corpus().parts["reference"][:4000], 4)
    total = sum(np.exp(model.log_probs(context + character)[-1]) for character in VOCABULARY)
    assert abs(total - 1) <= 1e-12


def test_longer_context_predicts_held_out_text_better_and_shuffled_text_worse():
    text = pydoc_corpus().parts["held_out"]
    scores = [pydoc_ngram(order).negative_log_likelihood(text) for order in (1, 2, 4)]
    assert scores[0] >= scores[1] + 0.3
    assert scores[1] >= scores[2] + 0.3
    assert scores[2] <= 2.2
    shuffled = "".join(np.random.default_rng(0).permutation(list(text)))
    assert pydoc_ngram(4).negative_log_likelihood(shuffled) >= scores[0]


def test_what_cannot_be_counted_is_a_sentence():
    with pytest.raises(FkdiffError, match="order=0 must be from 1"):
        ngram("abc", 0)
    with pytest.raises(FkdiffError, match="text is empty"):
        ngram("abc", 2).negative_log_likelihood("")
    with pytest.raises(FkdiffError, match=r"'\\xdf'.*vocabulary lacks"):
        ngram("abc", 2).negative_log_likelihood("aß")
    with pytest.raises(FkdiffError, match="2 characters and order=3"):
        ngram("ab", 3)
