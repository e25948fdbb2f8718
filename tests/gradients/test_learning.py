"""What derivatives through samplers are for: a proposal that becomes exact, and step sizes that follow the law."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fkdiff as fk
from fkdiff import smc

A, B, S = 0.9, 0.6, 0.5
DATA = (0.8, -0.4, 1.5)


def learn(loss, params, steps, rate):
    optimiser = optax.adam(optax.cosine_decay_schedule(rate, steps))

    @jax.jit
    def update(params, state, key):
        with jax.numpy_dtype_promotion("standard"):
            change, state = optimiser.update(jax.grad(loss)(params, key), state, params)
            return optax.apply_updates(params, change), state

    state = optimiser.init(params)
    for number in range(steps):
        params, state = update(params, state, jax.random.fold_in(jax.random.key(1), number))
    return params


def guided(params):
    """x' = A x + Bξ seen as y = x + Sη, moved by N(a x + b, c²) with a, b, c of each step in `params`, (3, 3)."""
    data = jnp.asarray(DATA)

    def log_normal(x, mean, sd):
        return -0.5 * ((x - mean) / sd) ** 2 - jnp.log(sd)

    def propose(key, x, t0, t1):
        a, b, c = params[jnp.round(t0).astype(jnp.int32)]
        return a * x + b + jnp.exp(c) * jax.random.normal(key)

    def log_potential(before, x, t0, t1):
        k = jnp.round(t0).astype(jnp.int32)
        a, b, c = params[k]
        observed = log_normal(data[k], x, jnp.float32(S)) - 0.5 * jnp.log(2 * jnp.pi)
        return observed + log_normal(x, A * before, jnp.float32(B)) - log_normal(x, a * before + b, jnp.exp(c))

    start = lambda key: (jnp.zeros(()), jnp.zeros(()))  # noqa: E731
    return fk.FeynmanKac(start, propose, log_potential)


def exact_moves():
    """(a, b, log c) of p(x_k | x_{k−1}, y_k, …), by the backward recursion in NumPy."""
    rows, p, q = [], 0.0, 0.0  # what lies ahead is exp(−½ p x² + q x)
    for y in reversed(DATA):
        p, q = p + 1 / S**2, q + y / S**2
        precision = 1 / B**2 + p
        rows.insert(0, (A / B**2 / precision, q / precision, -0.5 * np.log(precision)))
        width = 1 + p * B**2
        p, q = p * A**2 / width, q * A / width
    return np.array(rows)


@pytest.mark.slow
def test_a_learned_proposal_reaches_the_exact_one():
    grid = jnp.arange(4.0)

    def loss(params, key):
        return -smc.run_smc(key, guided(params), grid, 64, resample=smc.never).log_weights.mean()

    start = jnp.zeros((3, 3)).at[:, 0].set(A)
    learned = learn(loss, start, 1500, 0.03)
    np.testing.assert_allclose(learned[1:], exact_moves()[1:], atol=0.02)
    np.testing.assert_allclose(learned[0, 1:], exact_moves()[0, 1:], atol=0.02)  # a of x_0 = 0 is free
    spread = [float(smc.run_smc(jax.random.key(2), guided(p), grid, 256).log_weights.std()) for p in (start, learned)]
    assert spread[1] < 0.02 * spread[0]


@pytest.mark.slow
def test_learned_step_sizes_beat_every_constant_one():
    grid = jnp.linspace(0.0, 1.0, 9)

    def bound(log_steps, key):
        model = smc.unadjusted(
            lambda x: -0.5 * x**2,
            lambda x: -0.5 * ((x - 1.5) / 0.2) ** 2 + 0.5 * x**2,
            jax.random.normal,
            jnp.exp(log_steps),
        )
        return smc.run_smc(key, model, grid, 512, resample=smc.never).log_weights.mean()

    learned = learn(lambda p, key: -bound(p, key), jnp.full(5, np.log(0.02), jnp.float32), 400, 0.03)
    constants = [
        float(bound(jnp.full(5, np.log(h), jnp.float32), jax.random.key(3))) for h in np.geomspace(0.003, 0.1, 9)
    ]
    exact = np.log(0.2)
    reached = float(bound(learned, jax.random.key(3)))
    assert max(constants) < reached < exact + 0.05
    assert exact - reached < 0.7 * (exact - max(constants))
