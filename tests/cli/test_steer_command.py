"""`fkdiff steer`, whole: what it writes, and figures held against other routes to the same answer."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fkdiff.cli import cache, main
from fkdiff.tasks.tables import examples_table as table

TRAIN = """
data: {kind: digits}
path: {kind: cosine, log_snr: [-6, 2]}
model: {kind: mlp, width: 32, depth: 1}
objective: {label_dropout: 0.5}
optim: {steps: 300, batch_size: 64, warmup: 10, learning_rate: 1e-2, ema_decay: 0.9, weight_decay: 1.0}
sampling: {num_samples: 10, num_steps: 2, solver: euler}
"""
GUIDANCE = """
task: {kind: guidance, labels: [3, 8], scale: 2.0}
engine: {num_particles: 64, num_steps: 4, step: euler}
num_samples: 20
"""
REWARD = """
task: {kind: reward, reward: {kind: ink, target: 0.35, strength: 100.0}}
engine: {num_particles: 256, num_steps: 12, step: heun, control: score+reward}
num_samples: 10
"""
ANNEAL = """
task: {kind: anneal, beta: 1.2}
engine: {num_particles: 256, num_steps: 12, step: heun}
num_samples: 10
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("steer")
    (folder / "train.yaml").write_text(TRAIN)
    patch = pytest.MonkeyPatch()
    patch.setattr(cache, "enable_cache", lambda: None)
    assert main(["train", str(folder / "train.yaml"), "--out", str(folder / "run")]) == 0
    yield folder / "run"
    patch.undo()


def steer(run, tmp_path, config, *overrides):
    (tmp_path / "steer.yaml").write_text(config)
    words = ["steer", run, "--config", tmp_path / "steer.yaml", "--out", tmp_path / "out", *overrides]
    assert main([str(word) for word in words]) == 0
    return json.loads((tmp_path / "out" / "summary.json").read_text())


def test_guidance_writes_draws_weights_pictures_and_a_summary(run, tmp_path, capsys):
    summary = steer(run, tmp_path, GUIDANCE, "--seed", "4")
    out, said = tmp_path / "out", capsys.readouterr().out
    names = {"particles.npz", "samples.png", "summary.json", "report_class_3.png", "report_class_8.png"}
    assert {f.name for f in out.iterdir()} == names
    for name in names:
        if name.endswith("png"):
            assert (out / name).read_bytes().startswith(b"\x89PNG")
    assert summary["config"]["seed"] == 4
    with np.load(out / "particles.npz", allow_pickle=False) as file:
        for label in (3, 8):
            particles, draws = file[f"class_{label}/particles"], file[f"class_{label}/draws"]
            log_weights = file[f"class_{label}/log_weights"]
            assert particles.shape == file[f"class_{label}/heuristic"].shape == (64, 64)
            assert draws.shape == (20, 64)
            # Every draw is one of the particles, and one that has weight.
            places = [np.flatnonzero((particles == draw).all(axis=1)) for draw in draws]
            assert all(len(place) for place in places)
            assert np.isfinite(log_weights[[place[0] for place in places]]).all()
    for case in summary["cases"]:
        # Two models, four Euler steps; one probe for each.
        assert (case["evaluations"], case["jvps"]) == (8 + 7 * 2 * case["resamplings"], 8)
        assert case["heuristic_evaluations"] <= case["evaluations"] + case["jvps"]
        assert 0 <= case["judge"]["exact"]["accuracy"] <= 1
        assert case["judge"]["exact_target"]["balance"][int(case["case"][-1])] == 1
        assert case["distinct_ancestors"] <= 64
        assert f"{case['log_z']:.2f}" in said
    assert table(summary["cases"]).splitlines()[0] in said


@pytest.mark.slow
def test_a_reward_agrees_with_weighted_plain_draws(run, tmp_path):
    (case,) = steer(run, tmp_path, REWARD)["cases"]
    truth = case["judge"]["exact_target"]
    error = np.hypot(case["log_z_standard_error"], truth["log_z_standard_error"])
    assert error <= 0.2
    # Twelve Heun steps with one probe: a discretisation of a tenth of a nat beside the sampling error.
    assert abs(case["log_z"] - truth["log_z"]) <= 5 * error + 0.1
    assert case["judge"]["exact"]["balance_distance"] <= 0.25
    assert sum(case["judge"]["exact"]["balance"]) == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_class_balance_under_a_power_is_that_of_gaussian_classes():
    """Isotropic classes in the plane: ∫q_c^β = (2πv)^(1−β)/β, so the narrow class gains on the common one."""
    from types import SimpleNamespace

    import fkdiff as fk
    from fkdiff.tasks import Anneal, SteerConfig
    from fkdiff.tasks.case import Setting

    path, shares, variances, beta = fk.paths.cosine(), np.array([0.7, 0.3]), np.array([0.5, 0.1]), 1.6
    classes = [fk.targets.gaussian([m, 0.0], v).predictor(path) for m, v in zip((-3.0, 3.0), variances, strict=True)]
    run = SimpleNamespace(given=lambda label: classes[label], class_shares=shares)
    task = Anneal(beta=beta)
    found = task.class_by_class(Setting(SteerConfig(task=task), run))
    reached = path.alpha(path.t_max) ** 2 * variances + path.sigma(path.t_max) ** 2
    masses = shares**beta * (2 * np.pi * np.asarray(reached)) ** (1 - beta) / beta
    np.testing.assert_allclose(found.balance, masses / masses.sum(), atol=0.02)
    assert abs(found.log_z - np.log(masses.sum())) <= 0.05
    assert not np.allclose(masses / masses.sum(), shares, atol=0.1)


STEERING = """
task: {kind: steering, reward: {kind: ink, target: 0.35, strength: 100.0}, intermediate: draws}
engine: {num_particles: 256, num_steps: 12}
num_samples: 16
"""


@pytest.mark.slow
def test_a_steered_reward_agrees_with_weighted_plain_draws_of_its_own_chain(run, tmp_path, capsys):
    (case,) = steer(run, tmp_path, STEERING)["cases"]
    truth = case["judge"]["exact_target"]
    error = np.hypot(case["log_z_standard_error"], truth["log_z_standard_error"])
    assert error <= 0.2
    assert abs(case["log_z"] - truth["log_z"]) <= 5 * error
    # 13 calls for each of 256 particles, 16 draws: 17 whole chains of 12 calls for each.
    assert case["heuristic_evaluations"] == 17 * 12
    assert "best of n" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["--task.proposal", "twisted"], ["--task.ramp", "adaptive"], ["--task.potential", "max"]]
)
def test_every_way_to_steer_a_reward_runs_and_agrees(run, tmp_path, words):
    (case,) = steer(run, tmp_path, STEERING, *words)["cases"]
    truth = case["judge"]["exact_target"]
    error = np.hypot(case["log_z_standard_error"], truth["log_z_standard_error"])
    assert abs(case["log_z"] - truth["log_z"]) <= 5 * error


@pytest.mark.slow
def test_several_populations_are_pooled(run, tmp_path):
    (case,) = steer(run, tmp_path, ANNEAL, "--engine.num_populations", "3", "--task.label", "2")["cases"]
    assert case["num_particles"] == 768
    assert not case["log_z_error_is_lower_bound"]
    assert case["judge"]["exact"]["accuracy"] is not None


@pytest.mark.parametrize("words, part", [(["--task.labels", "12"], "classes 0 to 9"), (["--task.scale", "0"], None)])
def test_what_the_model_does_not_know_is_refused_before_anything_is_written(run, tmp_path, capsys, words, part):
    (tmp_path / "steer.yaml").write_text(GUIDANCE)
    line = ["steer", run, "--config", tmp_path / "steer.yaml", "--out", tmp_path / "out", *words]
    code = main([str(word) for word in line])
    if part is None:  # scale 0 is the unconditional model: allowed
        assert code == 0
        return
    assert code == 2
    said = capsys.readouterr().err
    assert part in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_two_routes_to_log_z_that_disagree_are_doubted():
    from fkdiff.tasks.judging import contradictions

    case = {"log_z": 5.4, "log_z_standard_error": 0.17}
    truth = {"log_z": 6.29, "log_z_standard_error": 0.05, "route": "one run for each class"}
    assert contradictions(case) == []
    (doubt,) = contradictions(case | {"judge": {"exact_target": truth}})
    assert "one run for each class" in doubt
    assert contradictions(case | {"judge": {"exact_target": truth | {"log_z": 5.9}}}) == []
    assert contradictions(case | {"judge": {"exact_target": truth | {"log_z": None}}}) == []


def test_log_z_beyond_what_agreeing_models_allow_is_doubted():
    from fkdiff.tasks.case import Case
    from fkdiff.tasks.outcome import disagreement

    case = Case("class 3", None, None, None, 3, "", log_z_bound=4.6)  # type: ignore[arg-type]
    assert disagreement(case, (4.5, 0.1, False)) == []
    assert disagreement(case, (4.7, 0.1, False)) == []
    assert "SYMPTOMS.md#models-that-disagree" in disagreement(case, (4.9, 0.1, False))[0]
    assert disagreement(case._replace(log_z_bound=None), (99.0, 0.1, False)) == []


@pytest.mark.slow
@pytest.mark.parametrize("script", ["steer.py", "steer_with_my_reward.py"])
def test_scripts_do_what_they_say(run, tmp_path, script):
    root = Path(__file__).parents[2]
    small = ["--particles", "32", "--steps", "6"]
    out = tmp_path / "picture.png"
    line = [sys.executable, "-W", "ignore", root / "scripts" / script, run, "--out", out, *small]
    done = subprocess.run([str(word) for word in line], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "log Z" in done.stdout
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    again = subprocess.run([str(word) for word in line], capture_output=True, text=True, cwd=tmp_path)
    assert "exists; pass another --out" in again.stderr


INVERSE = """
task: {kind: inverse, operator: {kind: inpainting, rows: [3, 6], columns: [2, 6]}, noise: 0.5, held_out: [0, 5]}
engine: {num_particles: 64, num_steps: 6}
num_samples: 12
"""


@pytest.mark.slow
def test_inverse_problems_write_what_was_seen_and_how_well_it_was_answered(run, tmp_path, capsys):
    summary = steer(run, tmp_path, INVERSE)
    assert [case["case"] for case in summary["cases"]] == ["held out 0", "held out 5"]
    for case in summary["cases"]:
        exact = case["judge"]["exact"]
        assert 0 <= exact["covered"] <= 1
        # The seen pixels are known up to noise, the hidden ones up to the spread of digits.
        assert 0.5 <= exact["misfit"] <= 2
        assert exact["rmse"] <= 1.0
        assert case["evaluations"] == 7
        assert f"{case['log_z']:.2f}" in capsys.readouterr().out or case is not summary["cases"][0]
    assert (tmp_path / "out" / "samples.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize(
    "operator, shape",
    [("{kind: super_resolution, factor: 2}", (4, 4)), ("{kind: deblurring, width: 3}", (8, 8))],
)
def test_a_person_observes(run, tmp_path, operator, shape):
    """From a file; the answer explains it, which no other picture's answer does."""
    from fkdiff import inverse_problems
    from fkdiff.train.data import digits

    seen = (
        inverse_problems.downsample(2, (8, 8))
        if shape == (4, 4)
        else inverse_problems.blur(np.outer([1, 2, 1], [1, 2, 1]) / 16, (8, 8))
    )
    picture = digits("judge").examples[3].reshape(8, 8)
    np.save(tmp_path / "y.npy", np.asarray(seen.apply(picture)))
    config = f"task: {{kind: inverse, operator: {operator}, noise: 0.3}}\nengine: {{num_particles: 128, num_steps: 8}}"
    summary = steer(run, tmp_path, config + "\nnum_samples: 4", "--observation", tmp_path / "y.npy")
    (case,) = summary["cases"]
    assert case["judge"]["exact"]["misfit"] <= 1.5
    assert "rmse" not in case["judge"]["exact"]
    with np.load(tmp_path / "out" / "particles.npz") as file:
        draws = file["observation_0/draws"].reshape(-1, 8, 8)
    other = digits("judge").examples[10].reshape(8, 8)
    gap = [np.mean((draws.mean(axis=0) - truth) ** 2) for truth in (picture, other)]
    assert gap[0] <= 0.5 * gap[1]


@pytest.mark.parametrize(
    "words, part",
    [
        (["--task.operator.rows", "8", "8"], "nothing of 8 × 8"),
        (["--task.held_out", "9999"], "360 held-out"),
        (["--observation", "ragged.npy"], "this operator gives (52,)"),
        (["--observation", "nan.npy"], "NaN or infinity"),
        (["--observation", "text.npy"], "not a .npy file"),
        (["--observation", "absent.npy"], "No such file"),
    ],
)
def test_observations_that_do_not_fit_are_refused(run, tmp_path, capsys, monkeypatch, words, part):
    monkeypatch.chdir(tmp_path)
    np.save("ragged.npy", np.zeros(7))
    np.save("nan.npy", np.full(52, np.nan))
    Path("text.npy").write_text("import os")
    Path("steer.yaml").write_text(INVERSE)
    assert main(["steer", str(run), "--config", "steer.yaml", "--out", "out", *words]) == 2
    said = capsys.readouterr().err
    assert part in said
    assert said.count("\n") == 1
    assert not Path("out").exists()


TEXT_RUN = """
data: {kind: pydoc_chars, length: 16}
path: {kind: masked}
model: {kind: transformer, width: 16, depth: 1, heads: 2}
optim: {steps: 40, batch_size: 32, warmup: 5, learning_rate: 1e-2, ema_decay: 0.9}
sampling: {num_samples: 2, num_steps: 4}
"""
TEXT = """
task: {kind: text, prompt: "is ", reward: {kind: words, words: [a, is, it, the], strength: 3.0}}
engine: {num_particles: 256, resample_threshold: 0.9}
num_samples: 8
"""


@pytest.fixture(scope="module")
def text_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    (folder / "train.yaml").write_text(TEXT_RUN)
    assert main(["train", str(folder / "train.yaml"), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.mark.slow
def test_text_begins_as_told_and_agrees_with_weighted_plain_texts(text_run, tmp_path, capsys):
    (case,) = steer(text_run, tmp_path, TEXT)["cases"]
    truth = case["judge"]["exact_target"]
    error = np.hypot(case["log_z_standard_error"], truth["log_z_standard_error"])
    assert error <= 0.3
    assert abs(case["log_z"] - truth["log_z"]) <= 5 * error
    page = (tmp_path / "out" / "samples.txt").read_text().splitlines()
    assert sum(line.startswith("'is ") for line in page) == 16
    assert case["judge"]["exact"]["reward"] >= case["judge"]["heuristic"]["reward"] - 1.0
    assert "5-gram" in capsys.readouterr().out


@pytest.mark.slow
def test_a_power_of_text_has_other_letters_than_its_heuristic(text_run, tmp_path):
    power = TEXT.replace("{kind: words, words: [a, is, it, the], strength: 3.0}", "null, beta: 1.5")
    (case,) = steer(text_run, tmp_path, power)["cases"]
    assert case["baseline"] == "no weights"
    assert case["log_z"] <= 0  # Σ q^β ≤ 1 for β > 1
    assert np.isfinite(case["judge"]["exact"]["nats_per_character"])


@pytest.mark.slow
def test_what_does_not_fit_text_is_refused(run, text_run, tmp_path, capsys):
    (tmp_path / "text.yaml").write_text(TEXT)
    (tmp_path / "guide.yaml").write_text(GUIDANCE)

    def said(folder, config, *words):
        line = ["steer", folder, "--config", tmp_path / config, "--out", tmp_path / "out", *words]
        assert main([str(word) for word in line]) == 2
        return capsys.readouterr().err

    assert "text is for models of text" in said(run, "text.yaml")
    assert "use task.kind=text" in said(text_run, "guide.yaml")
    assert "task.prompt: text holds '\\xe9'" in said(text_run, "text.yaml", "--task.prompt", "é")
    assert "a text of this model 16 in all" in said(text_run, "text.yaml", "--task.prompt", "a" * 16)
    assert "--observation is for task.kind=inverse" in said(text_run, "text.yaml", "--observation", "y.npy")
