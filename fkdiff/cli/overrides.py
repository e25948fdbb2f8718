"""Command-line options on top of a config file: `--optim.learning_rate 3e-4`, `model:unet`. Free of JAX."""

from __future__ import annotations

import contextlib
import io
from typing import Any, TypeVar, get_args

import tyro
from pydantic import BaseModel

from fkdiff.errors import FkdiffError
from fkdiff.tasks.config import switched
from fkdiff.train.schema import validate

C = TypeVar("C", bound=BaseModel)
# Options of a union's present member are given directly; `model:unet` changes the member.
_MARKERS = (tyro.conf.CascadeSubcommandArgs,)


def override(config: C, words: list[str]) -> C:
    """The config with command-line options applied.

    Args:
        config: What the file said.
        words: Arguments such as ["--optim.steps", "200"].

    Raises:
        FkdiffError: One sentence with the option, what came and the next action.
    """
    config, words = _switched(config, _spelled_out(config, words))
    if not words:
        return config
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            new, unknown = tyro.cli(
                type(config),
                default=config,
                args=words,
                config=_MARKERS,
                use_underscores=True,
                return_unknown_args=True,
            )
    except SystemExit:
        unknown, new = words, config
    if not unknown:
        return new
    # The config's own sentences are better than a parser's, where they apply.
    validate(type(config), _merged(config, words), "the command line")
    complaint = _first_sentence(said.getvalue()) or f"unknown argument {unknown[0]!r}"
    raise FkdiffError(f"the command line: {complaint}; see --help.")


def print_keys(config: BaseModel, prog: str) -> None:
    """Prints every key that may be overridden, with its present value."""
    with contextlib.suppress(SystemExit):
        tyro.cli(type(config), default=config, args=["--help"], config=_MARKERS, use_underscores=True, prog=prog)


def _first_sentence(box: str) -> str:
    """The first paragraph inside the parser's frame, on one line."""
    kept: list[str] = []
    for line in box.splitlines()[1:]:
        inside = line.strip("│|╭╮╰╯─+- ")
        if not inside and kept:
            break
        kept.append(inside)
    return " ".join(" ".join(kept).split())[:200]


def _switched(config: C, words: list[str]) -> tuple[C, list[str]]:
    """Applies `--path.kind linear`: the section becomes that kind, with its own defaults and options.

    Sections are switched together, since the kind of one may ask for the kind of another.
    """
    data: dict[str, Any] = config.model_dump(mode="json")
    groups, prefixes = _pairs(words), []
    for option, *values in groups:
        *parents, last = option.removeprefix("--").split(".")
        if not option.startswith("--") or last != "kind" or not values or not _is_union(config, parents):
            continue
        prefix = "--" + ".".join(parents) + "."
        section: Any = data
        for name in parents[:-1]:
            section = section[name]
        if prefix.startswith(tuple(prefixes)) or section[parents[-1]]["kind"] == values[0]:
            continue
        section[parents[-1]] = {}
        for other, *given in groups:
            if other.startswith(prefix):
                _put(section[parents[-1]], other.removeprefix(prefix), given)
        prefixes.append(prefix)
    if not prefixes:
        return config, words
    rest = [word for group in groups if not group[0].startswith(tuple(prefixes)) for word in group]
    if "--task." in prefixes:
        data = switched(data)
    return _switched(validate(type(config), data, "the command line"), rest)


def _spelled_out(config: BaseModel, words: list[str]) -> list[str]:
    """`--path linear` and `path:linear` are short for `--path.kind linear`."""
    found: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        section, colon, kind = word.partition(":")
        option = word.removeprefix("--")
        if word != option and _is_union(config, option.split(".")):
            found.append(f"{word}.kind")
        elif colon and not before.startswith("--") and kind.replace("-", "_") in _kinds(config, section.split(".")):
            found += [f"--{section}.kind", kind.replace("-", "_")]
        else:
            found.append(word)
    return found


def _pairs(words: list[str]) -> list[tuple[str, ...]]:
    """Options with the words up to the next option, or the one after an equals sign."""
    groups: list[list[str]] = []
    for word in words:
        option, equals, value = word.partition("=")
        if word.startswith("--") or not groups:
            groups.append([option, value] if equals and word.startswith("--") else [word])
        else:
            groups[-1].append(word)
    return [tuple(group) for group in groups]


def _is_union(config: BaseModel, parents: list[str]) -> bool:
    """Whether the section at `parents` may be of several kinds."""
    return bool(_kinds(config, parents))


def _kinds(config: BaseModel, parents: list[str]) -> tuple[str, ...]:
    """The kinds that the section at `parents` may be of; none where it may be of one only."""
    here: Any = config
    annotation: Any = None
    for name in parents:
        if not isinstance(here, BaseModel) or name not in type(here).model_fields:
            return ()
        annotation = type(here).model_fields[name].annotation
        here = getattr(here, name)
    members = [member for member in get_args(annotation) if hasattr(member, "model_fields")]
    if len(get_args(annotation)) < 2 or not isinstance(here, BaseModel):
        return ()
    return tuple(member.model_fields["kind"].default for member in members)


def _merged(config: BaseModel, words: list[str]) -> dict[str, Any]:
    """The config as data with `--a.b value` set."""
    data = config.model_dump(mode="json")
    for option, *values in _pairs(words):
        if not option.startswith("--") or not values:
            continue
        _put(data, option.removeprefix("--").replace("-", "_"), values)
    return data


def _put(section: dict[str, Any], option: str, values: list[str]) -> None:
    """Sets the value at a dotted key, where there is a place for it."""
    *parents, last = option.split(".")
    place: Any = section
    for name in parents:
        place = place.setdefault(name, {}) if isinstance(place, dict) else None
    if isinstance(place, dict):
        place[last] = values[0] if len(values) == 1 else values
