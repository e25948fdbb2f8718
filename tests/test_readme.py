"""The README does what it says: its code runs, its commands exist, its files are there."""

import re
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


def lines(block: str) -> int:
    return len([line for line in block.splitlines() if line.strip()])


def test_example_and_recipes_run_in_order(capsys):
    namespace: dict = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for block in BLOCKS:
            exec(compile(block, "README.md", "exec"), namespace)
    assert abs(float(namespace["many"].evidence.value) + 1.4973) <= 0.05
    assert "log Z" in capsys.readouterr().out


def test_sizes_are_as_promised():
    assert lines(BLOCKS[0]) <= 12
    assert len(BLOCKS) - 1 >= 10
    assert max(map(lines, BLOCKS[1:])) <= 10


@pytest.mark.parametrize("name", sorted(set(re.findall(r"benchmarks\.(\w+)`", TEXT))))
def test_benchmarks_exist(name):
    assert (ROOT / "benchmarks" / f"{name}.py").exists()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:configs|scripts)/[\w./]+", TEXT))))
def test_files_exist(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([\w./]+)\)", TEXT))))
def test_links_lead_somewhere(path):
    assert (ROOT / path).exists()


def test_warnings_name_entries_that_exist():
    symptoms = (ROOT / "fkdiff" / "SYMPTOMS.md").read_text()
    named = {m for f in (ROOT / "fkdiff").rglob("*.py") for m in re.findall(r"SYMPTOMS\.md#([\w-]+)", f.read_text())}
    assert named
    assert not [name for name in named if f"## {name}\n" not in symptoms]
