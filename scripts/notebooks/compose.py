# %% [markdown]
# # Compose samplers
# Rules compose, because each returns what it takes. Everything here is exact, so that answers can be compared with
# quadrature.

# %%
import jax
import jax.numpy as jnp
import numpy as np

import fkdiff as fk

path = fk.paths.linear()
a = fk.targets.gaussian_mixture([[-2.0], [1.5]], [0.25, 0.64], [0.3, 0.7])
c = fk.targets.gaussian_mixture([[-1.5], [2.0]], [0.49, 0.36], [0.6, 0.4])

# %% [markdown]
# A product, annealed, then tilted by a reward: (a c)^1.5 e^{0.4 x}.


# %%
def reward(x):
    return 0.4 * x[0]


target = fk.correctors.product([a.predictor(path), c.predictor(path)])
target = fk.correctors.tilt(fk.correctors.anneal(target, 1.5), reward)
out = fk.check(fk.run_smc(jax.random.key(0), target.feynman_kac(), fk.grid(32, path), num_particles=4096))
print(out)

# %% [markdown]
# The same by quadrature.

# %%
x = np.linspace(-8, 8, 20_001)
log_a, log_c = (np.asarray(jax.vmap(m.log_prob)(jnp.asarray(x[:, None], jnp.float32)), np.float64) for m in (a, c))
density = np.exp(1.5 * (log_a + log_c) + 0.4 * x)
log_z = np.log(np.trapezoid(density, x))
mean = np.trapezoid(density * x, x) / np.trapezoid(density, x)
found = fk.expectation(out, lambda x: x[0])
print(f"log Z {float(out.log_normalizer):.4f}, exact {log_z:.4f}; mean {float(found.value):.4f}, exact {mean:.4f}")
assert abs(float(out.log_normalizer) - log_z) <= 0.05
assert abs(float(found.value) - mean) <= 6 * float(found.standard_error) + 0.01

# %% [markdown]
# What control does: the same target and calls without it.

# %%
plain = fk.run_smc(
    jax.random.key(0), target.feynman_kac("exponential", 2.0, control=False), fk.grid(64, path), num_particles=4096
)
print("ESS at worst:", float(jnp.min(out.info.ess)), "with control,", float(jnp.min(plain.info.ess)), "without")

# %% [markdown]
# The engine knows nothing of diffusion: any Feynman–Kac model runs on it, one particle at a time. Here a random walk
# that dies outside an interval, and the probability that it survives.

# %%
walk = fk.FeynmanKac(
    initial=lambda key: (jnp.array(0.0), jnp.array(0.0)),
    propose=lambda key, x, t0, t1: x + 0.5 * jax.random.normal(key),
    log_potential=lambda before, x, t0, t1: jnp.where(jnp.abs(x) < 1.5, 0.0, -jnp.inf),
)
out = fk.check(fk.run_smc(jax.random.key(1), walk, jnp.arange(21.0), num_particles=10_000))
print("log-probability of surviving 20 steps:", float(out.log_normalizer))
