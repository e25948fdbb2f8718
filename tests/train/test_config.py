"""A wrong config is one sentence that names the file, the key, what came and what to do."""

import pytest
from pydantic import ValidationError

from fkdiff.errors import FkdiffError
from fkdiff.tasks import SteerConfig, load_steer_config
from fkdiff.train.config import TrainConfig, load_config, parse_config
from fkdiff.train.schema import validate

WRONG = {
    "data: {kind: digit}": ['data.kind="digit"', 'did you mean "digits"?'],
    "dat: {kind: digits}": ['unknown key "dat"', 'did you mean "data"?'],
    "data: {kind: digits}\nmodel: {kind: mlp, widht: 3}": ['"model.widht"', 'did you mean "width"?'],
    "data: {kind: digits}\nmodel: {width: 3}": ["model.kind is missing", "mlp, unet"],
    "data: {kind: digits}\noptim: {lr: 1}": ['"optim.lr"', "learning_rate"],
    "data: {kind: digits}\nobjective: {kind: velocty}": ["objective.kind", 'did you mean "velocity"?'],
    "data: {kind: digits}\nseed: -1": ["seed=-1"],
    "data: {kind: digits}\nseed: 4294967296": ["seed=4294967296"],
    "data: {kind: digits}\noptim: {learning_rate: 0}": ["optim.learning_rate=0"],
    "data: {kind: digits}\noptim: {steps: 1.5}": ["optim.steps=1.5"],
    "data: {kind: digits}\npath: {kind: linear, log_snr: [9, -9]}": ["path.log_snr must increase"],
    "data: {kind: digits}\npath: {kind: linear, beta_min: 1}": ['"path.beta_min"', "known here: log_snr, kind"],
    "data: {kind: moons}\nmodel: {kind: unet}": ["needs images"],
    "model: {kind: mlp}": ['"data" is missing'],
    "data: {kind: digits, _target_: os.system}": ['unknown key "data._target_"'],
    "data: {kind: os.system}": ["is not one of digits, checkerboard"],
    "data: [1]": ["data"],
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_config_is_one_telling_sentence(text):
    with pytest.raises(FkdiffError) as caught:
        parse_config(text, "my.yaml")
    said = str(caught.value)
    assert said.startswith("my.yaml: ")
    assert "\n" not in said
    for part in WRONG[text]:
        assert part in said, said


@pytest.mark.parametrize(
    "task, part",
    [
        ({"kind": "guidance"}, '"task.labels" is missing'),
        ({"kind": "aneal"}, 'did you mean "anneal"?'),
        ({"kind": "anneal", "beta": -1}, "task.beta=-1"),
        ({"kind": "product", "labels": [1, 2], "exponents": [1.0]}, "1 entries and task.labels 2"),
        ({"kind": "product", "labels": [1, 2], "exponents": [1.0, -1.0]}, "positive sum"),
        ({"kind": "reward", "reward": {"kind": "inc"}}, 'did you mean "ink"?'),
        ({"kind": "reward", "reward": {"kind": "ink", "target": 7}}, "task.reward.target=7"),
    ],
)
def test_a_wrong_steering_config_too(task, part):
    with pytest.raises(FkdiffError) as caught:
        validate(SteerConfig, {"task": task}, "my.yaml")
    assert part in str(caught.value)


def test_every_config_in_the_repository_is_valid():
    from pathlib import Path

    folder = Path(__file__).parents[2] / "configs"
    for file in folder.glob("*.yaml"):
        load_config(file)
    steering = list((folder / "steer").glob("*.yaml"))
    assert {load_steer_config(file).task.kind for file in steering} >= {"guidance", "anneal", "reward"}


def test_configs_are_immutable_and_hashable():
    config = TrainConfig.model_validate({"data": {"kind": "digits"}})
    assert hash(config) == hash(TrainConfig.model_validate({"data": {"kind": "digits"}}))
    with pytest.raises(ValidationError):
        config.seed = 3  # type: ignore[misc]
