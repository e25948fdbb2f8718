"""Checks of the engine's keys and sums that a planted bug must fail."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from fkdiff import smc
from tests.smc import walks

KEY = jax.random.key(0)
GRID = jnp.asarray(walks.GRID)


def check_keys():
    """The initial draw and every resampling, refresh and move of every step have keys of their own."""
    seen = []

    def initial(key, num_particles, t):
        seen.append(jax.random.key_data(key))
        return jnp.zeros((num_particles, 2), jnp.uint32), jnp.zeros(num_particles), smc.MoveInfo()

    def move(key, particles, log_weights, t0, t1):
        seen.append(jax.random.key_data(key))
        return particles, jnp.zeros_like(log_weights), smc.MoveInfo()

    def refresh(key, particles, t):
        return jnp.broadcast_to(jax.random.key_data(key), particles.shape)

    def resample(key, log_weights):
        seen.append(jax.random.key_data(key))
        return smc.systematic(key, log_weights)

    model = smc.Population(initial, move, refresh=refresh)
    state = smc.init(KEY, model, 2, GRID[0])
    for t0, t1 in itertools.pairwise(GRID[:4]):
        state, _ = smc.step(KEY, model, state, t0, t1, resample)
        seen.append(state.particles[0])
    assert len(seen) == 1 + 3 * 3
    assert len({tuple(np.asarray(key).tolist()) for key in seen}) == len(seen)


def check_compensated_constants():
    """20,000 constants of 0.1 on top of 10⁴: plain float32 addition is off by whole units."""

    def initial(key, num_particles, t):
        return jnp.zeros((num_particles, 1)), jnp.zeros(num_particles), smc.MoveInfo(log_constant=1e4)

    def move(key, x, log_weights, t0, t1):
        return x, jnp.zeros_like(log_weights), smc.MoveInfo(log_constant=jnp.float32(0.1))

    out = smc.run_smc(KEY, smc.Population(initial, move), jnp.arange(20001.0), 2)
    error = abs(float(out.log_normalizer) - (1e4 + 20000 * float(np.float32(0.1))))
    assert error <= 2e-3
    assert (np.asarray(out.log_weights) == 0).all()
