"""The least-squares control against NumPy, and what it must survive."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fkdiff.correctors import control


def problem(seed, n=200, j=4):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(n, j)) * np.array([1.0, 30.0, 0.02, 4.0])[:j] + 3.0
    g = a @ rng.normal(size=j) + rng.gamma(2.0, size=n)
    return g, a, rng.normal(size=n)


def weighted_variance(weights, values):
    return weights @ (values - weights @ values) ** 2


@pytest.mark.x64
def test_agrees_with_weighted_least_squares():
    g, a, log_weights = problem(0)
    fit = control.solve(jnp.asarray(g), jnp.asarray(a), jnp.asarray(log_weights))
    weights = np.exp(log_weights) / np.exp(log_weights).sum()
    root = np.sqrt(weights)[:, None]
    design = np.concatenate([np.ones((len(g), 1)), a], axis=1)
    oracle = -np.linalg.lstsq(root * design, root[:, 0] * g, rcond=None)[0][1:]
    best = weighted_variance(weights, g + a @ oracle)
    # The ridge may cost its own size and no more.
    assert weighted_variance(weights, np.asarray(fit.rates)) <= best * (1 + 1e-3)
    assert np.allclose(fit.spread, np.sqrt(weighted_variance(weights, np.asarray(fit.rates))))
    assert weighted_variance(weights, g) > 10 * best


@pytest.mark.x64
def test_shift_of_weights_changes_nothing():
    g, a, log_weights = (jnp.asarray(v) for v in problem(1))
    here, there = control.solve(g, a, log_weights), control.solve(g, a, log_weights + 1e4)
    assert np.allclose(here.theta, there.theta, rtol=1e-8)


def test_dead_rows_may_hold_anything():
    g, a, log_weights = (np.asarray(v, np.float32) for v in problem(2))
    alive = control.solve(jnp.asarray(g[:150]), jnp.asarray(a[:150]), jnp.asarray(log_weights[:150]))
    g[150:], a[150:], log_weights[150:] = np.nan, np.inf, -np.inf
    fit = control.solve(jnp.asarray(g), jnp.asarray(a), jnp.asarray(log_weights))
    assert np.allclose(fit.theta, alive.theta, rtol=1e-3)
    assert np.all(np.isfinite(fit.rates[:150]))
    assert np.isfinite(fit.spread)


def test_extinct_population_yields_numbers():
    fit = control.solve(jnp.ones(20), jnp.ones((20, 2)), jnp.full(20, -jnp.inf))
    assert np.all(np.isfinite(fit.theta))
    assert fit.spread == 0


def test_few_effective_particles_use_few_columns():
    g, a, _ = problem(3, n=25)
    fit = control.solve(*(jnp.asarray(v, jnp.float32) for v in (g, a)), jnp.zeros(25))
    assert np.all(np.asarray(fit.theta[:2]) != 0)
    assert np.all(np.asarray(fit.theta[2:]) == 0)


def test_collinear_columns_stay_tame():
    """x and the score are collinear while the noise dominates: neither coefficient may run away."""
    x = jax.random.normal(jax.random.key(0), (500,))
    noise = 1e-6 * jax.random.normal(jax.random.key(1), (500,))
    columns = jnp.stack([1 - x**2, x**2 - 1 + noise], axis=1)
    fit = control.solve(0.3 * x**2, columns, jnp.zeros(500))
    assert np.all(np.abs(np.asarray(fit.theta)) < 1)
    assert fit.spread < 1e-3


def test_constant_column_is_ignored():
    g = jax.random.normal(jax.random.key(0), (100,))
    fit = control.solve(g, jnp.full((100, 1), 7.0), jnp.zeros(100))
    assert np.all(np.isfinite(fit.theta))
    assert np.allclose(fit.spread, jnp.std(g), rtol=1e-5)


def test_theta_carries_no_gradient():
    g, a, log_weights = (jnp.asarray(v, jnp.float32) for v in problem(4))
    gradient = jax.grad(lambda s: jnp.sum(control.solve(s * g, a, log_weights).theta))(1.0)
    assert gradient == 0


def test_a_schedule_is_linear_between_its_times():
    times, theta = np.array([0.1, 0.4, 1.0]), np.array([[1.0, -2.0], [3.0, 0.0], [-1.0, 4.0]])
    schedule = control.Schedule(*(jnp.asarray(v, jnp.float32) for v in (times, theta, theta[:, :1])))
    for t in (0.1, 0.2, 0.4, 0.7, 1.0):
        found, centre = schedule.at(jnp.asarray(t, jnp.float32))
        expected = [np.interp(t, times, theta[:, j]) for j in (0, 1)]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        np.testing.assert_allclose(centre, expected[:1], atol=1e-5)
