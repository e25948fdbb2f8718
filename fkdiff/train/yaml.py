"""Reads YAML as data and nothing else, in bounded time and memory. Free of JAX.

Refused: aliases and anchors (an alias bomb of 300 bytes has 10⁹ leaves), tags (they name Python objects),
duplicate keys (the last would win silently), nesting deeper than 32, files above 1 MiB, NaN and infinity.
`1e-3` is a float here, and `no`, `on` and `12:30` are the strings that they look like.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from fkdiff.errors import FkdiffError, require

MAX_BYTES = 1 << 20
MAX_DEPTH = 32


class _Loader(yaml.SafeLoader):
    """SafeLoader with a plain YAML 1.2 reading of scalars, and refusals in words."""

    def __init__(self, stream: str, source: str):
        super().__init__(stream)
        self.source = source
        self.depth = 0

    def refuse(self, what: str, action: str, mark: Any) -> FkdiffError:
        return FkdiffError(f"{self.source}, line {mark.line + 1}: {what}; {action}.")

    def compose_node(self, parent, index):  # type: ignore[override]
        event = self.peek_event()  # type: ignore[no-untyped-call]
        mark = event.start_mark
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise self.refuse("anchors and aliases are not allowed", "write the value out", mark)
        if getattr(event, "tag", None):
            raise self.refuse(f"the tag {str(event.tag)[:60]!r} is not allowed", "write plain values", mark)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.refuse(f"nesting is deeper than {MAX_DEPTH}", "flatten the file", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node, deep=False):  # type: ignore[override]
        seen = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if not isinstance(name, str):
                raise self.refuse("a key is not a name", "use plain words as keys", node.start_mark)
            if name in seen:
                raise self.refuse(f'the key "{name[:60]}" appears twice', "keep one of them", key.start_mark)
            seen.add(name)
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}

    def construct_float(self, node):
        value = math.inf if node.value.lower().endswith(("inf", "nan")) else float(node.value)
        if not math.isfinite(value):
            raise self.refuse(f"{node.value[:60]} is not a finite number", "write a finite one", node.start_mark)
        return value

    def construct_int(self, node):
        if len(node.value) > 40:
            raise self.refuse("a number has more than 40 digits", "write a smaller one", node.start_mark)
        return int(node.value)


# Only these: the inherited ones read `no` as False, 010 as 8, 12:30 as 750, and a date as a date.
_SCALARS = {
    "bool": (r"(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    "null": (r"(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    "int": (r"[-+]?(?:0|[1-9]\d*)$", "-+0123456789"),
    "float": (
        r"[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?$|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$",
        "-+0123456789.",
    ),
}
_Loader.yaml_implicit_resolvers = {}
for _name, (_pattern, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(_pattern), list(_first))
for _name, _constructor in {
    "float": _Loader.construct_float,
    "int": _Loader.construct_int,
    "map": _Loader.construct_mapping,
}.items():
    _Loader.add_constructor(f"tag:yaml.org,2002:{_name}", _constructor)


class _Dumper(yaml.SafeDumper):
    """Quotes a string exactly where the loader would read something else."""


_Dumper.yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def parse_yaml(text: str, source: str = "config") -> dict[str, Any]:
    """Parses one YAML mapping.

    Args:
        text: The file's text.
        source: What to call it in a sentence.

    Raises:
        FkdiffError: One sentence with the file, the line and what to do.
    """
    loader = None
    try:
        loader = _Loader(text, source)
        data = loader.get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "is not YAML")
        raise FkdiffError(f"{source}{line}: {problem[:120]}; correct the file.") from None
    finally:
        if loader is not None:
            loader.dispose()
    if not isinstance(data, dict):
        held = "nothing" if data is None else f"a {type(data).__name__}"
        raise FkdiffError(
            f"{source}: the file holds {held} where sections such as model: and optim: belong; start from a file in "
            "configs/."
        )
    return data


def read_yaml(file: str | Path) -> dict[str, Any]:
    """Reads one YAML mapping from a file; see `parse_yaml`."""
    path = Path(file)
    require(path.is_file(), f"{path}: there is no such file; start from a file in configs/.")
    with path.open("rb") as stream:
        raw = stream.read(MAX_BYTES + 1)  # never more, whatever the size on disk says
    require(len(raw) <= MAX_BYTES, f"{path}: the file is larger than 1 MiB; a config is a few lines.")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise FkdiffError(f"{path}: the file is not UTF-8 text; save it as UTF-8.") from None
    return parse_yaml(text, str(path))


def dump_yaml(data: dict[str, Any]) -> str:
    """Writes a mapping so that `parse_yaml` reads the same values back."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
