"""Every task has the engine section that it reads, and refuses every other key, from a file and on the command line."""

import pytest

from fkdiff import tasks
from fkdiff.cli.overrides import override
from fkdiff.errors import FkdiffError
from fkdiff.tasks.config import KINDS
from fkdiff.train.schema import validate

ENGINE = {
    "num_particles": 7,
    "resample_threshold": 0.25,
    "num_populations": 2,
    "num_steps": 3,
    "step": "euler",
    "noise": 1.0,
    "control": "none",
    "solver": "ddim",
}
CORRECTED = set(ENGINE) - {"solver"}
POPULATION = {"num_particles", "resample_threshold", "num_populations"}
READ = {
    "guidance": CORRECTED,
    "anneal": CORRECTED,
    "product": CORRECTED,
    "reward": CORRECTED,
    "steering": POPULATION | {"num_steps", "solver"},
    "inverse": POPULATION | {"num_steps", "solver"},
    "text": POPULATION,
}
SECTIONS = {
    "guidance": {"labels": [1]},
    "product": {"labels": [1], "exponents": [1.0]},
    "reward": {"reward": {"kind": "ink"}},
    "steering": {"reward": {"kind": "ink"}},
    "inverse": {"operator": {"kind": "deblurring"}},
}


def config(kind, **engine):
    return validate(tasks.SteerConfig, {"task": {"kind": kind} | SECTIONS.get(kind, {}), "engine": engine}, "a.yaml")


def test_the_tables_above_name_every_task():
    assert set(READ) == set(KINDS)
    assert len(KINDS) == len(tasks.TASKS)


@pytest.mark.parametrize("key", ENGINE)
@pytest.mark.parametrize("kind", READ)
def test_an_engine_key_is_read_or_refused(kind, key):
    value = ENGINE[key]
    if key in READ[kind]:
        assert getattr(config(kind, **{key: value}).engine, key) == value
        assert getattr(override(config(kind), [f"--engine.{key}", str(value)]).engine, key) == value
        return
    routes = (
        lambda: config(kind, **{key: value}),
        lambda: override(config(kind), [f"--engine.{key}", str(value)]),
        lambda: override(config(kind), [f"--engine.{key.replace('_', '-')}={value}"]),
        lambda: override(config("anneal"), [f"task:{kind}", f"--engine.{key}", str(value)]),
    )
    for route in routes[: 4 if kind == "text" else 3]:
        with pytest.raises(FkdiffError) as caught:
            route()
        said = str(caught.value)
        assert f"task.kind={kind} does not read engine.{key}" in said
        assert all(name in said for name in READ[kind])
        assert "\n" not in said


def test_a_task_that_is_switched_takes_along_what_it_reads():
    guided = config("guidance", num_particles=9, num_steps=5, control="none")
    for words in (["--task.kind", "steering", "--task.reward.kind", "ink"], ["--task.kind=text"], ["task:anneal"]):
        new = override(guided, words)
        assert new.task.kind in " ".join(words)
        assert set(type(new.engine).model_fields) == READ[new.task.kind]
        assert new.engine.num_particles == 9
    assert override(guided, ["--task", "anneal", "--engine.noise", "0.5"]).engine.noise == 0.5
    assert override(override(guided, ["--task", "text"]), ["--task", "anneal"]).engine.control == "score"
    assert override(config("text"), ["--task.prompt", "task:anneal"]).task.prompt == "task:anneal"


def test_a_section_of_another_task_is_refused_and_the_right_one_is_the_default():
    steering = tasks.Steering(reward={"kind": "ink"})
    assert set(type(tasks.SteerConfig(task=steering).engine).model_fields) == READ["steering"]
    with pytest.raises(ValueError, match=r"does not read engine\.step"):
        tasks.SteerConfig(task=steering, engine=config("anneal").engine)


@pytest.mark.parametrize(
    "task, part",
    [
        ({"kind": "anneal"}, "engine.control='score+reward' is not one of none, affine, score"),
        ({"kind": "guidance", "labels": [3, 3]}, "task.labels=[3, 3] names one of them twice"),
        ({"kind": "inverse", "operator": {"kind": "deblurring"}, "held_out": [1, 1]}, "task.held_out=[1, 1]"),
        ({"kind": "text", "reward": None, "completions": 9}, "task.completions=9 is for a reward"),
        ({"kind": "text", "reward": None, "potential": "max"}, "task.potential=max is for a reward"),
    ],
)
def test_what_a_task_would_ignore_is_refused(task, part):
    with pytest.raises(FkdiffError) as caught:
        validate(tasks.SteerConfig, {"task": task, "engine": {"control": "score+reward"} if len(task) == 1 else {}}, "")
    assert part in str(caught.value)


def test_the_schema_knows_the_keys_of_every_engine():
    (choices,) = (tasks.SteerConfig.model_json_schema()["properties"]["engine"]["anyOf"],)
    assert {frozenset(choice["properties"]) for choice in choices} == {frozenset(keys) for keys in READ.values()}
