"""A script runs a task as the command does, and a new task is one file and one line of the registry."""

import json
import subprocess
import sys

import numpy as np
import pytest

from fkdiff import tasks
from fkdiff.cli import cache, main
from fkdiff.errors import FkdiffError
from fkdiff.train import loop
from fkdiff.train.config import parse_config

TRAIN = """
data: {kind: gaussians, num_points: 128}
model: {kind: mlp, width: 8, depth: 1}
optim: {steps: 6, batch_size: 16, warmup: 1}
sampling: {num_samples: 9, num_steps: 2, solver: euler}
"""
ANNEAL = "task: {kind: anneal, beta: 1.2}\nengine: {num_particles: 32, num_steps: 3, step: euler}\nnum_samples: 8\n"
TOY = '''
from typing import ClassVar, Literal

import fkdiff as fk
from fkdiff.tasks.case import Case, best_of
from fkdiff.tasks.task import ExamplesTask, Stepped


class Near(ExamplesTask):
    """q(x) e^{−|x|²}."""

    kind: Literal["near"] = "near"
    engine: ClassVar = Stepped

    def cases(self, setting):
        pred, solver, reward = setting.run.predictor, fk.solvers.ddim(eta=1.0), lambda x: -(x @ x)
        times = fk.grid(setting.config.engine.num_steps, pred.path)
        return [Case("near", times, fk.steer(pred, solver, reward), best_of(pred, solver, reward, times), None, "near")]
'''
REGISTERED = """
import sys
from fkdiff import tasks
tasks.TASKS["Near"] = "toy:Near"
from fkdiff.cli import cache, main
cache.enable_cache = lambda: None
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks") / "run"
    loop.train(parse_config(TRAIN), folder, picture=False)
    return folder


@pytest.mark.slow
def test_a_script_does_what_the_command_does(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cache, "enable_cache", lambda: None)
    (tmp_path / "anneal.yaml").write_text(ANNEAL)
    config = tasks.load_steer_config(tmp_path / "anneal.yaml")
    lines = []
    steered = tasks.run(run, config, tmp_path / "script", say=lines.append)
    assert capsys.readouterr().out == ""
    words = ["steer", run, "--config", tmp_path / "anneal.yaml", "--out", tmp_path / "command"]
    assert main([str(word) for word in words]) == 0
    said = capsys.readouterr().out
    assert steered.table in said
    assert len(lines) == 1
    ours, theirs = ((tmp_path / name / "summary.json").read_text() for name in ("script", "command"))
    (ours,), (theirs,) = json.loads(ours)["cases"], json.loads(theirs)["cases"]
    assert {k: v for k, v in ours.items() if "seconds" not in k} == {
        k: v for k, v in theirs.items() if "seconds" not in k
    }
    assert np.shape(steered.outcomes[0].draws) == (8, 2)
    assert {file.name for file in steered.files} < {file.name for file in (tmp_path / "script").iterdir()}
    with pytest.raises(FkdiffError, match="already exists"):
        tasks.run(run, config, tmp_path / "script")
    with pytest.raises(FkdiffError, match="text is for models of text"):
        tasks.run(run, tasks.SteerConfig(task=tasks.Text()), tmp_path / "other")


def with_the_toy(folder, *words):
    """Runs fkdiff in a process whose registry has one more line."""
    (folder / "toy.py").write_text(TOY)
    (folder / "near.yaml").write_text("task: {kind: near}\nengine: {num_particles: 32, num_steps: 3}\nnum_samples: 4")
    line = [sys.executable, "-c", REGISTERED, *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, cwd=folder, check=False, timeout=300)


def test_a_new_task_is_one_file_and_one_line_of_the_registry(tmp_path):
    shown = with_the_toy(tmp_path, "config", "show", "near.yaml", "--engine.num_steps", "5")
    assert "kind: near" in shown.stdout, shown.stderr
    assert "num_steps: 5" in shown.stdout
    refused = with_the_toy(tmp_path, "config", "show", "near.yaml", "--engine.noise", "1")
    assert "task.kind=near does not read engine.noise" in refused.stderr


@pytest.mark.slow
def test_a_new_task_runs(run, tmp_path):
    done = with_the_toy(tmp_path, "steer", run, "--config", "near.yaml", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert "near: log Z" in done.stdout
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["config"]["task"] == {"kind": "near"}
