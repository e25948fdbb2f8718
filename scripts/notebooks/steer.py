# %% [markdown]
# # Steer by rewards, with and without gradients
# One target, p · e^r, by two routes that share nothing but the answer.

# %%
import jax
import jax.numpy as jnp
import numpy as np

import fkdiff as fk

path = fk.paths.variance_preserving()
mixture = fk.targets.gaussian_mixture([[-2.0], [1.5]], [0.25, 0.64], [0.3, 0.7])
pred = mixture.predictor(path)


def reward(x):
    return -0.75 * (x[0] - 1.0) ** 2


# %% [markdown]
# With gradients: a tilt, run as a controlled deterministic flow.

# %%
tilted = fk.correctors.tilt(pred, reward)
flow = fk.check(fk.run_smc(jax.random.key(0), tilted.feynman_kac(), fk.grid(32, path), num_particles=4096))

# %% [markdown]
# Without: particles that take ancestral steps, weighted by the reward of their clean estimates. The answer is exact
# for the law of the steps, whose log Z at 32 of them is off by 0.001 from the model's.

# %%
steered = fk.steer(pred, reward=reward)
chain = fk.check(fk.run_smc(jax.random.key(1), steered, fk.grid(32, path), num_particles=4096))

# %%
for name, out in {"tilt": flow, "steer": chain}.items():
    mean = fk.expectation(out, lambda x: x[0])
    print(f"{name:6s} log Z {float(out.log_normalizer):.3f}  mean {mean}")
    assert abs(float(out.log_normalizer) - -0.7847) <= 0.1
    assert abs(float(mean.value) - 1.2450) <= 0.1

# %% [markdown]
# A reward with no gradient at all: only the right half line. The chain still lands on the right law.

# %%
half = fk.steer(pred, reward=lambda x: jnp.where(x[0] > 0, 3.0, 0.0))
out = fk.check(fk.run_smc(jax.random.key(2), half, fk.grid(32, path), num_particles=4096))
left = 0.3 * 0.99997 + 0.7 * 0.0304  # P(x < 0) of the mixture
right = 1 - left
exact = right * np.exp(3.0) / (right * np.exp(3.0) + left)
found = fk.expectation(out, lambda x: x[0] > 0)
print(f"P(x > 0): {float(found.value):.4f} ± {float(found.standard_error):.4f}, exact {exact:.4f}")
assert abs(float(found.value) - exact) <= 6 * float(found.standard_error) + 0.002
