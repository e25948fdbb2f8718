"""One step against NumPy, the decision's truth table, and the integrator's symmetries: nothing is drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from scipy.stats import multivariate_normal

from fkdiff import FkdiffError, mcmc
from fkdiff.mcmc import states
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


@pytest.mark.parametrize(
    "change, u, accepted, divergent, probability",
    [
        (-5.0, 0.999999, True, False, 1.0),
        (0.0, 0.999999, True, False, 1.0),
        (np.log(2.0), 0.49, True, False, 0.5),
        (np.log(2.0), 0.51, False, False, 0.5),
        (np.inf, 0.0, False, True, 0.0),
        (np.nan, 0.0, False, True, 0.0),
        (1001.0, 0.0, False, True, 0.0),
        (-1001.0, 0.0, False, True, 0.0),
    ],
)
def test_decisions(change, u, accepted, divergent, probability):
    old, new = (states.State(jnp.full(2, at), states.Evaluation((jnp.float32(at),), None)) for at in (0.0, 1.0))
    with injected([], u):
        state, info = states.metropolis(KEY, "x", old, new, jnp.float32(change), jnp.float32(1.0), 1000.0)
    assert bool(info.accepted) is accepted
    assert bool(info.divergent) is divergent
    assert abs(float(info.acceptance_prob) - probability) <= 1e-6
    assert [float(leaf.max()) for leaf in jax.tree.leaves(state)] == [float(accepted)] * 2


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
