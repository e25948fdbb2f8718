"""Trains a generative model from a config, in the open: no run folder, no checkpoints, no signals.

    python scripts/train.py configs/digits.yaml samples.png

`fkdiff train` does the same with all of those; read this to see what training is, and change it.
"""

import sys
from pathlib import Path

import fkdiff as fk
from fkdiff.core.keys import Use, seed_key, stream
from fkdiff.prediction import Parameterization
from fkdiff.train import Batches, build_model, load_config, load_data, make_step
from fkdiff.train.pictures import digits_png, points_png
from fkdiff.train.step import init_state, make_optimizer

config_file, picture = sys.argv[1:]
config = load_config(config_file)  # strict: an unknown key is an error
root = seed_key(config.seed)  # every random number below descends from this key

# The network as a pure function of ONE example, its parameters, and what its output means on the path.
apply, params, form = build_model(config, stream(root, Use.INITIAL))
if not isinstance(form, Parameterization):
    sys.exit("this script draws pictures; train a model of text with fkdiff train")
optimizer = make_optimizer(config)  # clip, AdamW, warm-up, cosine decay
step = make_step(config, form, apply, optimizer)  # (state, batch, root) -> (state, metrics), compiled
state = init_state(params, optimizer)
data = load_data(config)
batches = Batches(data, stream(root, Use.DATA), config.optim.batch_size)  # which examples a step sees

for k in range(config.optim.steps):
    state, metrics = step(state, batches.at(k), root)  # step k draws with fold_in(root, k), so any run can be resumed
    if k % config.logging.metrics_every == 0:
        print(f"step {k}  loss {metrics['loss']:.4f}  |gradient| {metrics['gradient_norm']:.3f}")

# From here on the model is a `Predictor`: samplers, correctors and steering all take it.
pred = form.predictor(apply, state.ema, data.examples.shape[1:])
grid = fk.grid(config.sampling.num_steps, pred.path)
x = fk.integrate(stream(root, Use.NOISE), pred, fk.solvers.heun(), grid, num_samples=100)
Path(picture).write_bytes(digits_png(x, columns=10) if config.data.kind == "digits" else points_png(x))
print(f"wrote {picture}")
