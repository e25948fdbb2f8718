"""Training from a config file: data, losses, the loop, checkpoints, and the run folder that ties them.

- `config`: what a training config may say (pydantic; free of JAX)
- `yaml`: reads a YAML file as data and nothing else (free of JAX)
- `build`: from a config to a path, a network and what its output means
- `data`: what comes with scientific Python, and a person's own arrays, tables and pictures
- `text`: characters as tokens, and Python's language reference as a corpus in three disjoint parts
- `objectives`: what training minimises: matching losses, weightings, times, couplings, bridges, masked tokens
- `value`: `fit_value`: the value of a reward, learned from roll-outs, for `fkdiff.steering.learned`
- `baselines`: the n-gram models that a text model must beat
- `averages`: moving averages of parameters
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
from fkdiff.lazy import stub_names as _stub_names

__getattr__, __dir__, __all__ = _attach(__name__, _stub_names(__file__))
