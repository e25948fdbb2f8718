"""The command line: exit codes, one line per complaint, nothing overwritten, no JAX before it is needed."""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fkdiff.cli import cache, main

ROOT = Path(__file__).parents[2]
TINY = """
data: {kind: gaussians, num_points: 128}
model: {kind: mlp, width: 8, depth: 1}
optim: {steps: 6, batch_size: 16, warmup: 1}
logging: {metrics_every: 3, checkpoint_every: 3}
sampling: {num_samples: 9, num_steps: 2, solver: euler}
"""


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch):
    monkeypatch.setattr(cache, "enable_cache", lambda: None)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    (folder / "tiny.yaml").write_text(TINY)
    patch = pytest.MonkeyPatch()
    patch.setattr(cache, "enable_cache", lambda: None)
    code = main(["train", str(folder / "tiny.yaml"), "--out", str(folder / "run"), "--optim.learning_rate", "1e-2"])
    patch.undo()
    assert code == 0
    return folder / "run"


def complaint(capsys, *words, code=2):
    """The one line that a refused command writes."""
    assert main([str(word) for word in words]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1, said.err
    assert said.err.startswith("fkdiff: ")
    return said.err


def test_train_info_and_sample(run, tmp_path, capsys):
    assert "learning_rate: 0.01" in (run / "config.yaml").read_text()
    assert main(["info", str(run)]) == 0
    said = capsys.readouterr().out
    assert "step 6 of 6, verified" in said
    assert "8 classes" in said
    out = tmp_path / "drawn"
    words = ["sample", str(run), "--out", str(out), "--num", "5", "--class", "all", "--steps", "2", "--seed", "1"]
    assert main(words) == 0
    assert {f.name for f in out.iterdir()} == {"samples.npz", "samples.png", "sample.json"}
    with np.load(out / "samples.npz", allow_pickle=False) as file:
        assert file["samples"].shape == (40, 2)
        np.testing.assert_array_equal(file["classes"], np.repeat(np.arange(8), 5))
    facts = json.loads((out / "sample.json").read_text())
    assert facts["step"] == 6
    assert facts["sampling"]["num_steps"] == 2
    again = tmp_path / "again"
    words[3] = str(again)
    assert main(words) == 0
    assert (again / "samples.npz").read_bytes() == (out / "samples.npz").read_bytes()
    capsys.readouterr()
    assert "already exists" in complaint(capsys, *words)
    assert [entry.name for entry in sorted(tmp_path.iterdir())] == ["again", "drawn"]


def test_an_existing_run_is_refused_and_a_finished_one_resumes_to_more_steps(run, capsys):
    config = run.parent / "tiny.yaml"
    assert "already exists" in complaint(capsys, "train", config, "--out", run)
    assert "another optim.learning_rate" in complaint(capsys, "train", config, "--out", run, "--resume")
    words = ["train", config, "--out", run, "--resume", "--optim.learning_rate", "1e-2"]
    assert main([str(word) for word in words]) == 0
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    # Nothing is left to do, and what is said is what was measured when the run ended.
    assert f"6 steps, loss {last['loss']:.4f}, held out {last['held_out']:.4f}" in capsys.readouterr().out


@pytest.mark.slow
def test_guidance_needs_classes(run, tmp_path, capsys):
    words = ["--data.kind", "checkerboard", "--data.num_points", "128", "--optim.steps", "2"]
    assert main(["train", str(run.parent / "tiny.yaml"), "--out", str(tmp_path / "plain"), *words]) == 0
    capsys.readouterr()
    words = ["sample", tmp_path / "plain", "--out", tmp_path / "out", "--guidance", "2"]
    assert "trained without classes" in complaint(capsys, *words)


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.strip() == f"fkdiff {importlib.metadata.version('fkdiff')}"


def test_a_reader_that_leaves_is_no_error(run):
    line = f"{sys.executable} -m fkdiff.cli info {run} | head -c 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr == ""


@pytest.mark.parametrize(
    "words, part",
    [
        (["sample", "RUN", "--out", "OUT", "--class", "12"], "classes 0 to 7"),
        (["sample", "RUN", "--out", "OUT", "--class", "two"], "whole number nor all"),
        (["sample", "RUN", "--out", "OUT", "--num", "0"], "--num=0"),
        (["sample", "RUN", "--out", "OUT", "--seed", "-1"], "outside [0, 2**32)"),
        (["sample", "RUN", "--out", "OUT", "--guidance", "nan"], "finite"),
        (["sample", "RUN", "--out", "OUT", "--clas", "1"], 'did you mean "--class"'),
        (["sample", "RUN", "--out", "../.x y"], "choose another name"),
        (["sample", "RUN", "--out", "CONFIG/x"], "choose another place"),
        (["steer", "RUN", "--config", "STEER", "--out", "CONFIG/x"], "choose another place"),
        (["train", "CONFIG", "--out", "CONFIG/x"], "choose another place"),
        (["sample", "NOWHERE", "--out", "OUT"], "there is no such run"),
        (["info", "NOWHERE"], "there is no such run"),
        (["steer", "NOWHERE", "--config", "STEER", "--out", "OUT"], "there is no such run"),
        (["steer", "RUN", "--config", "STEER", "--out", "OUT", "--task.bta", "2"], 'did you mean "beta"'),
        (["train", "NOWHERE", "--out", "OUT"], "no such file"),
        (["train", "CONFIG", "--out", "OUT", "--optim.learnin_rate", "1"], 'did you mean "learning_rate"'),
        (["train", "CONFIG", "--out", "OUT", "--optim.learning_rate", "fast"], "valid number"),
        (["train", "CONFIG", "--out", "OUT", "--optim.learning_rate", "nan"], "finite"),
        (["train", "CONFIG", "--out", "OUT", "--seed", "-4"], "seed='-4'"),
        (["train", "CONFIG", "--out", "OUT", "--path.kind", "linea"], 'did you mean "linear"'),
        (["train", "CONFIG", "--out", "OUT", "--optim.steps"], "optim.steps"),
        (["train", "CONFIG", "--out", "OUT", "stray"], "stray"),
        (["train", "CONFIG", "--out", "OUT", "--resume"], "there is no such run"),
        (["train", "CONFIG"], "--out"),
        (["train", "CONFIG", "--out", "OUT", "--path.log_snr", "4"], "must be a list"),
        (["sample", "RUN", "--out", "OUT", "--guidance", "2"], "add --class"),
        (["trian"], "train"),
        ([], "COMMAND"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(run, tmp_path, capsys, monkeypatch, words, part):
    monkeypatch.chdir(tmp_path)
    named = {
        "RUN": run,
        "OUT": tmp_path / "out",
        "CONFIG": run.parent / "tiny.yaml",
        "STEER": ROOT / "configs" / "steer" / "anneal.yaml",
        "NOWHERE": tmp_path / "nowhere",
        "CONFIG/x": run.parent / "tiny.yaml" / "x",
    }
    assert part in complaint(capsys, *[named.get(word, word) for word in words])
    assert list(tmp_path.iterdir()) == []


def test_control_characters_do_not_reach_the_terminal(capsys):
    said = complaint(capsys, "train", "\x1b[31mred\n", "--out", "x")
    assert "\x1b" not in said


def test_overrides_reach_the_config_whatever_their_form():
    from fkdiff.cli.overrides import override
    from fkdiff.train.config import parse_config

    config = parse_config(TINY)
    words = "--path.kind linear --path.log_snr -7 7 --optim.steps=9 --model.width 16 --optim.learning_rate 3e-4"
    new = override(config, words.split())
    assert (new.path.kind, new.path.log_snr) == ("linear", (-7.0, 7.0))
    assert (new.optim.steps, new.optim.learning_rate, new.optim.batch_size) == (9, 3e-4, 16)
    assert (new.model.kind, new.model.width, new.model.depth) == ("mlp", 16, 1)  # type: ignore[union-attr]
    assert override(config, ["path:linear"]).path.kind == "linear"
    assert (
        override(config, ["--objective.kind", "noise", "--objective.times", "logsnr"]).objective.times.kind == "logsnr"
    )
    weighed = override(config, ["--objective.weighting", "min_snr", "--objective.weighting.gamma", "3"])
    assert weighed.objective.weighting.model_dump() == {"kind": "min_snr", "gamma": 3.0}
    assert override(config, []) is config


NO_JAX = """
import sys
from fkdiff.cli import main
for words in {words!r}:
    try:
        print(main(words))
    except SystemExit as stop:
        print(stop.code)
heavy = {{"jax", "flax", "optax", "numpy", "matplotlib", "sklearn"}} & set(sys.modules)
assert not heavy, heavy
"""


def test_help_and_complaints_come_before_jax(tmp_path):
    (tmp_path / "bad.yaml").write_text("data: {kind: digit}")
    good = str(ROOT / "configs" / "digits.yaml")
    words = [
        ["--help"],
        ["train", "--help"],
        ["train", good, "--help"],
        ["steer", "--help"],
        ["sample", "--help"],
        ["train", str(tmp_path / "bad.yaml"), "--out", str(tmp_path / "x")],
        ["train", good, "--out", str(tmp_path / "x"), "--optim.lr", "3"],
        ["train", good, "--out", str(tmp_path)],
        ["sample", str(tmp_path / "absent"), "--out", str(tmp_path / "x")],
    ]
    done = subprocess.run(
        [sys.executable, "-c", NO_JAX.format(words=words)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--optim.learning_rate" in done.stdout
    assert "--engine.num_particles" in done.stdout
    codes = [line for line in done.stdout.splitlines() if line in ("0", "2")]
    assert codes == ["0"] * 5 + ["2"] * 4
    assert done.stderr.count("\n") == 4


def test_the_cache_is_private_or_not_used(tmp_path, monkeypatch):
    import jax

    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    try:
        assert cache.enable_cache() == tmp_path / "fkdiff"
        assert (tmp_path / "fkdiff").stat().st_mode & 0o777 == 0o700
        (tmp_path / "fkdiff").chmod(0o777)
        assert cache.enable_cache() is None
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


# Configs ---------------------------------------------------------------------------------------------------


def test_a_config_is_shown_in_full_and_reads_back_as_itself(tmp_path, capsys):
    assert main(["config", "show", str(ROOT / "configs" / "digits.yaml"), "--optim.steps", "7"]) == 0
    text = capsys.readouterr().out
    (tmp_path / "shown.yaml").write_text(text)
    assert "clip: 1.0" in text
    from fkdiff.train.config import load_config

    again, original = load_config(tmp_path / "shown.yaml"), load_config(ROOT / "configs" / "digits.yaml")
    assert again == original.model_copy(update={"optim": original.optim.model_copy(update={"steps": 7})})
    assert main(["config", "diff", str(tmp_path / "shown.yaml"), str(ROOT / "configs" / "digits.yaml")]) == 1
    assert capsys.readouterr().out == "optim.steps: 7 → 4000\n"
    assert main(["config", "diff", str(tmp_path / "shown.yaml"), str(tmp_path / "shown.yaml")]) == 0
    assert capsys.readouterr().out == "the same.\n"


def test_a_run_and_a_steering_config_may_be_compared_too(run, tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(TINY)
    assert main(["config", "diff", str(tmp_path / "tiny.yaml"), str(run)]) == 1
    assert capsys.readouterr().out == "optim.learning_rate: 0.001 → 0.01\n"
    assert main(["config", "show", str(ROOT / "configs" / "steer" / "anneal.yaml")]) == 0
    assert "kind: anneal" in capsys.readouterr().out
    assert "without a config.yaml" in complaint(capsys, "config", "show", tmp_path)


@pytest.mark.parametrize("kind", ["train", "steer"])
def test_a_schema_accepts_what_the_config_accepts(capsys, kind):
    assert main(["config", "schema", kind]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["additionalProperties"] is False
    assert {"train": "optim", "steer": "engine"}[kind] in schema["properties"]


def test_a_dry_run_reads_and_sizes_and_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savetxt("t.csv", np.ones((20, 2)) * np.arange(20)[:, None], delimiter=",", header="a,b", comments="")
    (tmp_path / "c.yaml").write_text(
        "data: {kind: arrays, file: t.csv}\nmodel: {kind: mlp, width: 8, depth: 1}\noptim: {batch_size: 8, steps: 9}\n"
    )
    before = sorted(tmp_path.iterdir())
    assert main(["train", "c.yaml", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "20 examples of shape (2,)" in said
    assert "9 steps of 8: 4.0 epochs" in said
    assert sorted(tmp_path.iterdir()) == before
    assert "larger than the 18" in complaint(capsys, "train", "c.yaml", "--dry-run", "--optim.batch_size", "19")
    assert "--out is missing" in complaint(capsys, "train", "c.yaml")
    assert "there is no t.csv" in complaint(capsys, "train", "c.yaml", "--dry-run", "--data-root", "/usr")
    assert main(["train", "c.yaml", "--out", "run"]) == 0
    assert "data: t.csv: 20 examples" in capsys.readouterr().err
