# %% [markdown]
# # Train a small model in the plane
# From a config to a model that can be sampled, measured and steered. Runs in about a minute on two cores.

# %%
import tempfile
from pathlib import Path

import jax
import numpy as np

import fkdiff as fk
from fkdiff.train.config import parse_config

# %% [markdown]
# The config is text, and every key is checked: a misspelt one is refused with a suggestion.

# %%
config = parse_config("""
data: {kind: gaussians}
path: {kind: cosine}
model: {kind: mlp, width: 96, depth: 2}
objective: {kind: velocity}
optim: {steps: 1500, batch_size: 256, learning_rate: 2e-3}
""")
run = Path(tempfile.mkdtemp()) / "gaussians"
fk.train.train(config, run)

# %% [markdown]
# A trained model is a `Predictor`, like an exact one: sample it, and ask for its log-density.

# %%
pred = fk.train.load_predictor(run)
grid = fk.grid(32, pred.path)
samples = fk.integrate(jax.random.key(0), pred, fk.solvers.heun(), grid, num_samples=2000)
held_out = fk.train.toy2d(jax.random.key(9), "gaussians", 500).examples
print("mean log-density of held-out points:", float(np.mean(fk.log_prob(pred, held_out))))

# %% [markdown]
# The eight Gaussians have masses ∝ 1 … 8. How close is the model?

# %%
centres = 1.4 * np.exp(1j * np.pi / 4 * np.arange(8))
owner = np.argmin(np.abs((np.asarray(samples) @ [1, 1j])[:, None] - centres), axis=1)
masses = np.bincount(owner, minlength=8) / len(owner)
print("found:", np.round(masses, 3))
print("truth:", np.round(np.arange(1, 9) / 36, 3))
assert np.abs(masses - np.arange(1, 9) / 36).sum() <= 0.25
