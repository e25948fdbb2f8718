"""The flow's log-density against exact mixtures, and what Hutchinson's estimate may and may not do."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff.paths as paths
from fkdiff import solvers
from fkdiff.errors import FkdiffError
from fkdiff.prediction import Parameterization
from fkdiff.solvers import integrate, log_prob
from fkdiff.targets import gaussian_mixture
from tests.solvers.flow_density import PATHS, POSITIONS, exact, mixture


@pytest.mark.x64
@pytest.mark.parametrize("name", ["linear", *(pytest.param(name, marks=pytest.mark.slow) for name in ("vp", "ve"))])
def test_exact_divergence_gives_the_density_of_a_mixture(name):
    target = mixture()
    pred = target.predictor(PATHS[name]())
    reference = (target.mean, jnp.diag(target.covariance))
    values = log_prob(pred, POSITIONS, rtol=1e-10, atol=1e-10, reference=reference)
    error = jnp.abs(values - exact(pred, POSITIONS)).max()
    print(name, "error in nats", error)
    assert error <= 1e-6
    missing = -0.5 * jnp.log(2 * jnp.pi)
    assert jnp.abs(values + missing - exact(pred, POSITIONS)).max() > 1e-6  # a constant would be seen


@pytest.mark.slow
@pytest.mark.x64
def test_hutchinson_is_unbiased_up_to_the_curvature_of_the_solver():
    """Mean over 256 probes within five standard errors of the exact value, and the error shrinks with probes."""
    pred = mixture().predictor(PATHS["linear"]())
    x = np.repeat(POSITIONS[:1], 256, axis=0)
    truth = log_prob(pred, x[:1])[0]
    draws = log_prob(pred, x, jax.random.key(40), "hutchinson")
    assert jnp.abs(draws.mean() - truth) <= 5 * draws.std() / 16
    assert draws.std() > 1e-3  # probes differ between examples
    many = log_prob(pred, x, jax.random.key(41), "hutchinson", num_probes=16)
    assert many.std() <= 0.5 * draws.std()


@pytest.mark.x64
def test_hutchinson_is_exact_for_diagonal_jacobians():
    """Rademacher probes have z² = 1: one probe is enough when no coordinate acts on another."""
    target = gaussian_mixture([[0.3, -0.2, 1.0]], [0.5])
    pred = target.predictor(PATHS["linear"]())
    x = jnp.array([[0.1, 0.2, 0.3], [1.0, -2.0, 0.5]])
    reference = (target.mean, 0.5)
    one = log_prob(pred, x, jax.random.key(42), "hutchinson", rtol=1e-8, atol=1e-8, reference=reference)
    assert jnp.abs(one - exact(pred, x)).max() <= 1e-6


@pytest.mark.slow
@pytest.mark.x64
def test_a_wrong_model_still_has_a_normalised_density():
    """A made-up velocity field in 1-D: its density integrates to one."""

    def apply(params, x, t, cond):
        return jnp.sin(2 * x) + 0.5 * t * x - 0.3

    pred = Parameterization(paths.linear(), "velocity").predictor(apply, None, (1,))
    points = np.linspace(-14, 14, 561)
    density = np.exp(log_prob(pred, points[:, None], rtol=1e-7, atol=1e-7, chunk=281))
    assert abs(np.trapezoid(density, points) - 1) <= 1e-4


@pytest.mark.slow
@pytest.mark.x64
def test_gradients_match_the_exact_density():
    target, path = mixture(), PATHS["linear"]()
    reference = (target.mean, jnp.diag(target.covariance))

    def by_flow(means):
        pred = gaussian_mixture(means, target.variances, target.weights).predictor(path)
        return log_prob(pred, POSITIONS, rtol=1e-8, atol=1e-8, reference=reference).sum()

    def by_formula(means):
        noised = gaussian_mixture(means, target.variances, target.weights).at(path, path.t_max)
        return jax.vmap(noised.log_prob)(jnp.asarray(POSITIONS)).sum()

    gap = jnp.abs(jax.jit(jax.grad(by_flow))(target.means) - jax.grad(by_formula)(target.means))
    assert gap.max() <= 1e-4


def test_shapes_and_compilation():
    traces = []

    def apply(params, x, t, cond):
        traces.append(1)
        return params * x

    form = Parameterization(paths.linear(), "clean")
    x = jax.random.normal(jax.random.key(0), (5, 2, 2))
    pred = form.predictor(apply, jnp.asarray(0.4), (2, 2))
    whole = log_prob(pred, x)
    assert whole.shape == (5,)
    assert whole.dtype == jnp.float32
    count = len(traces)
    log_prob(form.predictor(apply, jnp.asarray(0.6), (2, 2)), x + 1, rtol=1e-4, reference=(0.1, 2.0))
    assert len(traces) == count


def test_what_cannot_be_integrated_is_refused():
    pred = mixture().predictor(paths.linear())
    x = jnp.asarray(POSITIONS, jnp.float32)
    with pytest.raises(FkdiffError, match=r"key=None .* pass a key"):
        log_prob(pred, x, divergence="hutchinson")
    with pytest.raises(FkdiffError, match='did you mean "exact"'):
        log_prob(pred, x, divergence="exakt")
    with pytest.raises(FkdiffError, match="x has shape"):
        log_prob(pred, x[0])
    with pytest.raises(FkdiffError, match="num_probes=0"):
        log_prob(pred, x, num_probes=0)
    with pytest.raises(FkdiffError, match=r"failed on 4 of 4 examples.*max_steps=3"):
        log_prob(pred, x, max_steps=3)


@pytest.mark.slow
def test_a_failure_inside_jit_is_nan():
    pred = mixture().predictor(paths.linear())
    inside = eqx.filter_jit(lambda x: log_prob(pred, x, max_steps=3))(jnp.asarray(POSITIONS, jnp.float32))
    assert np.all(np.isnan(inside))


@pytest.mark.slow
@pytest.mark.x64
def test_samples_and_densities_describe_one_law():
    """E[log q − log q_exact] over the solver's own samples is −KL ≤ 0 and tiny for a fine grid."""
    pred = mixture().predictor(PATHS["vp"]())
    samples = integrate(jax.random.key(43), pred, solvers.heun(), paths.grid(100, pred.path), 64)
    assert jnp.abs(log_prob(pred, samples) - exact(pred, samples)).max() <= 1e-3
