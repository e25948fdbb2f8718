"""Segments change no number and bound the memory of a derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import FkdiffError, mcmc, smc
from fkdiff.core import scan

PATH = fk.paths.variance_preserving()
MIXTURE = fk.targets.gaussian_mixture([[-2.0], [1.5]], [0.25, 0.64], [0.3, 0.7])


def solver(theta, checkpoint):
    grid = fk.grid(12, PATH)
    pred = fk.Parameterization(PATH, "noise").predictor(lambda p, x, t, cond: jnp.tanh(p * x), theta, shape=(1,))
    return fk.integrate(jax.random.key(0), pred, fk.solvers.ddim(1.0), grid, 8, checkpoint=checkpoint).sum()


def chain(theta, checkpoint):
    kernel = mcmc.ula(lambda x: -theta * x**4, 0.05)
    run = fk.run_chain(
        jax.random.key(1), kernel, jnp.ones(()), 11, collect=lambda s, i: s.position, checkpoint=checkpoint
    )
    return run.collected.sum()


def population(theta, checkpoint):
    model = smc.unadjusted(lambda x: -0.5 * x**2, lambda x: -theta * x**4, jax.random.normal, 0.05)
    grid = jnp.linspace(0.0, 1.0, 11)
    return smc.run_smc(jax.random.key(2), model, grid, 16, resample=smc.never, checkpoint=checkpoint).log_normalizer


@pytest.mark.parametrize("driver", [solver, chain, population])
@pytest.mark.parametrize("checkpoint", [5, *(pytest.param(k, marks=pytest.mark.slow) for k in (3, 100))])
def test_segments_change_no_number(driver, checkpoint):
    theta = jnp.float32(0.7)
    value, slope = jax.value_and_grad(driver)(theta, None)
    again, cut = jax.value_and_grad(driver)(theta, checkpoint)
    np.testing.assert_allclose(value, again, rtol=1e-6)
    np.testing.assert_allclose(slope, cut, rtol=1e-4)


def memory(segments, steps=400, size=2000):
    def last(x):
        def body(carry, _):
            return jnp.tanh(jnp.sin(carry) * 1.01), None

        return scan(body, x, jnp.arange(steps), segments)[0].sum()

    compiled = jax.jit(jax.grad(last)).lower(jnp.ones(size)).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_segments_bound_the_memory():
    whole, cut = memory(None), memory(20)
    assert whole > 400 * 2000 * 4
    assert cut < 0.3 * whole


def test_what_is_no_number_of_segments_is_refused():
    with pytest.raises(FkdiffError, match=r"checkpoint=0 must be a whole number"):
        chain(jnp.float32(1.0), 0)
