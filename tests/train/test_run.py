"""A run: stopped and resumed anywhere it is the same run, and what is there is never overwritten."""

import hashlib
import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fkdiff.core import FkdiffError, FkdiffWarning
from fkdiff.train import checkpoint, load_predictor, load_run, loop, run
from fkdiff.train.config import TrainConfig
from fkdiff.train.files import exclusive
from fkdiff.train.plan import resolved

CONFIG = TrainConfig.model_validate(
    {
        "data": {"kind": "rings", "num_points": 128},
        "path": {"kind": "linear"},
        "model": {"kind": "mlp", "width": 8, "depth": 1},
        "optim": {"steps": 12, "batch_size": 16, "learning_rate": 1e-2, "warmup": 2},
        "logging": {"metrics_every": 4, "checkpoint_every": 4},
        "sampling": {"num_samples": 9, "num_steps": 3, "solver": "euler"},
        "seed": 3,
    }
)


def contents(folder):
    """Hash of every file in a folder, by its path."""
    files = (f for f in sorted(folder.rglob("*")) if f.is_file())
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "straight"
    result = loop.train(CONFIG, out)
    return out, result


def interrupt_at(monkeypatch, step, number):
    """Sends this process a signal while it takes `step`."""

    def interrupted(config, data_root):
        plan = resolved(config, data_root)

        def counted(state, data, root):
            if int(state.step) == step:
                os.kill(os.getpid(), number)
            return plan.step(state, data, root)

        return plan._replace(step=counted)

    monkeypatch.setattr(loop, "resolved", interrupted)


def test_the_run_folder_holds_what_it_should(trained):
    out, result = trained
    assert (result.step, result.stopped) == (12, None)
    assert np.isfinite([result.loss, result.held_out]).all()
    names = {entry.name for entry in out.iterdir()}
    assert names == {"config.yaml", "metrics.jsonl", "checkpoints", "samples.png", ".lock"}
    assert [f.name for f in sorted((out / "checkpoints").iterdir())] == ["step_00000008", "step_00000012"]
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [4, 8, 12]
    assert (out / "samples.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_and_resumed_it_is_bitwise_the_same_run(trained, tmp_path, monkeypatch, number):
    straight, _ = trained
    out = tmp_path / "broken"
    with monkeypatch.context() as patch:
        interrupt_at(patch, 6, number)
        result = loop.train(CONFIG, out, picture=False)
    assert (result.stopped, result.step) == (number, 7)
    assert checkpoint.steps(out / "checkpoints")[0] == 7
    with (out / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"step": 8, "loss": 1.0}\n{"step": 9, "lo')  # from a process that died later
    result = loop.train(CONFIG, out, resume=True)
    assert (result.stopped, result.step) == (None, 12)
    ours, theirs = (contents(folder / "checkpoints" / "step_00000012") for folder in (out, straight))
    assert ours == theirs
    assert (out / "samples.png").read_bytes() == (straight / "samples.png").read_bytes()
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [4, 7, 8, 12]


def test_an_existing_folder_is_refused_and_untouched(trained):
    out, _ = trained
    before = contents(out)
    with pytest.raises(FkdiffError, match="already exists"):
        loop.train(CONFIG, out)
    assert contents(out) == before


def test_a_run_in_use_is_refused_by_its_holder(trained):
    out, _ = trained
    with exclusive(out), pytest.raises(FkdiffError, match=f'in use by .*"process": {os.getpid()}'):
        loop.train(CONFIG, out, resume=True)


def test_resuming_under_another_config_names_the_keys(trained):
    out, _ = trained
    changed = CONFIG.model_copy(
        update={
            "seed": 4,
            "optim": CONFIG.optim.model_copy(update={"learning_rate": 0.5, "steps": 20}),
        }
    )
    with pytest.raises(FkdiffError, match=r"another optim\.learning_rate, seed;.*new folder\.$"):
        loop.train(changed, out, resume=True)


def test_an_older_way_to_say_the_same_is_the_same(trained):
    out, _ = trained
    old = CONFIG.model_dump(mode="json")
    old["objective"] = {"kind": "velocity", "weighting": "unit", "times": "uniform", "label_dropout": 0.1}
    run.check_same(CONFIG, old, out)
    old["objective"]["weighting"] = "min_snr"
    with pytest.raises(FkdiffError, match=r"objective\.weighting\.gamma"):
        run.check_same(CONFIG, old, out)


@pytest.mark.slow
def test_averages_of_other_lengths_are_kept_restored_and_loaded_by_their_decay(tmp_path, monkeypatch):
    config = CONFIG.model_copy(update={"optim": CONFIG.optim.model_copy(update={"more_ema_decays": (0.5, 0.0)})})
    with monkeypatch.context() as patch:
        interrupt_at(patch, 6, signal.SIGTERM)
        loop.train(config, tmp_path / "run", picture=False)
    loop.train(config, tmp_path / "run", resume=True, picture=False)
    loop.train(config, tmp_path / "straight", picture=False)
    for file in ("ema_1", "ema_2"):
        a, b = (tmp_path / name / f"checkpoints/step_00000012/{file}.safetensors" for name in ("run", "straight"))
        assert a.read_bytes() == b.read_bytes()
    last, none = load_run(tmp_path / "run", ema=False), load_run(tmp_path / "run", ema=0.0)
    half, usual = load_run(tmp_path / "run", ema=0.5), load_run(tmp_path / "run")
    pairs = zip(jax.tree.leaves(last.params), jax.tree.leaves(none.params), strict=True)
    assert all(bool((a == b).all()) for a, b in pairs)
    assert any(bool((a != b).any()) for a, b in zip(*map(jax.tree.leaves, (half.params, usual.params)), strict=True))
    with pytest.raises(FkdiffError, match=r"none of the averages that were kept: 0\.999, 0\.5, 0\.0\.$"):
        load_run(tmp_path / "run", ema=0.25)


def test_ten_bad_gradients_end_the_run_in_a_sentence(tmp_path, monkeypatch):
    def broken(config, data_root):
        plan = resolved(config, data_root)

        def step(state, data, root):
            return plan.step(state, data._replace(examples=data.examples * jnp.nan), root)

        return plan._replace(step=step)

    monkeypatch.setattr(loop, "resolved", broken)
    with pytest.raises(FkdiffError, match="10 gradients in a row were not finite"):
        loop.train(CONFIG, tmp_path / "bad")


def test_a_loaded_model_is_the_trained_one(trained):
    out, _ = trained
    run = load_run(out)
    assert (run.step, run.num_classes, run.config) == (12, 3, CONFIG)
    assert run.predictor.shape == (2,)
    x = jnp.array([0.3, -0.2])
    a, b, last = (
        load_predictor(out, 1)(x, 0.4),
        load_predictor(out, 2)(x, 0.4),
        load_predictor(out, 1, ema=False)(x, 0.4),
    )
    assert bool((a.velocity != b.velocity).any())
    assert bool((a.velocity != last.velocity).any())
    none = run.predictor(x, 0.4)
    np.testing.assert_array_equal(none.velocity, run.predictor.given(jnp.int32(3))(x, 0.4).velocity)
    assert run.predictor.rule.apply == load_predictor(out).rule.apply  # type: ignore[attr-defined]
    # The path is the config's: velocity of the linear path is clean − noise.
    assert float(jnp.abs(a.velocity - (a.clean - a.noise)).max()) <= 1e-4


def test_what_cannot_be_loaded_is_a_sentence(trained, tmp_path):
    out, _ = trained
    with pytest.raises(FkdiffError, match="there is no such run"):
        load_predictor(tmp_path / "absent")
    with pytest.raises(FkdiffError, match="not a run folder"):
        load_predictor(tmp_path)
    for label in (3, -1):
        with pytest.raises(FkdiffError, match=f"class={label} is not one of the model's classes 0 to 2"):
            load_predictor(out, label)


def test_a_damaged_checkpoint_falls_back_and_says_so(trained, tmp_path):
    import shutil

    out = tmp_path / "copy"
    shutil.copytree(trained[0], out)
    file = out / "checkpoints" / "step_00000012" / "optimizer.safetensors"
    damaged = bytearray(file.read_bytes())
    damaged[-5] ^= 4
    file.write_bytes(damaged)
    with pytest.warns(FkdiffWarning, match=r"optimizer\.safetensors is damaged.*Step 8 is used instead"):
        assert load_run(out).step == 8


@pytest.mark.parametrize("name", ["../x", ".hidden", "a b", "x" * 65, "a\nb", "-o"])
def test_run_names_are_plain(tmp_path, name):
    with pytest.raises(FkdiffError, match="choose another name"):
        loop.train(CONFIG, f"{tmp_path}/{name}" if name != "../x" else tmp_path / "..")


@pytest.mark.parametrize(
    "kind, path", [("clean", "variance_preserving"), ("score", "variance_exploding"), ("v", "linear")]
)
def test_every_kind_on_every_path_has_outputs_and_gradients_of_order_one(kind, path):
    from fkdiff.core.keys import seed_key
    from fkdiff.train.build import build_model
    from fkdiff.train.objectives.matching import batch_loss

    config = CONFIG.model_copy(
        update={
            "path": TrainConfig.model_validate({"data": {"kind": "rings"}, "path": {"kind": path}}).path,
            "objective": CONFIG.objective.model_copy(update={"kind": kind}),
        }
    )
    apply, params, form = build_model(config, seed_key(0))
    clean = jax.random.normal(seed_key(1), (256, 2))
    value, gradient = jax.jit(
        jax.value_and_grad(lambda p: batch_loss(seed_key(2), form, apply, p, clean, jnp.zeros(256, jnp.int32)))
    )(params)
    # Predicting zero costs the target's variance, which the weighting makes one.
    assert abs(float(value) - 1) <= 0.35
    norms = [float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient)]
    assert np.isfinite(norms).all()
    assert max(norms) <= 10
