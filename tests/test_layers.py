"""Who may import whom: the architecture, parsed from the imports themselves."""

import ast
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
    "train": {"targets", "solvers", "nn"},
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


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_a_file_is_one_idea(file):
    assert len(file.read_text().splitlines()) <= 330
