"""A training process that is stopped or killed leaves a run that can go on. Slow: it starts real processes."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fkdiff.train import load_run
from fkdiff.train.config import load_config
from fkdiff.train.loop import train

CONFIG = """
data: {kind: moons, num_points: 256}
model: {kind: mlp, width: 16, depth: 1}
optim: {steps: 4000, batch_size: 32, warmup: 10}
logging: {metrics_every: 10, checkpoint_every: 50}
"""

pytestmark = pytest.mark.slow


def start(folder, *more):
    words = ["train", str(folder / "config.yaml"), "--out", str(folder / "run"), *more]
    return subprocess.Popen(
        [sys.executable, "-m", "fkdiff.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for_step(folder, least, process):
    file = folder / "run" / "metrics.jsonl"
    for _ in range(1200):
        lines = file.read_text().splitlines() if file.exists() else []
        if lines and lines[-1].endswith("}") and json.loads(lines[-1])["step"] >= least:
            return
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.05)
    raise AssertionError("training never got there")


def test_a_polite_stop_saves_within_ten_seconds_and_says_143(tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    process = start(tmp_path)
    wait_for_step(tmp_path, 20, process)
    second = start(tmp_path, "--resume")
    _, err = second.communicate(timeout=120)
    assert second.returncode == 2
    assert f'"process": {process.pid}' in err.decode()
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    process.communicate(timeout=60)
    assert time.monotonic() - began <= 10
    assert process.returncode == 143
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    assert load_run(tmp_path / "run").step == last


def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG.replace("4000", "600"))
    rng = np.random.default_rng(5)
    process, least = start(tmp_path), 50
    for _ in range(5):
        wait_for_step(tmp_path, least, process)
        time.sleep(float(rng.uniform(0, 0.3)))
        process.kill()
        process.communicate()
        least = load_run(tmp_path / "run").step + 50
        if least >= 550:
            break
        process = start(tmp_path, "--resume")
    if process.poll() is None or process.returncode < 0:
        process.kill()
        process.communicate()
        process = start(tmp_path, "--resume")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err.decode()
    straight = tmp_path / "straight"
    train(load_config(tmp_path / "config.yaml"), straight, picture=False)
    for name in ("params", "ema", "optimizer", "counters"):
        file = f"checkpoints/step_00000600/{name}.safetensors"
        assert (straight / file).read_bytes() == (tmp_path / "run" / file).read_bytes()
    rows = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows == sorted(set(rows))
    assert not [f for f in (tmp_path / "run" / "checkpoints").iterdir() if f.name.startswith(".")]


def test_a_read_only_place_is_one_line(tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    words = ["train", str(tmp_path / "config.yaml"), "--out", "/proc/fkdiff-run"]
    done = subprocess.run([sys.executable, "-m", "fkdiff.cli", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
