"""Who may import whom: the architecture, parsed from the imports themselves."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "fkdiff"

# A row may also import what its imports may.
LAYERS = {
    "errors": set(),
    "lazy": {"errors"},
    "core": {"errors", "lazy"},
    "paths": {"core"},
    "prediction": {"paths"},
    "solvers": {"prediction"},
    "targets": {"prediction"},
    "mcmc": {"core"},
    "smc": {"core"},
    "correctors": {"prediction", "smc"},
    "discrete": {"smc"},
    "steering": {"solvers", "smc", "discrete"},
    "inverse_problems": {"steering"},
    "diagnostics": {"prediction", "smc"},
    "gradients": {"mcmc", "smc"},
    "interop": {"prediction", "mcmc"},
    "nn": {"core"},
    "train": {"targets", "solvers", "discrete", "nn"},
}
LAYERS["plot"] = LAYERS["evaluate"] = set(LAYERS)
LAYERS["tasks"] = set(LAYERS)
LAYERS["cli"] = set(LAYERS)


def allowed(layer: str) -> set[str]:
    """The layer itself, and the closure of what it may import."""
    found, waiting = {layer}, list(LAYERS[layer])
    while waiting:
        other = waiting.pop()
        if other not in found:
            found.add(other)
            waiting += LAYERS[other]
    return found


def imported(tree: ast.AST):
    """Every fkdiff module that a file imports, at any depth of the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "fkdiff":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("fkdiff."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield "a relative import"
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("fkdiff."))


def layer_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = [f for f in sorted(PACKAGE.rglob("*.py")) if f != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_follow_the_layers(file):
    layer = layer_of(file)
    assert layer in LAYERS, f"{file} belongs to no layer; give it a row"
    wrong = set(imported(ast.parse(file.read_text()))) - allowed(layer)
    assert not wrong, f"{layer} may not import {', '.join(sorted(wrong))}"


def test_the_parser_sees_a_forbidden_import():
    assert set(imported(ast.parse("def f():\n    from fkdiff.cli import main"))) - allowed("smc") == {"cli"}


def modules() -> dict[str, Path]:
    """Every module by its dotted name."""
    parts = {file: file.relative_to(PACKAGE.parent).with_suffix("").parts for file in PACKAGE.rglob("*.py")}
    return {".".join(name[:-1] if name[-1] == "__init__" else name): file for file, name in parts.items()}


def needed(tree: ast.AST, known) -> set[str]:
    """The modules that a file imports when it runs, at any depth; what only type checkers read does not count."""
    skipped, found = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            skipped |= {id(inner) for inner in ast.walk(node)}
        if id(node) not in skipped and isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fkdiff"):
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            found |= {name if name in known else node.module for name in names}
    return found & set(known)


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A path that comes back to where it began, or []."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        found = next((c for other in sorted(graph[name]) if (c := visit(other, [*path, name]))), [])
        done.add(name)
        return found

    return next((c for name in sorted(graph) if (c := visit(name, []))), [])


def test_imports_run_in_no_circle():
    known = modules()
    graph = {name: needed(ast.parse(file.read_text()), known) - {name} for name, file in known.items()}
    found = circle(graph)
    assert not found, " imports ".join(found)


def test_a_circle_is_seen():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": set()}) == ["a", "b", "c", "a"]
    late = ast.parse("def f():\n    from fkdiff.smc.engine import step")
    assert needed(late, ["fkdiff.smc.engine"]) == {"fkdiff.smc.engine"}


PACKAGES = [file for file in FILES if file.name == "__init__.py"]


@pytest.mark.parametrize("file", PACKAGES, ids=lambda f: str(f.relative_to(PACKAGE).parent))
def test_an_index_page_lists_its_names(file):
    """`help` and completion show what `__all__` lists, and every name in it is there."""
    package = importlib.import_module(".".join(file.relative_to(PACKAGE.parent).parent.parts))
    assert package.__all__
    assert all(not inspect.ismodule(getattr(package, name)) for name in package.__all__)
    assert not [name for name in dir(package) if name in package.__all__ and name.startswith("_")]
    shown = {name for name in dir(package) if not name.startswith("_")}
    assert shown == set(package.__all__)


def test_no_function_hides_a_module():
    """`import fkdiff.a.b as m` gives the module."""
    places = [name.rpartition(".") for name in modules() if name.count(".") > 1]
    hidden = [
        f"{package}.{name}"
        for package, _, name in places
        if not inspect.ismodule(getattr(importlib.import_module(package), name, inspect))
    ]
    assert not hidden


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_a_file_is_one_idea(file):
    assert len(file.read_text().splitlines()) <= 330
