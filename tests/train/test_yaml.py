"""A stranger's YAML is data, or one sentence, in bounded time."""

import time

import pytest

from fkdiff.errors import FkdiffError
from fkdiff.train.config import TrainConfig, parse_config
from fkdiff.train.yaml import MAX_BYTES, dump_yaml, parse_yaml, read_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}, *{old}, *{old}, *{old}, *{old}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "alias bomb": (BOMB, "anchors"),
    "alias": ("a: 1\nb: *a", "anchors"),
    "merge key": ("a: &x {b: 1}\nc: {<<: *x}", "anchors"),
    "python object": ("a: !!python/object/apply:os.system ['true']", "tag"),
    "python name": ("a: !!python/name:os.system", "tag"),
    "local tag": ("a: !secret 1", "tag"),
    "binary tag": ("a: !!binary aGk=", "tag"),
    "duplicate key": ("a: 1\na: 2", "twice"),
    "nested duplicate": ("a: {b: 1, b: 2}", "twice"),
    "deep flow": ("a: " + "[" * 5000 + "]" * 5000, "deeper"),
    "deep block": ("\n".join(" " * k + "a:" for k in range(200)), "deeper"),
    "not a number": ("a: .nan", "finite"),
    "infinity": ("a: -.inf", "finite"),
    "overflow": ("a: 1e999", "finite"),
    "huge integer": ("a: " + "9" * 100_000, "40 digits"),
    "complex key": ("? [1, 2]\n: 3", "plain words"),
    "list": ("- 1", "a list"),
    "scalar": ("hello", "a str"),
    "empty": ("", "nothing"),
    "two documents": ("a: 1\n---\na: 2", "correct the file"),
    "unclosed": ("a: [1", "correct the file"),
    "control character": ("a: \x07", "correct the file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_yaml_is_one_sentence_in_no_time(name):
    text, word = HOSTILE[name]
    began = time.monotonic()
    with pytest.raises(FkdiffError, match=word) as caught:
        parse_yaml(text, "file.yaml")
    assert time.monotonic() - began <= 5
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 300
    assert str(caught.value).startswith("file.yaml")


@pytest.mark.parametrize(
    "text, value",
    [
        ("1e-3", 0.001),
        ("3E4", 3e4),
        (".5", 0.5),
        ("-2.", -2.0),
        ("1", 1),
        ("-7", -7),
        ("0", 0),
        ("010", "010"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("no", "no"),
        ("on", "on"),
        ("12:30:00", "12:30:00"),
        ("2024-02-29", "2024-02-29"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("${HOME}", "${HOME}"),
    ],
)
def test_scalars_are_what_they_look_like(text, value):
    read = parse_yaml(f"a: {text}")["a"]
    assert read == value
    assert type(read) is type(value)


def test_files_are_bounded_and_must_be_text(tmp_path):
    with pytest.raises(FkdiffError, match="no such file"):
        read_yaml(tmp_path / "absent.yaml")
    big = tmp_path / "big.yaml"
    big.write_text("a: " + "x" * MAX_BYTES)
    with pytest.raises(FkdiffError, match="1 MiB"):
        read_yaml(big)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"a: \xff\xfe")
    with pytest.raises(FkdiffError, match="UTF-8"):
        read_yaml(binary)


def test_what_is_written_is_read_back():
    config = TrainConfig.model_validate(
        {
            "data": {"kind": "rings"},
            "optim": {"learning_rate": 1e-7, "clip": 1e20},
            "path": {"kind": "linear", "log_snr": [-3, 4]},
        }
    )
    assert parse_config(dump_yaml(config.model_dump(mode="json"))) == config
    awkward = {"a": "no", "b": "1e-3", "c": "~", "d": None, "e": [1, 2.5, "010"], "f": {"g": True}, "h": "x: y"}
    assert parse_yaml(dump_yaml(awkward)) == awkward
