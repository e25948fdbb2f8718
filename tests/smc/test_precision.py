"""Half and mixed precision, and no hidden transfers: samplers either run, or say what they need in a sentence."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import core, mcmc, smc
from fkdiff.smc.samplers import moves

KEY = jax.random.key(0)
GRID = np.linspace(0.0, 1.0, 5)
WINDOW = np.random.default_rng(0).normal(size=(5, 2))


def of(kinds, answer=None):
    """A Gaussian log-density and draws on a pytree of these dtypes, answered in another."""

    def log_density(x):
        value = -0.5 * sum(jnp.sum(leaf.astype(jnp.float32) ** 2) for leaf in jax.tree.leaves(x))
        return value if answer is None else value.astype(answer)

    def draw(key):
        return {"a": jax.random.normal(key, (2,), kinds[0]), "b": jax.random.normal(core.stream(key, 0), (), kinds[1])}

    return log_density, draw


class Half(NamedTuple):
    """What a kernel from elsewhere may report."""

    acceptance_prob: jax.Array


def hmc(f, step_size=0.3, inverse_mass=None):
    return mcmc.hmc(f, step_size, 2, inverse_mass)


def mala(f):
    return mcmc.mala(f, 0.2)


CHAINS = {
    "hmc": lambda f: hmc(f, inverse_mass=np.eye(3)),
    "mala": lambda f: mcmc.mala(f, 0.2, [1.0, 2.0, 3.0]),
    "random_walk": lambda f: mcmc.random_walk(f, 0.2),
    "underdamped": lambda f: mcmc.underdamped(f, 0.2, 1.0),
    "state_dependent": lambda f: mcmc.state_dependent(f, lambda x: jax.tree.map(jnp.ones_like, x), 0.1),
    "alternate": lambda f: mcmc.alternate(hmc(f), mala(f)),
    "parallel_tempering": lambda f: mcmc.parallel_tempering(f, f, mala, [0.0, 1.0]),
}
MIXED = {
    "float32 and bfloat16": ((jnp.float32, jnp.bfloat16), None),
    "bfloat16": ((jnp.bfloat16, jnp.bfloat16), jnp.bfloat16),
    "float16 and float32, answered in half": ((jnp.float16, jnp.float32), jnp.float16),
}
SAMPLERS = {
    "adaptive and tuned": lambda f, g, draw: smc.tempering(f, g, draw, smc.tuned(hmc), ess=0.7),
    "fixed": lambda f, g, draw: smc.tempering(f, g, draw, mala),
    "unadjusted": lambda f, g, draw: smc.unadjusted(f, g, draw, 0.1),
}


def runs(kinds, answer, names):
    """Chains and populations on these dtypes; the likelihood always answers in float32."""
    f, draw = of(kinds, answer)
    g, _ = of(kinds)
    for name in names & CHAINS.keys():
        run = fk.run_chain(KEY, CHAINS[name](f), draw(KEY), 3)
        assert [leaf.dtype for leaf in jax.tree.leaves(run.position)] == list(kinds)
        assert run.acceptance is None or run.acceptance.dtype.itemsize >= 4
    for name in names & SAMPLERS.keys():
        out = fk.run_smc(KEY, SAMPLERS[name](f, g, draw), GRID, 32)
        assert [leaf.dtype for leaf in jax.tree.leaves(out.particles)] == list(kinds)
        # N(0, I) twice in 3 dimensions: log Z = −1.5 log 2, and exactly so within what 32 particles show.
        assert abs(float(out.log_normalizer) + 1.5 * np.log(2)) <= 1


@pytest.mark.parametrize("mix", ["float32 and bfloat16"])
def test_mixed_dtypes_run(mix):
    runs(*MIXED[mix], {"alternate", "adaptive and tuned"})


@pytest.mark.slow
@pytest.mark.parametrize("mix", MIXED)
def test_every_mix_runs_everywhere(mix):
    runs(*MIXED[mix], CHAINS.keys() | SAMPLERS.keys())


@pytest.mark.slow
@pytest.mark.x64
@pytest.mark.parametrize("kinds", [(jnp.float32, jnp.float32), (jnp.float64, jnp.float32)])
@pytest.mark.parametrize("answer", [jnp.float32, jnp.float64])
def test_single_precision_runs_where_double_is_on(kinds, answer):
    runs(kinds, answer, CHAINS.keys() | SAMPLERS.keys())


def test_acceptances_of_half_precision_are_counted_on():
    """Beyond 256 a sum in bfloat16 stands still: 1,200 acceptances would average 0.21."""
    rates = [
        float(fk.run_chain(KEY, mcmc.hmc(of_one, 0.3, 2), jnp.ones(2, dtype), 1200).acceptance)
        for dtype in (jnp.float32, jnp.bfloat16)
    ]
    assert min(rates) >= 0.97

    foreign = fk.Kernel(lambda key, x: mcmc.State(x, None), lambda key, state: (state, Half(jnp.bfloat16(1))))
    assert float(fk.run_chain(KEY, foreign, jnp.ones(2), 1200).acceptance) == 1
    population = mcmc.State(jnp.ones((300, 2)), None)
    rare = fk.Kernel(
        foreign.init, lambda key, state: (state, Half((jax.random.uniform(key) < 0.501).astype("bfloat16")))
    )
    _, mean, infos = moves.advance(rare, KEY, population, None)
    # In bfloat16 the mean itself is off by up to 2e-3.
    assert abs(float(mean) - np.asarray(infos.acceptance_prob, dtype=np.float64).mean()) <= 1e-6


def of_one(x):
    return -0.5 * jnp.sum(x**2)


def guarded(work):
    """What `work` returns where a transfer that nobody asked for is refused."""
    ones = jnp.ones(2)
    with jax.transfer_guard("disallow"):
        with pytest.raises(Exception, match=r"[Dd]isallowed"):
            _ = ones + 1
        return work()


def test_chains_and_populations_transfer_nothing_unasked():
    f, draw = of((jnp.float32, jnp.float32))
    start = jax.device_get(draw(KEY))
    fk.check(guarded(lambda: fk.run_chain(KEY, hmc(f, inverse_mass=np.eye(3)), start, 3)))
    out = guarded(lambda: fk.check(fk.run_smc(KEY, smc.tempering(f, f, draw, mala), GRID, 256)))
    assert bool(jnp.isfinite(out.log_normalizer))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CHAINS, *SAMPLERS])
def test_no_sampler_transfers_anything_unasked(name):
    f, draw = of((jnp.float32, jnp.float32))
    if name in CHAINS:
        start = draw(KEY)
        guarded(lambda: fk.run_chain(KEY, CHAINS[name](f), start, 3))
    else:
        guarded(lambda: fk.run_smc(KEY, SAMPLERS[name](f, f, draw), GRID, 32))


@pytest.mark.slow
def test_no_tuning_transfers_anything_unasked():
    guarded(lambda: mcmc.mass_from_window(WINDOW))
    guarded(lambda: mcmc.mass_from_population(WINDOW, np.zeros(5, np.float32), dense=True))
    guarded(lambda: mcmc.dual_averaging(KEY, lambda h: mcmc.hmc(of_one, h, 2), np.ones(2, np.float32), num_steps=3))
