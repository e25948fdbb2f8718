"""Estimates: of trees, of heavy tails, under any transfer guard; what was not measured is said."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import genpareto

import fkdiff as fk
from fkdiff import FkdiffError, FkdiffWarning, mcmc, smc
from fkdiff.core import Status
from fkdiff.smc.results.tails import _pareto_shape, tail_index

KEY = jax.random.key(0)
TWO = jnp.linspace(0.0, 1.0, 2)


def pair(key):
    return {"a": jax.random.normal(key, (2,)), "b": jax.random.normal(key)}


def of_pairs():
    return smc.FeynmanKac(lambda k: (pair(k), jnp.zeros(())), lambda k, x, t0, t1: x, lambda p, x, t0, t1: x["b"])


def exact_draws(num, seed=0):
    """N(0, ½) with equal weights."""
    model = smc.FeynmanKac(
        lambda k: (jnp.sqrt(0.5) * jax.random.normal(k), jnp.zeros(())),
        lambda k, x, t0, t1: x,
        lambda before, x, t0, t1: jnp.zeros(()),
    )
    return smc.run_smc(jax.random.key(seed), model, TWO, num)


def test_the_expectation_of_a_tree_is_a_tree():
    out = smc.run_smc(KEY, of_pairs(), TWO, 64)
    found = fk.expectation(out, lambda x: x)
    for name in ("a", "b"):
        alone = fk.expectation(out, lambda x, name=name: x[name])
        np.testing.assert_array_equal(found[name].value, alone.value)
        np.testing.assert_array_equal(found[name].standard_error, alone.standard_error)
    runs = smc.replicate(KEY, 3, of_pairs(), TWO, 64)
    pooled = runs.expectation(lambda x: x)
    np.testing.assert_array_equal(pooled["b"].value, runs.expectation(lambda x: x["b"]).value)
    assert pooled["a"].value.shape == (2,)
    assert pooled["a"].dof == 2


def test_estimates_under_a_transfer_guard():
    out = smc.run_smc(KEY, of_pairs(), TWO, 64)
    with jax.transfer_guard("disallow"), jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        for f in (lambda x: x["a"].astype(jnp.bfloat16), lambda x: x["b"] > 0, lambda x: 1, lambda x: x):
            found = fk.expectation(out, f)
            assert "±" in str(found) or "Estimate" in str(found)
        fk.expectation(out, lambda x: x["b"]).interval()
        assert "log Z" in str(out)
        out.problems()
        smc.resample(KEY, out, 3)
    with pytest.raises(FkdiffError, match="complex64"):
        fk.expectation(out, lambda x: jax.lax.complex(x["b"], x["b"]))


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.5, 1.0])
def test_the_shape_of_pareto_excesses(shape):
    draws = np.sort(genpareto.rvs(shape, size=(200, 100), random_state=1), axis=1)
    found = np.asarray(jax.vmap(_pareto_shape)(jnp.asarray(draws, jnp.float32)))
    assert abs(found.mean() - shape) <= 0.06
    assert found.std() <= 0.25


@pytest.mark.slow
def test_heavy_averages_are_doubted_and_light_ones_are_not():
    """exp(c x²) under N(0, ½) has a tail index of c: for c = 0.9 intervals hold less than half."""
    out = [exact_draws(1024, seed) for seed in range(20)]
    functions = {
        "heavy": lambda x: jnp.exp(0.9 * x**2), "light": lambda x: x, "square": lambda x: x**2,
        "indicator": lambda x: x > 0, "exponential": jnp.exp, "constant": lambda x: jnp.ones(()),
    }  # fmt: skip
    doubted = {
        name: np.mean([bool(fk.expectation(one, f).problems()[1]) for one in out]) for name, f in functions.items()
    }
    assert doubted.pop("heavy") >= 0.8
    assert all(share == 0 for share in doubted.values()), doubted
    shares = [fk.expectation(one, lambda x: jnp.stack([x, jnp.exp(0.9 * x**2)])) for one in out]
    assert np.mean([bool(one.problems()[1]) for one in shares]) >= 0.8  # one coordinate of several


def test_a_heavy_tail_is_read_where_the_estimate_is():
    heavy = smc.Estimate(jnp.ones(()), jnp.ones(()), tail_index=jnp.float32(0.9))
    assert str(heavy).startswith("1 ± at least 1")
    assert "heavy tail" in str(heavy)
    with pytest.warns(FkdiffWarning, match="heavy-averages"):
        assert fk.check(heavy) is heavy
    assert str(smc.Estimate(jnp.ones(()), jnp.ones(()), tail_index=jnp.float32(jnp.nan))) == "1 ± 1"
    with pytest.raises(FkdiffError, match="not finite"):
        fk.check(smc.Estimate(jnp.asarray(jnp.nan), jnp.ones(())))
    assert bool(jnp.isnan(tail_index(jnp.ones(5))))


def test_a_signal_that_nothing_measures_is_not_called_fine():
    out = exact_draws(64)
    assert bool(jnp.isnan(out.info.R))
    assert "not measured" in str(out)
    assert out.problems() == ([], [])
    assert "not measured" in str(smc.replicate(KEY, 2, of_pairs(), TWO, 64))
    pred = fk.targets.gaussian([1.0], [0.5]).predictor(fk.paths.variance_preserving())
    grid = fk.grid(3, pred.path)
    corrected = smc.run_smc(KEY, fk.correctors.anneal(pred, 2.0).feynman_kac(), grid, 16)
    assert bool(jnp.isfinite(corrected.info.R))
    assert "starvation signal" in str(corrected)


def tilted_walk():
    draw, step = lambda k: (jax.random.normal(k, (2,)), jnp.zeros(())), lambda k, x, t0, t1: x
    return smc.FeynmanKac(draw, step, lambda before, x, t0, t1: 3 * x[0])


@pytest.mark.parametrize("decorate", [lambda r: r, lambda r: smc.adaptive(r, 0.9), lambda r: smc.within(r, 0.0, 1.0)])
def test_transport_that_does_not_finish_is_doubted(decorate):
    grid = jnp.linspace(0.0, 1.0, 3)
    codes = {}
    for epsilon in (0.1, 1e-4):
        out = smc.run_smc(
            KEY, tilted_walk(), grid, 32, resample=decorate(smc.optimal_transport(epsilon, max_steps=500))
        )
        errors, doubts = out.problems()
        codes[epsilon] = int(out.info.status)
        assert not errors
        assert any("unfinished-transport" in doubt for doubt in doubts) == (epsilon == 1e-4)
    assert codes == {0.1: Status.OK, 1e-4: Status.UNFINISHED}
    assert "unfinished" in str(out)
    smc.resample(KEY, out, 4)  # a doubt forbids nothing
    driven = fk.drive(
        KEY, tilted_walk(), grid, 32, resample=decorate(smc.optimal_transport(1e-4, max_steps=500)), show=False
    )
    assert int(driven.info.status) == Status.UNFINISHED
    assert int(driven.info.status_step) == 1


def test_a_failure_displaces_a_doubt():
    draw = lambda k: (jax.random.normal(k, (2,)), jnp.zeros(()))  # noqa: E731
    late = lambda before, x, t0, t1: jnp.where(t1 > 0.9, -jnp.inf, 3 * x[0])  # noqa: E731
    model = smc.FeynmanKac(draw, lambda k, x, t0, t1: x, late)
    out = smc.run_smc(KEY, model, jnp.linspace(0.0, 1.0, 4), 32, resample=smc.optimal_transport(1e-4, max_steps=20))
    assert int(out.info.status) == Status.EXTINCT
    assert int(out.info.status_step) == 3


def test_a_plan_of_anybody_is_held_to_its_weights():
    def uniform(key, log_weights):
        count = log_weights.shape[0]
        return jnp.full((count, count), 1 / count), jnp.zeros_like(log_weights), jnp.asarray(True)

    def draw(key):
        x = jax.random.normal(key)
        return x, 2 * x

    model = smc.FeynmanKac(draw, lambda k, x, t0, t1: x, lambda before, x, t0, t1: x)
    out = smc.run_smc(KEY, model, TWO, 32, resample=uniform)
    assert int(out.info.status) == Status.UNFINISHED


@pytest.mark.parametrize("narrow, starved", [(1.0, False), (0.1, True)])
def test_a_mode_that_must_grow_is_doubted_in_waste_free_runs(narrow, starved):
    """½ N(−4, 1) + ½ N(4, narrow²) in two dimensions from N(0, 9): blocks of chains are no families that gained."""
    centre, log_2pi = 4.0 * jnp.ones(2), float(np.log(2 * np.pi))

    def log_prior(x):
        return -jnp.sum(x**2) / 18 - log_2pi - np.log(9.0)

    def log_target(x):
        wide = -0.5 * jnp.sum((x + centre) ** 2)
        tight = -0.5 * jnp.sum((x - centre) ** 2) / narrow**2 - 2 * np.log(narrow)
        return jnp.logaddexp(wide, tight) - np.log(2.0) - log_2pi

    model = smc.tempering(
        log_prior, lambda x: log_target(x) - log_prior(x), lambda k: 3 * jax.random.normal(k, (2,)),
        lambda f: mcmc.random_walk(f, 0.5), waste_free=4,
    )  # fmt: skip
    found = []
    for seed in range(4):
        out = smc.run_smc(jax.random.key(seed), model, jnp.linspace(0.0, 1.0, 13), 1024)
        found.append(any("starved-modes" in doubt or "one-ancestor" in doubt for doubt in out.problems()[1]))
    assert (np.mean(found) >= 0.75) if starved else not any(found)
