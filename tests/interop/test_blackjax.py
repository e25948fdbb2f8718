"""Kernels in blackjax's form, by a stand-in of that form."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import mcmc


class Place(NamedTuple):
    position: jax.Array


class Report(NamedTuple):
    acceptance_rate: jax.Array
    is_divergent: jax.Array


class Outside(NamedTuple):
    init: object
    step: object


def normal(x):
    return -0.5 * jnp.sum(x**2)


def drift(key, state):
    return Place(0.5 * state.position + jax.random.normal(key, state.position.shape)), Report(
        jnp.float32(0.9), jnp.bool_(False)
    )


OUTSIDE = Outside(lambda position: Place(position), drift)


def test_a_stranger_runs_like_a_kernel():
    kernel = fk.interop.from_blackjax(OUTSIDE)
    run = fk.run_chain(jax.random.key(0), kernel, jnp.zeros((500, 1)), 20, num_chains=500)
    assert np.abs(np.asarray(run.acceptance) - 0.9).max() <= 1e-6
    assert abs(float(jnp.var(run.position)) - 4 / 3) <= 0.4
    assert kernel.gradient == "refused"


def test_there_and_back_is_the_same_chain():
    kernel = mcmc.hmc(normal, 0.3, 3)
    there = fk.interop.to_blackjax(kernel)
    state = there.init(jnp.ones(2))
    moved, info = there.step(jax.random.key(1), state)
    expected, _ = kernel.step(jax.random.key(1), kernel.init(jax.random.key(0), jnp.ones(2)))
    assert np.array_equal(moved.position, expected.position)
    assert 0 <= float(info.acceptance_prob) <= 1
    back = fk.interop.from_blackjax(there)
    again, _ = back.step(jax.random.key(1), back.init(jax.random.key(0), jnp.ones(2)))
    assert np.array_equal(again.position, expected.position)


@pytest.mark.parametrize(
    "wrong, words",
    [
        (lambda: fk.interop.from_blackjax(3), r"must have init\(position\)"),
        (lambda: fk.interop.from_blackjax(mcmc.ula(normal, 0.1)), r"must have init\(position\)"),
        (lambda: fk.interop.to_blackjax(OUTSIDE), "pass a kernel such as"),
        (lambda: fk.interop.from_blackjax(Outside(lambda x: x, drift)).init(None, jnp.zeros(1)), "without .position"),
    ],
)
def test_what_is_no_kernel_is_refused(wrong, words):
    with pytest.raises(fk.FkdiffError, match=words):
        wrong()
