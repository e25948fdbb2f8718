"""Index pages and modules whose names are imported on first use, so that `import fkdiff` and `--help` stay light."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any


def attach(package: str, names: dict[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` for a package; completion and `help` show `__all__`, and no modules.

    Args:
        package: The package's `__name__`.
        names: Public name -> "module:attribute", or "module:" for the module itself.
    """

    def __getattr__(name: str) -> Any:
        if name not in names:
            from fkdiff.errors import did_you_mean

            raise AttributeError(f"module {package!r} has no attribute {name!r}{did_you_mean(name, names)}")
        module, _, attribute = names[name].partition(":")
        found = importlib.import_module(module)
        return getattr(found, attribute) if attribute else found

    shown = sorted(name for name, place in names.items() if not place.endswith(":"))
    return __getattr__, lambda: sorted(names), shown


def stub_names(file: str) -> dict[str, str]:
    """What a package's `__init__.pyi` imports, as `attach` takes it: type checkers and `attach` read one list."""
    names = {}
    for node in ast.parse(Path(file).with_suffix(".pyi").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = node.module == "fkdiff"
                names[alias.name] = f"fkdiff.{alias.name}:" if whole else f"{node.module}:{alias.name}"
    return names


def renamed(package: str, names: dict[str, str]) -> Callable[[str], Any]:
    """`__getattr__` for a package whose names have moved: the old ones work for one release, and say so.

    Args:
        package: The package's `__name__`.
        names: Old public name -> "module:attribute".
    """

    def __getattr__(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        from fkdiff.errors import deprecated

        module, _, attribute = names[name].partition(":")
        deprecated(f"{package}.{name}", f"{module}.{attribute}")
        return getattr(importlib.import_module(module), attribute)

    return __getattr__


class Later:
    """A module that is imported when a name of it is first used: `np = Later("numpy")`."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)
