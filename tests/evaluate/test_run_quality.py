"""Judgements of a model: right on laws that are known, and unkind to a model that is wrong."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fkdiff import paths, targets
from fkdiff.cli import cache, main
from fkdiff.core import FkdiffError
from fkdiff.evaluate import bits_per_dim, c2st, overlap
from fkdiff.evaluate.features import features_of
from fkdiff.evaluate.quality import _counts, _rounding, bits_of, by_class
from fkdiff.train.build import build_form
from fkdiff.train.config import TrainConfig
from fkdiff.train.data import Dataset
from fkdiff.train.run import LoadedRun


def test_a_forest_tells_other_laws_apart_and_not_the_same():
    rng = np.random.default_rng(0)
    one, same = rng.normal(size=(200, 3)), rng.normal(size=(150, 3))
    assert abs(c2st(one, same) - 0.5) <= 0.12
    # Equal means and variances: only the dependence differs.
    twisted = rng.normal(size=(200, 1)) * np.ones((1, 3))
    assert c2st(one, twisted) >= 0.9


def test_chance_is_a_half_whatever_the_sizes():
    """Weights of classes in out-of-bag votes made 0.95 of 50 rows beside 1,000 of the same law."""
    rng = np.random.default_rng(1)
    for n, m in ((50, 600), (600, 50)):
        values = [c2st(rng.normal(size=(n, 2)), rng.normal(size=(m, 2)), seed, trees=50) for seed in range(4)]
        assert abs(np.mean(values) - 0.5) <= 0.1, (n, m, values)
    assert c2st(rng.normal(size=(50, 2)), rng.normal(2.0, 1.0, size=(600, 2)), trees=50) >= 0.8
    with pytest.raises(FkdiffError, match="pass more draws"):
        c2st(rng.normal(size=(4, 2)), rng.normal(size=(50, 2)))


def test_classes_count_by_their_shares():
    """Two laws of very different entropy, 90 % and 10 %, by their exact models; one example of a class is enough."""
    config = TrainConfig.model_validate({"data": {"kind": "moons"}, "path": {"kind": "linear"}})
    form = build_form(config)
    laws = [targets.gaussian([0.0, 0.0], 0.0025), targets.gaussian([3.0, 0.0], 1.0)]
    exact = [law.predictor(form.path) for law in laws]

    def apply(params, x, t, cond=None):
        return jnp.where(cond == 0, exact[0](x, t).velocity, exact[1](x, t).velocity)

    run = LoadedRun(apply, {"w": jnp.zeros(())}, form, config, 0, 2, "")
    labels = (np.arange(400) % 10 == 0).astype(np.int32)
    noise = np.random.default_rng(0).normal(size=(400, 2))
    examples = np.where(labels[:, None], np.array([3.0, 0.0]) + noise, 0.05 * noise).astype(np.float32)
    data = Dataset(jnp.asarray(examples), jnp.asarray(labels))
    value, error, count = bits_of(jax.random.key(0), run, data, 64, "exact")
    last = float(form.path.sigma(form.path.t_max) / form.path.alpha(form.path.t_max))
    entropies = [0.5 * np.log2(2 * np.pi * np.e * (s**2 + last**2)) for s in (0.05, 1.0)]
    truth = 0.9 * entropies[0] + 0.1 * entropies[1]
    assert count == 64
    assert abs(value - truth) <= 4 * error
    assert error <= 0.3
    # Planted: classes that weigh alike are beyond any error.
    assert abs(np.mean(entropies) - truth) > 5 * error
    rare = Dataset(data.examples[:11], jnp.asarray((np.arange(11) == 10).astype(np.int32)))
    groups = by_class(run, rare, 64)
    assert [(group.count, round(group.share, 3)) for group in groups] == [(10, 0.909), (1, 0.091)]
    assert len({len(group.examples) for group in groups}) == 1


def test_overlap_of_known_samples():
    line = np.arange(20.0)[:, None]
    assert overlap(line, line) == (1.0, 1.0)
    assert overlap(line, line + 1000) == (0.0, 0.0)
    # Draws of one half only: all of them real, and half of the real ones (and three neighbours) within their reach.
    precision, recall = overlap(line[:10], line)
    assert precision == 1.0
    assert 0.5 <= recall <= 0.7
    with pytest.raises(FkdiffError, match="neighbours=3"):
        overlap(line[:3], line)


@pytest.mark.x64
@pytest.mark.parametrize("exploding", [False, True])
@pytest.mark.slow
def test_bits_of_a_gaussian_are_its_entropy(exploding):
    path = paths.variance_exploding(0.05, 50.0) if exploding else paths.linear(log_snr=(-9.0, 6.0))
    law = targets.gaussian([0.5, -1.0], 0.49)
    pred = law.predictor(path)
    x = law.sample(jax.random.key(0), 400)
    found = bits_per_dim(jax.random.key(1), pred, x)
    noise = float(path.sigma(path.t_max) / path.alpha(path.t_max))
    entropy = 0.5 * math.log2(2 * math.pi * math.e * (0.49 + noise**2))
    assert abs(found.mean - entropy) <= 5 * found.error + 1e-3
    assert found.error <= 0.04
    rough = bits_per_dim(jax.random.key(1), pred, x, divergence="hutchinson")
    assert np.abs(rough.each - found.each).max() <= 1e-3  # the flow of an isotropic Gaussian has no probe noise


def test_bits_of_whole_numbers_are_those_of_their_cells():
    path = paths.linear(log_snr=(-9.0, 9.0))
    scale = 12.0
    pred = targets.gaussian([0.0], 1.0).predictor(path)
    levels = np.round(np.random.default_rng(0).normal(size=(600, 1)) * scale)
    found = bits_per_dim(jax.random.key(1), pred, levels / scale, quantum=1 / scale)
    # Entropy of a rounded normal: that of the normal, in cells.
    assert abs(found.mean - (0.5 * math.log2(2 * math.pi * math.e) + math.log2(scale))) <= 5 * found.error + 0.01


def test_rounding_puts_draws_on_the_levels_of_the_data():
    data = (np.arange(17.0) - 4.9) / 6
    rounded = _rounding(1 / 6, data)(np.array([-3.0, 0.01, 5.0, data[3] + 0.08]))
    np.testing.assert_allclose(rounded, [data[0], data[5], data[16], data[3]], atol=1e-12)
    assert _rounding(0.0, data)(np.array([0.01])) == 0.01


def test_classes_are_drawn_in_the_shares_of_the_data():
    np.testing.assert_array_equal(_counts(np.array([0.5, 0.3, 0.2]), 10), [5, 3, 2])
    found = _counts(np.arange(1, 9) / 36, 100)
    assert found.sum() == 100
    assert np.abs(found - np.arange(1, 9) / 36 * 100).max() < 1


def test_features_tell_classes_apart():
    rng = np.random.default_rng(0)
    labels = np.arange(300, dtype=np.int32) % 3
    examples = rng.normal(size=(300, 4)) + 4 * np.eye(3, 4)[labels]
    features, what = features_of("arrays", Dataset(examples, labels), 3)
    found = features(examples)
    assert "classifier" in what
    means = np.stack([found[labels == k].mean(0) for k in range(3)])
    within = np.mean([found[labels == k].std(0).mean() for k in range(3)])
    assert np.linalg.norm(means[0] - means[1]) >= 2 * within
    plain, what = features_of("arrays", Dataset(examples, labels), 0)
    assert plain(examples).shape == (300, 4)
    assert "principal" in what


TOY = """
data: {kind: gaussians, num_points: 4096}
path: {kind: linear}
model: {kind: mlp, width: 48, depth: 1}
optim: {steps: 400, batch_size: 256, learning_rate: 3.0e-3}
sampling: {num_steps: 16}
"""


def figures(folder, *words):
    assert main(["eval", str(folder), "--num", "400", "--likelihoods", "32", *words]) == 0
    rows = json.loads((folder / "evaluation.json").read_text())["rows"]
    return {row["name"]: row for row in rows}


@pytest.mark.slow
def test_a_trained_model_is_near_its_floors_and_an_untrained_one_is_not(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cache, "enable_cache", lambda: None)
    (tmp_path / "toy.yaml").write_text(TOY)
    for name, steps in (("good", "800"), ("bad", "1")):
        assert main(["train", str(tmp_path / "toy.yaml"), "--out", str(tmp_path / name), "--optim.steps", steps]) == 0
    capsys.readouterr()
    good, bad = figures(tmp_path / "good"), figures(tmp_path / "bad")
    said = capsys.readouterr().out
    for name in ("energy distance", "MMD", "sliced W2", "Fréchet distance", "C2ST"):
        assert name in said
        assert good[name]["value"] <= bad[name]["value"]
        assert bad[name]["value"] >= bad[name]["floor"] + 5 * bad[name]["floor_error"]
    assert good["precision"]["value"] >= bad["precision"]["value"] + 0.1
    density = "bits per dimension of a density"
    assert good[f"{density} (exact)"]["value"] <= good[f"{density} (Gaussians)"]["value"]
    assert good[f"{density} (exact)"]["value"] <= bad[f"{density} (exact)"]["value"] - 0.1
    assert good["not a gradient"]["floor"] == 0


@pytest.mark.slow
def test_a_small_run_is_judged_in_full(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cache, "enable_cache", lambda: None)
    (tmp_path / "toy.yaml").write_text(TOY.replace("4096", "256").replace("400", "2").replace("width: 48", "width: 4"))
    assert main(["train", str(tmp_path / "toy.yaml"), "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    assert main(["eval", str(tmp_path / "run"), "--num", "32", "--likelihoods", "8"]) == 0
    assert "ODE–SDE gap" in capsys.readouterr().out
    rows = json.loads((tmp_path / "run" / "evaluation.json").read_text())["rows"]
    assert all(math.isfinite(row["value"]) for row in rows)
    assert main(["eval", str(tmp_path / "run"), "--num", "3"]) == 2
    assert "--num=3" in capsys.readouterr().err


def test_no_shape_of_a_law_is_a_model_of_it():
    """A forest and distances take pictures as they come."""
    rng = np.random.default_rng(0)
    pictures = rng.normal(size=(60, 4, 4, 1))
    assert 0.2 <= c2st(pictures, rng.normal(size=(60, 4, 4, 1)), trees=50) <= 0.8
    assert overlap(jnp.asarray(pictures), pictures).precision == 1.0
