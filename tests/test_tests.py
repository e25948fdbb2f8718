"""How tests share code: through helper modules, imported by their whole name, and never from one another."""

import ast
from pathlib import Path

TESTS = Path(__file__).parent
FILES = sorted(TESTS.rglob("*.py"))
SIBLINGS = {name for file in FILES for name in (file.stem, file.parent.name)} - {TESTS.name, "__init__"}


def imported(tree: ast.AST):
    """The whole name of everything that a file imports, at any depth of the file; relative ones begin with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            yield from (f"{start}.{alias.name}" for alias in node.names)


def forbidden(tree: ast.AST) -> set[str]:
    """Imports of a test module, and of a helper by a name that begins anywhere but at `tests`."""
    found = set()
    for name in imported(tree):
        first, *rest = name.split(".")
        if not first or first in SIBLINGS or (first == TESTS.name and any(part.startswith("test_") for part in rest)):
            found.add(name)
    return found


def test_helpers_are_imported_by_their_whole_name_and_tests_never():
    wrong = {str(file.relative_to(TESTS)): forbidden(ast.parse(file.read_text())) for file in FILES}
    assert not {file: names for file, names in wrong.items() if names}


def test_every_folder_is_a_package():
    assert not [file.parent for file in FILES if not file.with_name("__init__.py").exists()]


def test_the_parser_sees_forbidden_imports():
    for line, names in {
        "import walks": {"walks"},
        "import test_engine as engine": {"test_engine"},
        "def f():\n    from walks import model": {"walks.model"},
        "from . import walks": {"..walks"},
        "from .walks import model": {".walks.model"},
        "from smc import walks": {"smc.walks"},
        "from tests.smc import test_engine": {"tests.smc.test_engine"},
        "from tests.smc.test_engine import KEY": {"tests.smc.test_engine.KEY"},
        "import tests.smc.test_engine": {"tests.smc.test_engine"},
        "from tests.smc import walks": set(),
        "from fkdiff.smc import evidence": set(),
        "from fkdiff import train": set(),
    }.items():
        assert forbidden(ast.parse(line)) == names, line
