"""Losses of one's own: a regression with a known answer, a learned bridge, and an energy that is a density."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import fkdiff as fk
import fkdiff.correctors as fkc
from fkdiff import nn, train
from fkdiff.core import FkdiffError
from fkdiff.prediction import Bridge
from fkdiff.train import averages


def squares(params, key, batch):
    x, y = batch
    return jnp.mean((x @ params["slope"] + params["shift"] - y) ** 2)


def test_a_linear_regression_is_found():
    x = jax.random.normal(jax.random.key(0), (300, 2))
    y = x @ jnp.array([1.5, -0.7]) + 0.3
    start = {"slope": jnp.zeros(2), "shift": jnp.zeros(())}
    fitted = train.fit(jax.random.key(1), squares, start, (x, y), num_steps=500, batch_size=64, learning_rate=0.05)
    np.testing.assert_allclose(fitted.params["slope"], [1.5, -0.7], atol=1e-3)
    np.testing.assert_allclose(fitted.ema["shift"], 0.3, atol=1e-2)
    assert fitted.losses.shape == (500,)
    again = train.fit(jax.random.key(1), squares, start, (x, y), num_steps=500, batch_size=64, learning_rate=0.05)
    np.testing.assert_array_equal(again.losses, fitted.losses)


def pulled(params, key, batch):
    """Its minimum is the mean of the batch, and far from where the test starts."""
    return jnp.mean((params[None] - batch) ** 2)


@pytest.mark.parametrize("planted", [False, True])
def test_a_short_fit_averages_what_it_learned_and_not_where_it_started(planted, monkeypatch):
    """The minimum is 1 and the start −9, of which a constant decay would keep 0.99¹⁰⁰ = 0.37."""
    if planted:
        monkeypatch.setattr(averages, "ema_decay_at", lambda step, decay: jnp.asarray(decay))
    start, data = jnp.full(1, -9.0), jnp.ones((64, 1))
    fitted = train.fit(
        jax.random.key(0), lambda *arguments: pulled(*arguments), start, data, num_steps=100, learning_rate=0.3
    )
    assert abs(float(fitted.params[0]) - 1) <= 0.02
    assert (abs(float(fitted.ema[0]) - 1) <= 0.05) is not planted


def test_axes_that_disagree_are_refused():
    with pytest.raises(FkdiffError, match="leading axes"):
        train.fit(jax.random.key(0), squares, {}, (jnp.ones((3, 2)), jnp.ones(4)), num_steps=1)


PATH = fk.paths.interpolant("linear", "bridge", 0.5)
FORM = Bridge(PATH)


def bridge(params, key, batch):
    start, clean = batch
    keys = jax.random.split(key)
    t = train.sample_times(keys[0], PATH, len(start))
    noise = jax.random.normal(keys[1], start.shape)
    return jax.vmap(lambda *a: train.bridge_loss(FORM, APPLY, params, *a))(start, clean, noise, t).mean()


def two_views(params, x, t, cond):
    return BARE(params, x, t, cond).reshape(2, *x.shape)


NETWORK = nn.MLP(2, 64, 2, out=4, rngs=nnx.Rngs(params=jax.random.key(3)))
BARE, PARAMS = nn.functional(NETWORK)
APPLY = two_views


@pytest.mark.slow
@pytest.mark.parametrize("nu", [0.0, 1.0])
def test_a_learned_bridge_carries_one_law_to_another_and_remembers_the_pair(nu):
    """Pairs that belong together: the end is the start turned and shifted, with noise of its own."""
    turn = jnp.array([[0.6, -0.8], [0.8, 0.6]])

    def pairs(key, num):
        keys = jax.random.split(key, 3)
        start = jax.random.normal(keys[0], (num, 2)) * jnp.array([[1.0, 0.3]])
        sign = jnp.where(jax.random.bernoulli(keys[1], 0.3, (num, 1)), 1.0, -1.0)
        return start, start @ turn.T + 1.5 * sign + 0.2 * jax.random.normal(keys[2], (num, 2))

    fitted = train.fit(
        jax.random.key(0), bridge, PARAMS, pairs(jax.random.key(1), 20_000), num_steps=3000, batch_size=256
    )
    pred = FORM.predictor(APPLY, fitted.ema, (2,))
    starts, ends = pairs(jax.random.key(2), 1500)
    times = fk.grid(60, PATH, "uniform")
    draws = fk.integrate(jax.random.key(4), pred, fk.solvers.heun(noise=nu), times, initial=starts)
    found = fk.diagnostics.floored(
        jax.random.key(5), fk.diagnostics.energy_distance, draws, lambda key, n: pairs(key, n)[1]
    )
    assert found.value <= 2.5 * found.floor
    # A law of which the starts were forgotten would have no correlation with them.
    assert np.corrcoef(np.asarray(starts @ turn.T)[:, 0], np.asarray(draws)[:, 0])[0, 1] >= 0.3
    assert abs(float((draws[:, 0] > 0).mean()) - float((ends[:, 0] > 0).mean())) <= 0.05


@pytest.mark.slow
def test_a_learned_energy_is_sampled_exactly_as_it_is():
    """The weights hold the learned energy to itself, whatever it learned: log Z of its square by quadrature."""
    path = fk.paths.linear(log_snr=(-6.0, 3.0))
    form = fk.Parameterization(path, "energy")
    inner, params = nn.functional(nn.MLP(1, 32, 1, rngs=nnx.Rngs(params=jax.random.key(0))))

    def energy(params, x, t, cond):
        return 0.5 * jnp.sum(x**2) - jnp.sum(x * inner(params, x, path.log_snr(t) / 9)) / path.sigma(t)

    def loss(params, key, batch):
        return train.batch_loss(key, form, energy, params, batch, None)

    data = fk.targets.gaussian_mixture([[-1.2], [0.9]], [0.1, 0.2], [0.4, 0.6]).sample(jax.random.key(1), 4000)
    fitted = train.fit(jax.random.key(2), loss, params, data, num_steps=1500, learning_rate=3e-3)
    pred = form.predictor(energy, fitted.ema, (1,))
    target = fkc.anneal(pred, 2.0)
    x = jnp.linspace(-6, 6, 4001)
    log_p = jax.vmap(lambda y: target.log_density(y[None], path.t_max))(x)
    truth = float(jax.nn.logsumexp(log_p) + np.log(12 / 4000))
    out = fk.check(fk.run_smc(jax.random.key(3), fkc.finite_steps(target), fk.grid(32, path), 4096))
    assert abs(float(out.log_normalizer) - truth) <= 0.1
    exact = float(jax.nn.softmax(log_p) @ x)
    assert abs(float(fk.expectation(out, lambda y: y[0]).value) - exact) <= 0.1
    # And it moves: HMC on the energy itself, at the last time.
    kernel = fk.mcmc.hmc(lambda y: pred.log_prob(y, path.t_max), step_size=0.2, num_steps=5)
    starts = fk.smc.resample(
        jax.random.key(4),
        fk.run_smc(jax.random.key(5), fkc.finite_steps(fkc.anneal(pred, 1.0)), fk.grid(32, path), 2048),
        512,
    )
    run = fk.check(fk.run_chain(jax.random.key(6), kernel, starts, num_steps=50, num_chains=512))
    mean = float(jax.nn.softmax(log_p / 2) @ x)
    assert abs(float(run.state.position.mean()) - mean) <= 6 * float(run.state.position.std()) / np.sqrt(512)
