"""Adaptation returns parameters that do what was asked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import mcmc

KEY = jax.random.key(0)
SCALES = np.array([0.3, 1.0, 4.0])
COVARIANCE = np.array([[1.0, 0.6, 0.0], [0.6, 2.0, -0.4], [0.0, -0.4, 0.5]])


def narrow(x):
    return -0.5 * jnp.sum((x / jnp.asarray(SCALES, x.dtype)) ** 2)


@pytest.mark.parametrize(
    "make, target",
    [
        pytest.param(lambda h: mcmc.hmc(narrow, h, 5), 0.8, id="hmc"),
        pytest.param(lambda h: mcmc.mala(narrow, h), 0.574, id="mala", marks=pytest.mark.slow),
        pytest.param(lambda h: mcmc.random_walk(narrow, h), 0.234, id="random_walk", marks=pytest.mark.slow),
    ],
)
def test_dual_averaging_reaches_the_acceptance(make, target):
    starts = jnp.asarray(SCALES, jnp.float32)[None] * jax.random.normal(KEY, (32, 3))
    found = mcmc.dual_averaging(KEY, make, starts, num_steps=200, target=target, num_chains=32)
    run = fk.run_chain(jax.random.key(1), make(found.step_size), found.position, 200, num_chains=32)
    assert abs(float(jnp.mean(run.acceptance)) - target) <= 0.04
    assert abs(float(found.acceptance) - target) <= 0.06


@pytest.mark.slow
def test_a_first_step_size_far_off_is_forgotten():
    make = lambda h: mcmc.hmc(narrow, h, 5)  # noqa: E731
    found = [
        float(mcmc.dual_averaging(KEY, make, jnp.zeros(3), num_steps=1000, initial=first).step_size)
        for first in (1e-4, None, 30.0)
    ]
    assert max(found) <= 1.5 * min(found)


@pytest.mark.x64
def test_masses_against_numpy():
    rng = np.random.default_rng(0)
    draws = rng.multivariate_normal([1.0, -2.0, 0.5], COVARIANCE, 400)
    log_w = rng.normal(size=400)
    shrunk = lambda s, n: n / (n + 5) * s + 5 / (n + 5) * 1e-3 * np.eye(3)  # noqa: E731
    dense = shrunk(np.cov(draws.T), 400)
    assert np.abs(mcmc.mass_from_window(jnp.asarray(draws), dense=True) - dense).max() <= 1e-12
    assert np.abs(mcmc.mass_from_window(jnp.asarray(draws)) - np.diag(dense)).max() <= 1e-12
    w = np.exp(log_w) / np.exp(log_w).sum()
    weighted = shrunk(np.cov(draws.T, aweights=w), 1 / (w**2).sum())
    got = mcmc.mass_from_population(jnp.asarray(draws), jnp.asarray(log_w), dense=True)
    assert np.abs(got - weighted).max() <= 1e-12
    tree = {"a": jnp.asarray(draws[:, :2]), "b": jnp.asarray(draws[:, 2])}
    leaves = mcmc.mass_from_population(tree, jnp.asarray(log_w))
    assert np.abs(np.concatenate([leaves["a"], [leaves["b"]]]) - np.diag(weighted)).max() <= 1e-12


@pytest.mark.slow
def test_a_mass_makes_directions_alike():
    """With the covariance as inverse mass one step size serves all directions: acceptance as on a standard normal."""
    precision = jnp.asarray(np.linalg.inv(COVARIANCE * np.outer(SCALES, SCALES)), jnp.float32)
    mass = COVARIANCE * np.outer(SCALES, SCALES)
    starts = np.random.default_rng(1).multivariate_normal(np.zeros(3), mass, 4096)
    rates = [
        fk.run_chain(KEY, kernel, jnp.asarray(at, jnp.float32), 1, num_chains=4096).acceptance.mean()
        for kernel, at in (
            (mcmc.hmc(lambda x: -0.5 * x @ precision @ x, 1.0, 4, mass), starts),
            (mcmc.hmc(lambda x: -0.5 * x @ x, 1.0, 4), np.random.default_rng(2).normal(size=(4096, 3))),
        )
    ]
    assert abs(float(rates[0] - rates[1])) <= 0.02
