"""The whole journey on a person's own files: train, sample, steer, judge, report. Slow: every command compiles."""

import json

import numpy as np
import pytest

from fkdiff.cli import cache, main

pytestmark = pytest.mark.slow

SMALL = ["--optim.steps", "4", "--optim.batch_size", "8", "--sampling.num_steps", "2", "--sampling.num_samples", "8"]
STEER = "task: {kind: anneal, beta: 1.5}\nengine: {num_particles: 16, num_steps: 3}\nnum_samples: 8\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "enable_cache", lambda: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "steer.yaml").write_text(STEER)
    return tmp_path


def journey(place, text, labels=()):
    (place / "c.yaml").write_text(text)
    assert main(["train", "c.yaml", "--out", "run", *SMALL]) == 0
    assert main(["sample", "run", "--out", "drawn", "--num", "5"]) == 0
    assert main(["steer", "run", "--config", "steer.yaml", "--out", "steered", *labels]) == 0
    assert main(["eval", "run", "--num", "16", "--likelihoods", "2"]) == 0
    assert main(["report", "run", "--steered", "steered"]) == 0
    assert (place / "steered" / "samples.png").stat().st_size > 500
    assert len(json.loads((place / "run" / "evaluation.json").read_text())["rows"]) >= 10
    with np.load(place / "drawn" / "samples.npz") as drawn:
        return {name: drawn[name] for name in drawn.files}


def test_pictures_with_classes(place):
    rng = np.random.default_rng(0)
    examples = rng.integers(0, 255, (120, 4, 4, 1), dtype=np.uint8)
    np.savez(place / "x.npz", examples=examples, labels=np.arange(120) % 3)
    drawn = journey(
        place, "data: {kind: arrays, file: x.npz, held_out: 0.3}\nmodel: {kind: unet, channels: 4, levels: 2}\n"
    )
    known = json.loads((next((place / "run" / "checkpoints").iterdir()) / "manifest.json").read_bytes())
    facts = known["manifest"]["config"]["data"]["facts"]
    np.testing.assert_allclose(drawn["in_units"], drawn["samples"] * facts["scale"][0] + facts["mean"][0], rtol=1e-5)
    assert sum(facts["class_counts"]) == 84


def test_signals(place):
    np.save(place / "x.npy", np.random.default_rng(0).normal(size=(80, 8, 2)))
    journey(place, "data: {kind: arrays, file: x.npy, held_out: 0.3}\nmodel: {kind: unet, channels: 4, levels: 2}\n")


def test_an_energy_of_a_table(place):
    np.savetxt(
        place / "x.csv", np.random.default_rng(0).normal(size=(80, 3)), delimiter=",", header="a,b,c", comments=""
    )
    journey(
        place,
        "data: {kind: arrays, file: x.csv, held_out: 0.3}\nmodel: {kind: mlp, width: 8, depth: 1}\n"
        "objective: {kind: energy}\n",
    )


def test_a_coupled_model_is_sampled_and_judged_and_not_steered(place, capsys):
    (place / "c.yaml").write_text(
        "data: {kind: gaussians, num_points: 256}\nmodel: {kind: mlp, width: 8, depth: 1}\npath: {kind: linear}\n"
        "objective: {coupling: class_optimal_transport}\n"
    )
    assert main(["train", "c.yaml", "--out", "run", *SMALL]) == 0
    assert main(["eval", "run", "--num", "16", "--likelihoods", "2"]) == 0
    capsys.readouterr()
    assert main(["steer", "run", "--config", "steer.yaml", "--out", "steered"]) == 2
    assert "has no score to correct by" in capsys.readouterr().err
