"""Training from a config file: data, losses, the loop, checkpoints, and the run folder that ties them.

- `config`: what a training config may say (pydantic; free of JAX)
- `yaml`: reads a YAML file as data and nothing else (free of JAX)
- `build`: from a config to a path, a network and what its output means
- `data`: what comes with scientific Python, and a person's own arrays, tables and pictures
- `text`: characters as tokens, and Python's language reference as a corpus in three disjoint parts
- `objectives`: what training minimises: matching losses, weightings, times, couplings, bridges, masked tokens
- `value`: `fit_value`: the value of a reward, learned from roll-outs, for `fkdiff.steering.learned`
- `baselines`: the n-gram models that a text model must beat
- `descent`: `fit`: a loss of one's own, for notebooks
- `step`: one pure training step
- `plan`: `resolved`: a config and its data, resolved once, before the first step
- `loop`: the host loop around the step
- `metrics`: what the loop measures and writes down
- `checkpoint`: safetensors and a manifest, verified on restore
- `run`: the run folder, `load_run` and `load_predictor`
- `pictures`: samples to look at, as PNG or as a page of text

Names are imported on first use, so that a wrong config is refused before JAX is loaded.
"""

from fkdiff.lazy import attach as _attach

_NAMES = {
    "TrainConfig": "fkdiff.train.config:TrainConfig",
    "load_config": "fkdiff.train.config:load_config",
    "build_model": "fkdiff.train.build:build_model",
    "build_path": "fkdiff.train.build:build_path",
    "Batches": "fkdiff.train.data:Batches",
    "Dataset": "fkdiff.train.data:Dataset",
    "digits": "fkdiff.train.data:digits",
    "load_data": "fkdiff.train.data:load_data",
    "resolve": "fkdiff.train.data:resolve",
    "toy2d": "fkdiff.train.data:toy2d",
    "Masking": "fkdiff.train.objectives.masked:Masking",
    "masked_loss": "fkdiff.train.objectives.masked:masked_loss",
    "matching_loss": "fkdiff.train.objectives.matching:matching_loss",
    "TrainState": "fkdiff.train.step:TrainState",
    "make_step": "fkdiff.train.step:make_step",
    "batch_loss": "fkdiff.train.objectives.matching:batch_loss",
    "bridge_loss": "fkdiff.train.objectives.bridge:bridge_loss",
    "Fitted": "fkdiff.train.descent:Fitted",
    "fit": "fkdiff.train.descent:fit",
    "sample_times": "fkdiff.train.objectives.times:sample_times",
    "fit_value": "fkdiff.train.value:fit_value",
    "train": "fkdiff.train.loop:train",
    "LoadedRun": "fkdiff.train.run:LoadedRun",
    "load_predictor": "fkdiff.train.run:load_predictor",
    "load_run": "fkdiff.train.run:load_run",
}

__getattr__, __dir__ = _attach(__name__, _NAMES)
