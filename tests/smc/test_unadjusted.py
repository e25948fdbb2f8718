"""Unadjusted annealing: exact evidence at any step size, and a bound that its derivative climbs."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import FkdiffError, smc

Y, S = 1.4, 1.0
EXACT = -0.5 * (np.log(2 * np.pi * (1 + S**2)) + Y**2 / (1 + S**2))


def log_prior(x):
    return -0.5 * (jnp.log(2 * jnp.pi) + x**2)


def log_likelihood(x):
    return -0.5 * (jnp.log(2 * jnp.pi * S**2) + (x - Y) ** 2 / S**2)


def model(step_size):
    return smc.unadjusted(log_prior, log_likelihood, jax.random.normal, step_size)


def evidences(step_size, num_steps, count=2**15):
    """Ẑ/Z of single particles: independent, and bounded in practice by large steps of an easy problem."""
    out = smc.run_smc(
        jax.random.key(0), model(step_size), jnp.linspace(0.0, 1.0, num_steps + 1), count, resample=smc.never
    )
    return np.exp(np.asarray(out.log_weights, np.float64) - EXACT)


def score(values):
    return (values.mean() - 1) / (values.std(ddof=1) / np.sqrt(len(values)))


@pytest.mark.parametrize(("step_size", "num_steps"), [(0.05, 3), (0.2, 4), ([0.4, 0.1], 5)])
def test_the_evidence_is_unbiased_at_any_step_size(step_size, num_steps):
    assert abs(score(evidences(jnp.asarray(step_size), num_steps))) <= 5.6


@pytest.mark.parametrize("bug", ["no step back", "half the variance", "gain at one temperature"])
@pytest.mark.slow
def test_wrong_weights_are_seen(monkeypatch, bug):
    module = importlib.import_module("fkdiff.smc.samplers._unadjusted")
    right = module.Unadjusted

    def log_potential(self, previous, walk, t0, t1):
        if bug == "gain at one temperature":
            gained = self.at(t1).value(walk.evaluation) - self.at(t1).value(previous.evaluation)
        else:
            gained = self.at(t1).value(walk.evaluation) - self.at(t0).value(previous.evaluation)
        back = module._squared(previous.position, self._drifted(walk, t1))
        forth = module._squared(walk.position, self._drifted(previous, t1))
        return gained + (forth - (0 if bug == "no step back" else back)) / (
            (2 if bug == "half the variance" else 4) * self.step(t1)
        )

    jax.clear_caches()
    monkeypatch.setattr(right, "log_potential", log_potential)
    assert abs(score(evidences(jnp.asarray(0.2), 4))) > 5.6


@pytest.mark.x64
def test_one_step_is_that_of_numpy():
    """Weights of one move, against the formula in NumPy with the same noise."""
    h, t = 0.3, 0.4
    out = smc.run_smc(
        jax.random.key(1), model(h), jnp.array([0.0, t]), 64, resample=smc.never, collect=lambda x, w, t: x
    )
    before, after = np.asarray(out.collected)

    def log_gamma(x, temperature):
        prior = -0.5 * (np.log(2 * np.pi) + x**2)
        return prior + temperature * -0.5 * (np.log(2 * np.pi * S**2) + (x - Y) ** 2 / S**2)

    def drift(x):
        return -x - t * (x - Y) / S**2

    forth = -((after - before - h * drift(before)) ** 2) / (4 * h)
    back = -((before - after - h * drift(after)) ** 2) / (4 * h)
    expected = log_gamma(after, t) - log_gamma(before, 0.0) + back - forth
    np.testing.assert_allclose(out.log_weights, expected, rtol=1e-10)


@pytest.mark.x64
@pytest.mark.slow
def test_the_bound_has_a_pathwise_derivative_in_steps_and_temperatures():
    def bound(step_size, grid):
        return smc.run_smc(jax.random.key(2), model(step_size), grid, 128, resample=smc.never).log_weights.mean()

    steps = jnp.array([0.1, 0.2, 0.15])
    grid = jnp.array([0.0, 0.2, 0.45, 1.0])  # no knot of the schedule, where it bends
    slope, bend = jax.grad(bound, argnums=(0, 1))(steps, grid)
    for i, one in enumerate(1e-6 * np.eye(3)):
        finite = (bound(steps + one, grid) - bound(steps - one, grid)) / 2e-6
        assert np.isclose(slope[i], finite, rtol=1e-5, atol=1e-7)
    one = jnp.array([0.0, 0.0, 1e-6, 0.0])
    assert np.isclose(bend[2], (bound(steps, grid + one) - bound(steps, grid - one)) / 2e-6, rtol=1e-5)


def test_positions_are_trees_and_what_is_no_step_is_refused():
    tree = smc.unadjusted(
        lambda p: log_prior(p["a"]) + log_prior(p["b"]).sum(),
        lambda p: log_likelihood(p["a"] + p["b"].sum()),
        lambda key: {"a": jax.random.normal(key), "b": jax.random.normal(jax.random.fold_in(key, 1), (2,))},
        0.1,
    )
    out = fk.check(smc.run_smc(jax.random.key(3), tree, jnp.linspace(0.0, 1.0, 9), 512))
    assert out.particles["b"].shape == (512, 2)
    assert abs(float(out.log_normalizer) + 0.5 * (np.log(2 * np.pi * (3 + S**2)) + Y**2 / (3 + S**2))) < 0.2
    for wrong, sentence in ((0.0, "must be positive"), ([[0.1]], r"pass one number or \(M,\)"), ("x", "not a number")):
        with pytest.raises(FkdiffError, match=sentence):
            model(wrong)
