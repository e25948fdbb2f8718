"""Orders of the steps on Gaussian data, where control makes the weights exactly flat and log Z has a closed form.

For q = N(m, s²) on the line, the right start and the ungauged drift, g is quadratic in x, the affine control spans
it, and log Ẑ is one number for all particles: no Monte Carlo tolerance, only the step's error.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
import fkdiff.correctors as fkc
from fkdiff.correctors import control

MEAN, VARIANCE, BETA = (0.8,), 0.6, 1.7
NEVER = fk.smc.adaptive(fk.smc.systematic, 0.0)


def log_normaliser_of_power(path):
    """log ∫ N(x; m, V)^β with V the variance that the path reaches at t_max."""
    variance = float(path.alpha(path.t_max)) ** 2 * VARIANCE + float(path.sigma(path.t_max)) ** 2
    return 0.5 * ((1 - BETA) * np.log(2 * np.pi * variance) - np.log(BETA))


@pytest.fixture(autouse=True)
def _exact_fit(monkeypatch, request):
    """In double precision the ridge is not needed, and would leave its own size in the weights."""
    if request.node.get_closest_marker("x64"):
        monkeypatch.setattr(control, "RIDGE", 1e-13)
        jax.clear_caches()


def error(step, steps, noise=0.0, ladder="affine", seed=0):
    path = fk.paths.variance_preserving(log_snr=(-5.0, 3.0))
    law = fk.targets.gaussian(MEAN, VARIANCE)
    target = fkc.anneal(law.predictor(path), BETA).with_reference(MEAN, VARIANCE)
    model = target.feynman_kac(step, noise, ladder, gauge="published")
    out = fk.run_smc(jax.random.key(seed), model, fk.grid(steps, path), 64, resample=NEVER, safety=False)
    return float(out.log_normalizer) - log_normaliser_of_power(path), out


ORDERS = [
    pytest.param("euler", (64, 128), 1, marks=pytest.mark.slow),
    ("heun", (24, 48), 2),
    pytest.param("rk4", (12, 24), 4, marks=pytest.mark.slow),
]


@pytest.mark.x64
@pytest.mark.parametrize("step, steps, order", ORDERS)
def test_order_of_the_weighted_flow(step, steps, order):
    coarse, fine = (error(step, n)[0] for n in steps)
    assert abs(np.log2(abs(coarse / fine)) - order) <= 0.2 * order
    assert abs(fine) <= 0.05


@pytest.mark.x64
@pytest.mark.parametrize("noise", [pytest.param(0.5, marks=pytest.mark.slow), 2.0])
def test_exponential_step_is_exact_on_gaussian_data(noise):
    assert abs(error("exponential", 7, noise=noise)[0]) <= 1e-10


@pytest.mark.slow
@pytest.mark.x64
@pytest.mark.filterwarnings("ignore:noise=0 without gauge")
def test_control_makes_gaussian_weights_flat():
    _, flat = error("rk4", 12)
    _, plain = error("rk4", 12, ladder="none")
    assert float(jnp.std(flat.log_weights)) <= 1e-6 * float(jnp.std(plain.log_weights))
    assert float(flat.info.R) <= 1e-6 * float(plain.info.R)


@pytest.mark.slow
@pytest.mark.x64
def test_noise_and_seed_do_not_move_the_answer():
    """log Ẑ of the noisy flow is as good as that of the deterministic one, whatever the seed."""
    answers = [error("heun", 96, noise=nu, seed=seed)[0] for nu in (0.7, 2.0) for seed in (1, 2)]
    assert np.max(np.abs(answers)) <= 0.02


@pytest.mark.slow
@pytest.mark.x64
def test_right_reference_needs_no_control():
    path = fk.paths.variance_exploding()
    law = fk.targets.gaussian([3.0], 0.09)
    target = fkc.anneal(law.predictor(path), 2.0).with_reference([3.0], 0.09)
    out = fk.run_smc(jax.random.key(0), target.feynman_kac("heun", control=False), fk.grid(40, path), 32, safety=False)
    assert float(jnp.std(out.log_weights)) < 1e-8
    # One example of the constant: (d/2)[(1 − β) log 2πV − log β] at the last time.
    variance = 0.09 + float(path.sigma(path.t_max)) ** 2
    exact = 0.5 * (-np.log(2 * np.pi * variance) - np.log(2.0))
    assert abs(float(out.log_normalizer) - exact) < 1e-8


@pytest.mark.slow
@pytest.mark.x64
def test_fitted_reference_finds_the_data():
    path = fk.paths.variance_preserving()
    mixture = fk.targets.gaussian_mixture([[2.0, 1.0], [3.0, -1.0]], [0.3, 0.2], [0.5, 0.5])
    fitted = fkc.anneal(mixture.predictor(path), 1.5).fitted_reference(jax.random.key(0), 256).reference
    assert np.allclose(fitted.mean, mixture.mean, atol=0.05)
    assert np.allclose(fitted.variance, jnp.trace(mixture.covariance) / 2, rtol=0.1)


def test_cost_is_counted():
    path = fk.paths.linear()
    a, b = (fk.targets.gaussian([m] * 6, 1.0).predictor(path) for m in (0.0, 0.5))
    grid = fk.grid(3, path)
    out = fk.run_smc(jax.random.key(0), fkc.product([a, b]).feynman_kac("heun"), grid, 64, safety=False)
    # Two stages of two models on three steps, one probe each; two densities at the start.
    assert int(out.info.evaluations) == 2 * 2 * 3 + 2
    assert int(out.info.jvps) == 2 * 2 * 3


def test_new_values_compile_nothing():
    path, traces = fk.paths.linear(), []

    def velocity(params, x, t, cond):
        traces.append(1)
        return params * x

    def reward(x):
        return -jnp.sum(x**2)

    form = fk.Parameterization(path, kind="velocity")

    def run(seed, beta, strength, weight):
        pred = form.predictor(velocity, jnp.asarray(weight), (3,))
        target = fkc.tilt(fkc.anneal(pred, beta), reward, strength=strength)
        return fk.run_smc(jax.random.key(seed), target.feynman_kac(), fk.grid(2, path), 32, safety=False)

    run(0, 1.5, 0.5, 0.1)
    before = len(traces)
    run(1, 1.2, 0.9, 0.2)
    assert len(traces) == before


def test_heuristic_of_guidance_is_guidance():
    path = fk.paths.cosine()
    a, b = (fk.targets.gaussian_mixture([[m, 0.0]], [0.5]).predictor(path) for m in (0.0, 1.0))
    x, t = jnp.array([0.3, -0.8]), 0.4
    heuristic = fkc.guidance(a, b, 2.5).heuristic()(x, t)
    plain = fk.guide(a, b, 2.5)(x, t)
    for name in ("clean", "noise", "velocity", "score"):
        assert np.allclose(getattr(heuristic, name), getattr(plain, name), atol=1e-4), name


def test_equal_models_are_called_once():
    pred = fk.targets.gaussian([0.0], 1.0).predictor(fk.paths.linear())
    target = fkc.product([pred, fkc.anneal(pred, 2.0)], [0.5, 0.25])
    assert len(target.factors) == 1
    assert float(target.betas[0]) == 1.0
