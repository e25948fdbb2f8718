"""The plan of a run: what is due after a step, and a config that is resolved once."""

import hashlib
import json
import os
import signal

import jax
import numpy as np
import pytest

from fkdiff.core import FkdiffError
from fkdiff.train import loop
from fkdiff.train.config import TrainConfig
from fkdiff.train.data import arrays, load_data, toys
from fkdiff.train.plan import LARGEST_HELD_OUT, Due, Timetable, resolved

TIMES = Timetable(steps=20, metrics_every=3, validate_every=5, checkpoint_every=8, samples_every=4)
MODEL = {"kind": "mlp", "width": 8, "depth": 1}


def toy(**sections):
    base = {"data": {"kind": "rings", "num_points": 128}, "model": MODEL, "optim": {"batch_size": 16, "steps": 4}}
    return TrainConfig.model_validate(base | sections)


def names(due: Due) -> set[str]:
    return {name for name, asked in due._asdict().items() if asked}


@pytest.mark.parametrize(
    "done, stopped, wanted",
    [
        (1, False, set()),
        (3, False, {"measure"}),
        (4, False, {"draw"}),
        (5, False, {"measure", "judge"}),
        (8, False, {"measure", "judge", "save", "draw"}),  # a checkpoint comes with a held-out loss
        (16, False, {"measure", "judge", "save", "draw"}),
        (1, True, {"measure", "judge", "save", "last"}),  # nothing is lost, and no time is spent on a picture
        (4, True, {"measure", "judge", "save", "last"}),
        (20, False, {"measure", "judge", "save", "finished", "last"}),  # the picture at the end is another one
        (20, True, {"measure", "judge", "save", "finished", "last"}),
    ],
)
def test_what_is_due_after_a_step(done, stopped, wanted):
    assert names(TIMES.due(done, stopped)) == wanted


def test_nothing_held_out_is_never_judged_and_no_pictures_are_never_drawn():
    bare = TIMES._replace(validate_every=0, samples_every=0)
    found = [names(bare.due(done, stopped)) for done in range(1, 21) for stopped in (False, True)]
    assert not any(due & {"judge", "draw"} for due in found)
    assert [names(bare.due(done)) for done in (4, 5, 8)] == [set(), set(), {"save"}]


def test_a_plan_says_what_the_config_says():
    sections = {"logging": {"metrics_every": 2, "validate_every": 3, "checkpoint_every": 5, "samples_every": 7}}
    plan = resolved(toy(**sections))
    assert plan.timetable == Timetable(4, 2, 3, 5, 7)
    assert (plan.batches.batch_size, plan.batches.count) == (16, len(load_data(plan.config).examples))
    assert plan.facts == {"key_implementation": "threefry2x32", "precision": "x32"}
    assert plan.baselines == {}
    assert str(plan.report).startswith("rings: ")


def test_the_start_is_the_same_at_every_call_and_has_the_shapes_of_a_dry_run():
    plan = resolved(toy(optim={"batch_size": 16, "more_ema_decays": [0.5]}))
    first, second, shapes = plan.start(), plan.start(), jax.eval_shape(plan.start)
    assert jax.tree.structure(first) == jax.tree.structure(shapes)
    for a, b, shape in zip(*map(jax.tree.leaves, (first, second, shapes)), strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a.shape, a.dtype) == (shape.shape, shape.dtype)
    assert len(first.more_emas) == 1


def test_each_part_of_the_data_is_made_once(monkeypatch):
    made, load = [], toys.load

    def counted(section, part, seed, root):
        made.append(part)
        return load(section, part, seed, root)

    monkeypatch.setattr(toys, "load", counted)
    resolved(toy())
    assert made == ["train", "held_out"]


def test_a_file_is_read_once_and_its_facts_are_in_the_config_that_is_written_down(tmp_path):
    file = tmp_path / "x.npy"
    np.save(file, np.random.default_rng(0).normal(size=(60, 3)))
    arrays._read_once.cache_clear()
    plan = resolved(toy(data={"kind": "arrays", "file": "x.npy", "held_out": 0.2}), tmp_path)
    assert arrays._read_once.cache_info().misses == 1
    assert plan.config.data.known.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (plan.batches.count, len(plan.unseen.examples), plan.timetable.validate_every) == (48, 12, 1000)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.npy"]
    bare = resolved(toy(data={"kind": "arrays", "file": "x.npy", "held_out": 0.0}), tmp_path)
    assert (len(bare.unseen.examples), bare.timetable.validate_every) == (0, 0)


def test_of_much_held_out_data_some_of_every_kind_are_judged_on(tmp_path):
    ramp = np.arange(10_000.0)[:, None]  # in order, as a file that holds class by class
    np.save(tmp_path / "x.npy", ramp)
    section = {"kind": "arrays", "file": "x.npy", "held_out": 0.5, "normalize": "none"}
    values = np.asarray(resolved(toy(data=section), tmp_path).unseen.examples).ravel()
    assert len(values) == len(set(values)) == LARGEST_HELD_OUT
    quarters = np.histogram(values, bins=4, range=(0, 10_000))[0] / LARGEST_HELD_OUT
    assert np.abs(quarters - 0.25).max() <= 0.05


def test_a_batch_that_the_data_cannot_fill_is_refused_before_there_is_a_folder(tmp_path):
    with pytest.raises(FkdiffError, match="larger than the 128 training examples"):
        loop.train(toy(optim={"batch_size": 256}), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_signal_that_comes_while_a_line_is_written_is_answered_after_the_next_step(tmp_path, monkeypatch):
    """What is due is decided once a step, so that a run never leaves without the checkpoint that it would resume."""

    def interrupted(config, data_root):
        plan = resolved(config, data_root)

        def evaluate(params, data, root):
            os.kill(os.getpid(), signal.SIGTERM)
            return plan.evaluate(params, data, root)

        return plan._replace(evaluate=evaluate, timetable=TIMES._replace(validate_every=2, checkpoint_every=20))

    monkeypatch.setattr(loop, "resolved", interrupted)
    result = loop.train(toy(), tmp_path / "run", picture=False)
    assert (result.step, result.stopped) == (3, signal.SIGTERM)
    assert [entry.name for entry in (tmp_path / "run" / "checkpoints").iterdir()] == ["step_00000003"]
    rows = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows == [2, 3]
