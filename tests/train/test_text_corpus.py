"""Text as tokens, and a corpus whose parts share no paragraph."""

import hashlib
from pydoc_data.topics import topics

import numpy as np
import pytest

from fkdiff.core import FkdiffError
from fkdiff.train.baselines import count_baselines, text_baselines
from fkdiff.train.config import parse_config
from fkdiff.train.data import data_facts, held_out, load_data
from fkdiff.train.text import MASK, SHARES, VOCABULARY, decode, encode, plain, pydoc_corpus, windows

TEXT = "data: {kind: pydoc_chars, length: 32}\npath: {kind: masked}\nmodel: {kind: transformer}\n"


def test_the_vocabulary_is_printable_ascii_and_the_end_of_a_line():
    assert len(VOCABULARY) == len(set(VOCABULARY)) == MASK == 96
    assert all(c == "\n" or (c.isascii() and c.isprintable()) for c in VOCABULARY)
    assert decode(encode(VOCABULARY)) == VOCABULARY
    assert encode("\n ~").tolist() == [0, 1, 95]
    assert decode(np.array([MASK, 1, MASK])) == "_ _"
    assert encode("").shape == (0,)


def test_unknown_characters_are_refused_by_name():
    with pytest.raises(FkdiffError, match=r"^text holds '\\t', '\\xe9', which the vocabulary lacks; pass it through"):
        encode("caf\u00e9\t\u00e9")
    for tokens in (np.array([97]), np.array([-1]), np.array([0.5])):
        with pytest.raises(FkdiffError, match="whole numbers from 0 to 96"):
            decode(tokens)
    with pytest.raises(FkdiffError, match=r"shape \(1, 2\)"):
        decode(np.array([[1, 2]]))
    assert plain("\u201ccaf\u00e9\u201d \u2014 it\u2019s\u2026") == '"caf" - it\'s...'


def test_every_topic_is_in_one_part_and_shares_are_kept():
    corpus = pydoc_corpus()
    names = [name for part in SHARES for name in corpus.topics[part]]
    assert sorted(names) == sorted(topics)
    total = sum(map(len, corpus.parts.values()))
    for part, share in SHARES.items():
        assert abs(len(corpus.parts[part]) / total - share) <= 0.02
    # All that was left out is a repetition, a stranger, or a blank at a topic's end.
    raw = sum(len(plain(text)) for text in topics.values())
    assert abs(total + corpus.repeated - raw) <= 20 * len(topics)


def test_no_part_holds_a_paragraph_of_another():
    parts = {
        part: {p.strip() for p in text.split("\n\n") if len(p) > 40} for part, text in pydoc_corpus().parts.items()
    }
    assert not parts["model"] & parts["held_out"]
    assert not parts["model"] & parts["reference"]
    assert not parts["reference"] & parts["held_out"]


def test_the_hash_is_of_the_raw_text():
    plain_text = "\0".join(f"{name}\0{topics[name]}" for name in sorted(topics))
    facts = data_facts(parse_config(TEXT))["corpus"]
    assert facts["sha256"] == hashlib.sha256(plain_text.encode()).hexdigest()
    assert facts["parts"]["held_out"]["characters"] == len(pydoc_corpus().parts["held_out"])
    assert data_facts(parse_config("data: {kind: digits}")) == {}


def test_windows_overlap_in_training_and_lie_end_to_end_elsewhere():
    config, parts = parse_config(TEXT), pydoc_corpus().parts
    seen, unseen = load_data(config).examples, held_out(config).examples
    assert seen.dtype == unseen.dtype == np.int32
    assert seen.shape == ((len(parts["model"]) - 32) // 4 + 1, 32)
    assert decode(seen[1]) == parts["model"][4:36]
    assert decode(unseen.reshape(-1)) == parts["held_out"][: unseen.size]
    assert len(parts["held_out"]) - unseen.size < 32
    with pytest.raises(FkdiffError, match="longer than the text, 3 characters"):
        windows("abc", 4, 1)


def test_baselines_by_hand():
    # aab, then the windows ab and ba, with three letters.
    found = count_baselines(np.array([0, 0, 1]), np.array([[0, 1], [1, 0]]), 3)
    a, b = 3 / 6, 2 / 6
    assert abs(found["unigram"] + (np.log(a) + np.log(b)) / 2) <= 1e-12
    wanted = np.log(a) + np.log((1 + 5 * b) / 7) + np.log(b) + np.log(5 * a / 5)
    assert abs(found["bigram"] + wanted / 4) <= 1e-12


def test_a_pair_says_more_than_a_character():
    found = text_baselines(parse_config(TEXT))
    assert found["bigram"] <= found["unigram"] - 0.5
    assert 3.0 <= found["unigram"] <= np.log(96)
    assert text_baselines(parse_config("data: {kind: digits}")) == {}
