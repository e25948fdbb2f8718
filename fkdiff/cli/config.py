"""`fkdiff config show | schema | diff`: what a config says, what it may say, and how two differ. Free of JAX."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fkdiff.cli.overrides import override
from fkdiff.errors import FkdiffError, require
from fkdiff.tasks import SteerConfig
from fkdiff.train.config import TrainConfig
from fkdiff.train.schema import validate
from fkdiff.train.yaml import dump_yaml, read_yaml

KINDS: dict[str, type[BaseModel]] = {"train": TrainConfig, "steer": SteerConfig}


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Prints; 1 where two configs differ, as diff does."""
    if arguments.action == "show":
        print(dump_yaml(override(read(arguments.config), rest).model_dump(mode="json")), end="")
        return 0
    require(not rest, f"unknown argument {rest[0]!r}; see fkdiff config {arguments.action} --help." if rest else "")
    if arguments.action == "schema":
        print(json.dumps(KINDS[arguments.kind].model_json_schema(), indent=1, ensure_ascii=False))
        return 0
    lines = differences(read(arguments.config), read(arguments.other))
    print("\n".join(lines) if lines else "the same.")
    return 1 if lines else 0


def read(place: Path) -> Any:
    """The config of a file or of a run folder, of either kind.

    Raises:
        FkdiffError: Neither, or a config that is wrong.
    """
    file = place / "config.yaml" if place.is_dir() else place
    if place.is_dir() and not file.is_file():
        raise FkdiffError(f"{place} is a folder without a config.yaml; pass a config file or a run folder.")
    data = read_yaml(file)
    return validate(KINDS["steer" if "task" in data else "train"], data, str(file))


def differences(first: BaseModel, second: BaseModel) -> list[str]:
    """One line for each key that differs, defaults included: `optim.steps: 3000 → 4000`."""
    one, two = flat(first.model_dump(mode="json")), flat(second.model_dump(mode="json"))
    missing = object()
    shown = lambda value: "(none)" if value is missing else json.dumps(value, ensure_ascii=False)  # noqa: E731
    return [
        f"{key}: {shown(one.get(key, missing))} → {shown(two.get(key, missing))}"
        for key in dict.fromkeys([*one, *two])
        if one.get(key, missing) != two.get(key, missing)
    ]


def flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves by their dotted keys; lists are leaves."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found
