"""Exhausted memory is one sentence, wherever it comes to light."""

import jax
import jax.numpy as jnp
import pytest

import fkdiff as fk
from fkdiff.core import enough_memory


def walk(size):
    def initial(key):
        return jnp.zeros(size) + jax.random.normal(key, ()), jnp.zeros(())

    def propose(key, x, t0, t1):
        return x + 1.0

    return fk.FeynmanKac(initial, propose, lambda before, x, t0, t1: -x[0])


def test_more_particles_than_memory_suggests_chunk():
    with pytest.raises(fk.FkdiffError, match=r"num_particles=1024 asked for .* GiB .*chunk=256"):
        fk.check(fk.run_smc(jax.random.key(0), walk(2**30), jnp.linspace(0.0, 1.0, 3), 2**10))


def test_other_errors_of_the_device_pass():
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"), enough_memory():
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")
