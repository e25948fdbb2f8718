"""One step against NumPy, the decision's truth table, and the integrator's symmetries: nothing is drawn."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from scipy.stats import multivariate_normal

import fkdiff as fk
from fkdiff import FkdiffError, mcmc
from fkdiff.core import log_density
from fkdiff.mcmc import noise, states
from fkdiff.mcmc._metric import metric
from tests.mcmc.mcmc_laws import KEY, injected

MASS = np.array([[0.9, 0.3], [0.3, 0.5]])


def skewed(x):
    """Neither symmetric nor isotropic."""
    return 2 * x[0] - jnp.exp(x[0]) - (x[1] - 0.5 * x[0] ** 2) ** 2 / 4


def skewed_grad(x):
    gap = x[1] - 0.5 * x[0] ** 2
    return np.array([2 - np.exp(x[0]) + gap * x[0] / 2, -gap / 2])


def skewed_value(x):
    return 2 * x[0] - np.exp(x[0]) - (x[1] - 0.5 * x[0] ** 2) ** 2 / 4


def proposal_and_change(kernel, x, draw):
    with injected([jnp.asarray(draw)], u=0.0):  # accepts whatever may be accepted
        state, info = kernel.step(KEY, kernel.init(KEY, jnp.asarray(x)))
    return np.asarray(state.position), float(info.energy_change), float(info.distance)


@pytest.mark.x64
def test_mala_has_the_ratio_of_its_proposals():
    x, draw, h = np.array([0.4, -0.9]), np.array([0.8, 0.5]), 0.3
    proposed, change, distance = proposal_and_change(mcmc.mala(skewed, h, MASS), x, draw)
    expected = x + h * MASS @ skewed_grad(x) + np.sqrt(2 * h) * scipy.linalg.cholesky(MASS, lower=True) @ draw

    def log_q(to, origin):
        return multivariate_normal(origin + h * MASS @ skewed_grad(origin), 2 * h * MASS).logpdf(to)

    ratio = log_q(x, proposed) - log_q(proposed, x)
    assert np.abs(proposed - expected).max() <= 1e-12
    assert abs(ratio) > 0.01  # or a kernel without it would pass
    assert abs(change - (skewed_value(x) - skewed_value(proposed) - ratio)) <= 1e-12
    assert abs(distance - np.linalg.norm(proposed - x)) <= 1e-12


@pytest.mark.x64
def test_hmc_conserves_the_energy_of_momenta():
    x, draw, step = np.array([0.4, -0.9]), np.array([0.8, 0.5]), 1.2
    proposed, change, distance = proposal_and_change(mcmc.hmc(skewed, step, 3, MASS, jitter=0.5), x, draw)
    length = step * 0.5  # u = 0 is the shortest step
    factor = scipy.linalg.cholesky(MASS, lower=True)
    at, momentum = x, scipy.linalg.solve(factor.T, draw)  # N(0, M)
    before = -skewed_value(at) + momentum @ MASS @ momentum / 2
    for _ in range(3):
        momentum = momentum + length / 2 * skewed_grad(at)
        at = at + length * MASS @ momentum
        momentum = momentum + length / 2 * skewed_grad(at)
    after = -skewed_value(at) + momentum @ MASS @ momentum / 2
    assert np.abs(proposed - at).max() <= 1e-12
    assert abs(after - before) > 1e-3
    assert abs(change - (after - before)) <= 1e-12
    assert abs(distance - np.linalg.norm(at - x)) <= 1e-12


@pytest.mark.x64
def test_leapfrog_is_reversible_and_keeps_volume():
    density = mcmc.ula(skewed, 0.1).step.args[0].density
    mass = metric(MASS)

    @jax.jit
    def flow(z):
        state = states.start(density, z[:2])
        state, velocity = mcmc.leapfrog(density, mass, state, z[2:], jnp.asarray(0.3), 4)
        return jnp.concatenate([state.position, velocity])

    z = jnp.asarray([0.4, -0.9, 0.8, 0.5])
    forward = flow(z)
    back = flow(forward * jnp.asarray([1.0, 1.0, -1.0, -1.0])) * jnp.asarray([1.0, 1.0, -1.0, -1.0])
    assert float(jnp.abs(forward - z).max()) > 0.1
    assert float(jnp.abs(back - z).max()) <= 1e-10
    volume = abs(np.linalg.det(np.asarray(jax.jacfwd(flow)(z))))
    assert abs(volume - 1) <= 1e-8


WALL = -np.inf


@pytest.mark.parametrize(
    "after, kinetic, u, accepted, divergent, probability",
    [
        (5.0, 0.0, 0.999999, True, False, 1.0),
        (0.0, 0.0, 0.999999, True, False, 1.0),
        (-np.log(2.0), 0.0, 0.49, True, False, 0.5),
        (0.0, np.log(2.0), 0.51, False, False, 0.5),
        (np.nan, 0.0, 0.0, False, True, 0.0),
        (0.0, np.nan, 0.0, False, True, 0.0),
        (-1001.0, 0.0, 0.0, False, True, 0.0),
        (1001.0, 0.0, 0.999999, True, False, 1.0),  # out of the tails, as far as it goes
        (0.0, -2e6, 0.999999, True, False, 1.0),
        (np.inf, 0.0, 0.0, False, True, 0.0),  # no density is infinite
        (WALL, 3.0, 0.0, False, False, 0.0),
        (WALL, np.nan, 0.0, False, False, 0.0),  # the gradient beyond a wall may be anything
        (WALL, 1e30, 0.0, False, True, 0.0),  # the integrator blew up, and the density with it
    ],
)
def test_decisions(after, kinetic, u, accepted, divergent, probability):
    decided, info = decision(0.0, after, kinetic, u)
    assert bool(info.accepted) is accepted
    assert bool(info.divergent) is divergent
    assert abs(float(info.acceptance_prob) - probability) <= 1e-6
    assert float(decided.position.max()) == float(accepted)


def decision(before, after, kinetic, u=None, dtype=jnp.float32, key=KEY):
    """What becomes of a proposal from 0 to 1 with these log-densities."""
    density = log_density(lambda x: jnp.sum(x))
    old, new = (
        states.State(jnp.full(2, at, dtype), states.Evaluation((jnp.asarray(value, dtype),), None))
        for at, value in ((0.0, before), (1.0, after))
    )
    with injected([], u) if u is not None else contextlib.nullcontext():
        return states.metropolis(
            key, "x", density, old, new, jnp.asarray(kinetic, jnp.float32), jnp.float32(1.0), 1000.0
        )


def test_a_start_without_density_is_left():
    decided, info = decision(-np.inf, 0.0, 0.0, 0.999999)
    assert bool(info.accepted)
    assert float(decided.position.max()) == 1.0


@pytest.mark.parametrize("planted", [False, True])
def test_half_precision_accepts_rare_moves_as_rarely_as_it_should(planted, monkeypatch):
    """A uniform number of bfloat16 is 0 once in 128 draws, and would accept whatever is proposed that often."""
    if planted:
        half = lambda key, like: jax.random.uniform(key, (), jnp.bfloat16).astype(like.dtype)  # noqa: E731
        monkeypatch.setattr(noise, "uniform", half)
    num, wanted = 1 << 16, np.exp(-7.0)
    step = jax.jit(jax.vmap(lambda key: decision(7.0, 0.0, 0.0, dtype=jnp.bfloat16, key=key)[1].accepted))
    share = float(step(jax.random.split(KEY, num)).mean())
    assert (abs(share - wanted) <= 6 * np.sqrt(wanted / num)) is not planted


def wide(x):
    return -0.5 * jnp.sum(x**2)


@pytest.mark.parametrize(
    "kernel", [mcmc.hmc(wide, 0.6, 3), mcmc.mala(wide, 0.5), mcmc.alternate(mcmc.mala(wide, 0.5), mcmc.ula(wide, 0.1))]
)
def test_a_start_far_out_in_the_tails_is_left_at_once(kernel):
    """The energy falls by thousands of nats in a step, which is no reason to stay."""
    run = fk.run_chain(KEY, kernel, jnp.full(4, 100.0), 60, collect=lambda state, info: state.position)
    assert int(run.divergences) == 0
    assert float(run.acceptance) >= 0.5
    # |x|² of N(0, I) in 4 dimensions is above 60 with probability 3e-12.
    assert not float(jnp.sum(run.collected[-1] ** 2)) > 60


def half_line(x):
    """−x − x^{3/2} on x > 0; beyond the wall the gradient is NaN."""
    return jnp.sum(jnp.where(x > 0, -x - x**1.5, -jnp.inf))


@pytest.mark.parametrize("make", [lambda f: mcmc.hmc(f, 0.5, 1), lambda f: mcmc.mala(f, 0.1)])
def test_rejections_at_a_wall_are_no_divergences_and_steps_that_blow_up_are(make):
    run = fk.run_chain(KEY, make(half_line), jnp.full((64, 1), 0.5), 40, num_chains=64)
    assert np.isnan(np.asarray(jax.grad(half_line)(jnp.full(1, -1.0)))).all()
    assert 0.2 <= float(run.acceptance.mean()) <= 0.95
    assert int(run.divergences.sum()) == 0
    assert float(run.position.min()) > 0
    for scale in (1e4, 1e30):  # a finite energy, and one that overflows
        blown = fk.run_chain(KEY, make(lambda x: scale * wide(x)), jnp.ones(2), 5)  # noqa: B023
        assert int(blown.divergences) == 5
        assert float(blown.acceptance) == 0


def test_random_walks_may_gain_any_amount_and_reject_nan():
    def step(target):
        with injected([jnp.ones(2)], 0.0):
            kernel = mcmc.random_walk(target, 1.0)
            return kernel.step(KEY, kernel.init(KEY, jnp.zeros(2)))

    state, info = step(lambda x: 5000.0 * jnp.sum(x))
    assert bool(info.accepted)
    assert state.evaluation.grads is None
    state, info = step(lambda x: jnp.where(x[0] > 0.5, jnp.nan, 0.0))
    assert float(state.position.max()) == 0.0
    assert bool(info.divergent)


def test_a_round_is_its_steps_one_after_the_other():
    def log_density(x):
        return -jnp.sum(jnp.cosh(x))

    kernels = mcmc.hmc(log_density, 0.3, 2), mcmc.mala(log_density, 0.1)
    both, key, x = mcmc.alternate(*kernels), jax.random.key(7), jnp.array([0.4, -0.2])
    round_state, info = both.step(key, both.init(key, x))
    state = kernels[0].init(key, x)
    for number, kernel in enumerate(kernels):
        state, one = kernel.step(jax.random.fold_in(key, number), state)
        np.testing.assert_allclose(info.each[number].acceptance_prob, one.acceptance_prob, rtol=1e-5)
    np.testing.assert_allclose(round_state.position, state.position, rtol=1e-5)
    np.testing.assert_allclose(info.acceptance_prob, np.mean([i.acceptance_prob for i in info.each]), rtol=1e-6)
    assert both.evaluations == 3


def test_a_round_needs_two_kernels():
    one = mcmc.mala(lambda x: -jnp.sum(x**2), 0.1)
    with pytest.raises(FkdiffError, match="alternate was given 1 kernels"):
        mcmc.alternate(one)
    with pytest.raises(FkdiffError, match=r"kernels\[1\] is a"):
        mcmc.alternate(one, 3)
