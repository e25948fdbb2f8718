"""Every path against formulas written out by hand, in NumPy, and against the continuity equation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff.paths as paths
from fkdiff.errors import FkdiffError
from fkdiff.targets import gaussian_mixture


def ddpm_table(size=200):
    return np.cumprod(1 - np.linspace(5e-4, 0.1, size))


PATHS = {
    "vp": paths.variance_preserving,
    "cosine": paths.cosine,
    "ve": paths.variance_exploding,
    "linear": paths.linear,
    "table_vp": lambda: paths.from_alphas_cumprod(ddpm_table()),
    "table_ve": lambda: paths.from_sigmas(np.geomspace(0.02, 60.0, 40)),
}


def by_hand(name, t):
    """α, σ, α̇, σ̇, κ from the textbook formulas."""
    if name == "vp":
        tau = 1 - t
        b, integral = 0.1 + 19.9 * tau, 0.1 * tau + 19.9 * tau**2 / 2
        alpha, sigma = np.exp(-integral / 2), np.sqrt(-np.expm1(-integral))
        return alpha, sigma, b / 2 * alpha, -b / 2 * np.exp(-integral) / sigma, b / 2
    if name == "cosine":
        alpha, sigma = np.sin(np.pi * t / 2), np.cos(np.pi * t / 2)
        return alpha, sigma, np.pi / 2 * sigma, -np.pi / 2 * alpha, np.pi / 2 * sigma / alpha
    if name == "ve":
        rate = np.log(100.0 / 0.01)
        sigma = 100.0 * np.exp(-rate * t)
        return np.ones_like(t), sigma, np.zeros_like(t), -rate * sigma, rate * sigma**2
    return t, 1 - t, np.ones_like(t), -np.ones_like(t), (1 - t) / t


def times_of(path, count=9):
    return jnp.linspace(path.t_min, path.t_max, count)


def facts(path, times):
    """α, σ, α̇, σ̇, κ, c at each time, shape (6, count)."""
    of = lambda t: jnp.stack([*path.rates(t), path.kappa(t), path.contraction(t)])  # noqa: E731
    return np.asarray(jax.jit(jax.vmap(of, out_axes=1))(times))


@pytest.mark.x64
@pytest.mark.parametrize("name", ["vp", "cosine", "ve", "linear"])
def test_rates_equal_the_formulas_of_the_papers(name):
    path = PATHS[name]()
    times = times_of(path)
    measured, expected = facts(path, times)[:5], np.array(by_hand(name, np.asarray(times)))
    assert (np.abs(measured - expected) / (1 + np.abs(expected))).max() <= 1e-11


@pytest.mark.x64
@pytest.mark.parametrize("name", PATHS)
def test_kappa_is_sigma_times_relative_rate(name):
    """κ = σ(cσ − σ̇) ≥ 0 and c = α̇/α."""
    path = PATHS[name]()
    alpha, sigma, alpha_dot, sigma_dot, kappa, contraction = facts(path, times_of(path))
    by_rates = sigma * (alpha_dot / alpha * sigma - sigma_dot)
    assert np.all(np.abs(kappa - by_rates) <= 1e-10 * np.abs(by_rates))
    assert np.all(np.abs(contraction - alpha_dot / alpha) <= 1e-10 * (1 + np.abs(contraction)))
    assert np.all(kappa >= 0)


@pytest.mark.x64
@pytest.mark.parametrize("name", PATHS)
def test_continuity_equation_and_velocity_of_an_exact_mixture(name):
    """∂_t log q + ∇·v + v·s = 0, with the density, not the score, differentiated in t; v = c x + κ s."""
    path = PATHS[name]()
    mixture = gaussian_mixture([[-2.0, 0.4], [1.5, -1.0]], [[0.25, 0.5], [0.64, 1.2]], [0.3, 0.7])
    pred = mixture.predictor(path)

    def residuals(x, t):
        x = x * (path.sigma(t) + path.alpha(t))
        value = pred(x, t)
        log_rate = jax.grad(pred.log_prob, argnums=1)(x, t)
        divergence = jnp.trace(jax.jacfwd(lambda x: pred(x, t).velocity)(x))
        balance = log_rate + divergence + value.velocity @ value.score
        velocity = path.contraction(t) * x + path.kappa(t) * value.score
        score = jax.grad(pred.log_prob)(x, t)
        size = 1 + jnp.abs(value.velocity).max()
        gaps = jnp.abs(value.velocity - velocity).max() / size, jnp.abs(value.score - score).max()
        return jnp.abs(balance), *gaps

    points = jnp.array([[-1.7, 0.3], [0.2, -0.9], [1.3, 0.6]])
    over = jax.vmap(jax.vmap(residuals, (0, None)), (None, 0))
    balance, velocity, score = jax.jit(over)(points, times_of(path, 7))
    assert balance.max() <= 1e-10
    assert velocity.max() <= 1e-10
    assert score.max() <= 1e-9


@pytest.mark.x64
@pytest.mark.parametrize("name", PATHS)
def test_time_inverts_log_snr_in_value_and_gradient(name):
    path = PATHS[name]()

    def gaps(t):
        log_snr, slope = jax.value_and_grad(path.log_snr)(t)
        back, inverse_slope = jax.value_and_grad(path.time)(log_snr)
        return jnp.abs(back - t), jnp.abs(slope * inverse_slope - 1)

    value, gradient = jax.jit(jax.vmap(gaps))(times_of(path)[1:-1])
    assert value.max() <= 1e-10
    assert gradient.max() <= 1e-8


@pytest.mark.x64
@pytest.mark.parametrize("name", ["vp", "cosine", "ve", "linear"])
def test_ends_lie_at_the_stated_log_snr(name):
    path = PATHS[name](log_snr=(-4.0, 6.0))
    assert abs(path.log_snr(path.t_min) + 4.0) <= 1e-10
    assert abs(path.log_snr(path.t_max) - 6.0) <= 1e-10


@pytest.mark.x64
def test_schedules_clip_the_log_snr_to_what_they_reach():
    vp = paths.variance_preserving(0.1, 2.0, log_snr=(-9.0, 9.0))
    assert abs(vp.t_min) <= 1e-12
    ve = paths.variance_exploding(0.5, 3.0)
    assert abs(ve.t_min) <= 1e-12
    assert abs(ve.t_max - 1) <= 1e-12


@pytest.mark.parametrize("name", PATHS)
def test_every_function_of_time_and_its_gradient_are_finite_at_both_ends(name):
    """In float32, where a log of zero would show first."""
    path = PATHS[name]()
    functions = (path.alpha, path.sigma, path.log_snr, path.contraction, path.kappa)
    of = lambda t: jnp.stack([jnp.stack(jax.value_and_grad(function)(t)) for function in functions])  # noqa: E731
    values = np.asarray(jax.jit(jax.vmap(of))(jnp.stack([path.t_min, path.t_max])))
    assert np.all(np.isfinite(values))
    assert np.all(values[:, :2, 0] > 0)


@pytest.mark.parametrize("name", PATHS)
def test_float32_agrees_with_double_precision(name):
    path = PATHS[name]()
    times = times_of(path)
    low = facts(path, times)
    with jax.enable_x64(True):
        high = facts(PATHS[name](), jnp.asarray(np.asarray(times, np.float64)))
    assert (np.abs(low - high) / (1e-3 + np.abs(high))).max() <= 2e-3


@pytest.mark.x64
def test_noised_is_the_definition():
    path = paths.cosine()
    clean, noise = np.array([1.3, -0.2]), np.array([0.4, 2.0])
    expected = np.sin(np.pi * 0.3 / 2) * clean + np.cos(np.pi * 0.3 / 2) * noise
    assert np.abs(path.noised(jnp.asarray(clean), jnp.asarray(noise), 0.3) - expected).max() <= 1e-15


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: paths.variance_preserving(20.0, 0.1), "beta_min"),
        (lambda: paths.variance_preserving(0.0, 20.0), "beta_min"),
        (lambda: paths.variance_exploding(1.0, 1.0), "sigma_min"),
        (lambda: paths.variance_exploding(-1.0, 1.0), "sigma_min"),
        (lambda: paths.linear((9.0, -9.0)), "log_snr"),
        (lambda: paths.cosine((0.0, 0.0)), "log_snr"),
        (lambda: paths.variance_exploding(2.0, 3.0, log_snr=(-1.0, 9.0)), "log_snr"),
        (lambda: paths.linear((float("nan"), 9.0)), "log_snr"),
        (lambda: paths.linear((-9.0, 60.0)), "cannot tell"),
        (lambda: paths.cosine((-9.0, 60.0)), "cannot tell"),
        (lambda: paths.variance_preserving(log_snr=(-9.0, 60.0)), "cannot tell"),
    ],
)
def test_impossible_schedules_are_refused_in_one_sentence(build, words):
    with pytest.raises(FkdiffError, match=words):
        build()
