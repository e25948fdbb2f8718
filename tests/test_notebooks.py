"""The notebooks and scripts run as they stand."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "scripts" / "notebooks").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs(notebook, tmp_path):
    done = subprocess.run([sys.executable, str(notebook)], cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]


def test_notebooks_are_percent_cells():
    assert {p.stem for p in NOTEBOOKS} == {"train", "compose", "steer"}
    for notebook in NOTEBOOKS:
        assert notebook.read_text().startswith("# %% [markdown]")


@pytest.mark.parametrize("script", ["train", "steer"])
def test_scripts_are_short(script):
    code = [line for line in (ROOT / "scripts" / f"{script}.py").read_text().splitlines() if line.strip()]
    assert len(code) <= 45
