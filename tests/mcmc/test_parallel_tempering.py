"""Replicas that swap: the law of every temperature, the bookkeeping of walkers, and modes that one chain misses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import mcmc

KEY = jax.random.key(0)
LADDER = jnp.asarray([0.0, 0.3, 1.0])


def reference(x):
    return -0.5 * jnp.sum(x**2) / 9.0


def likelihood(x):
    """Two wells at ±2.5, seven and three tenths of the mass before the reference tilts them."""
    return jax.nn.logsumexp(jnp.stack([jnp.log(0.7) - 8 * (x[0] - 2.5) ** 2, jnp.log(0.3) - 8 * (x[0] + 2.5) ** 2]))


def kernel(ladder=LADDER):
    return mcmc.parallel_tempering(reference, likelihood, lambda f: mcmc.random_walk(f, 0.8), ladder)


def moments(temperature):
    """(mean, second moment, mass below 0) by quadrature."""
    x = np.linspace(-15, 15, 60_001)
    wells = np.logaddexp(np.log(0.7) - 8 * (x - 2.5) ** 2, np.log(0.3) - 8 * (x + 2.5) ** 2)
    p = np.exp(-0.5 * x**2 / 9 + temperature * wells)
    p /= p.sum()
    return p @ x, p @ x**2, p[x < 0].sum()


def collected(state, info):
    return state.replicas.position[:, 0], state.walker, info.swap_prob


@pytest.mark.slow
def test_every_temperature_has_its_law_and_modes_are_exchanged():
    chains, steps = 256, 1500
    run = fk.run_chain(KEY, kernel(), 2.5 * jnp.ones((chains, 1)), steps, collect=collected, num_chains=chains)
    x = np.asarray(run.collected[0])
    for k, temperature in enumerate(np.asarray(LADDER)):
        draws = x[300:, :, k]
        for f, expected in zip((lambda v: v, lambda v: v**2, lambda v: v < 0), moments(temperature), strict=True):
            means = f(draws).mean(0)
            assert abs(means.mean() - expected) <= 4.5 * means.std() / np.sqrt(chains)
    # One chain without a ladder stays where it began.
    plain = mcmc.random_walk(lambda v: reference(v) + likelihood(v), 0.3)
    alone = fk.run_chain(KEY, plain, 2.5 * jnp.ones((chains, 1)), steps, num_chains=chains)
    assert abs(float(np.mean(np.asarray(alone.position) < 0)) - moments(1.0)[2]) > 0.1
    trips = np.asarray(run.state.round_trips) / steps
    assert 0.02 <= trips.mean() <= 0.5


def test_walkers_are_permuted_and_round_trips_counted():
    run = fk.run_chain(KEY, kernel(), jnp.zeros(1), 200, collect=collected)
    walker, swap = (np.asarray(leaf) for leaf in run.collected[1:])
    assert np.array_equal(np.sort(walker, axis=1), np.tile(np.arange(3), (200, 1)))
    assert np.array_equal(np.isnan(swap), np.tile([[False, True], [True, False]], (100, 1)))
    rising, trips = np.zeros(3, bool), 0
    for row in walker:
        if rising[row[-1]]:
            trips, rising[row[-1]] = trips + 1, False
        rising[row[0]] = True
    assert trips == int(run.state.round_trips) > 0
    assert int(run.state.count) == 200


@pytest.mark.slow
@pytest.mark.parametrize("bug", ["always", "flipped"])
def test_wrong_swaps_are_found(bug, monkeypatch):
    import sys

    from fkdiff.mcmc import noise

    file = sys.modules["fkdiff.mcmc._parallel_tempering"].ParallelTempering
    right = file._swaps
    if bug == "always":
        # Moves decide as before; only swaps, drawn for all pairs at once, are always granted.
        uniform = noise.uniform
        monkeypatch.setattr(noise, "uniform", lambda key, like: 0 * like if like.shape == (2,) else uniform(key, like))
    else:
        upside = lambda self, key, replicas, count: right(  # noqa: E731
            self, key, replicas._replace(evaluation=jax.tree.map(jnp.negative, replicas.evaluation)), count
        )
        monkeypatch.setattr(file, "_swaps", upside)
    jax.clear_caches()
    with pytest.raises(AssertionError):
        test_every_temperature_has_its_law_and_modes_are_exchanged()
    monkeypatch.undo()
    jax.clear_caches()
