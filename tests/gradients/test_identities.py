"""Fisher's and the covariance identity against closed forms, from runs, independent runs, chains and paths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import FkdiffError, gradients, mcmc, smc

# x ~ N(0, 1), y | x ~ N(θ x, S²): every derivative in θ is a fraction.
Y, S = 1.3, 0.5
THETA = {"slope": jnp.array(0.8), "log_noise": jnp.array(np.log(S))}


def evidence(slope, log_noise):
    variance = slope**2 + np.exp(2 * log_noise)
    return -0.5 * (np.log(2 * np.pi * variance) + Y**2 / variance)


def posterior_mean(slope, log_noise):
    return slope * Y / (slope**2 + np.exp(2 * log_noise))


def second_moment(slope, log_noise):
    noise = np.exp(2 * log_noise)
    return posterior_mean(slope, log_noise) ** 2 + noise / (slope**2 + noise)


def exact(function):
    """Both partial derivatives, by central differences in NumPy."""
    at = np.array([0.8, np.log(S)])
    return [(function(*(at + e)) - function(*(at - e))) / 2e-5 for e in 1e-5 * np.eye(2)]


def log_prior(x):
    return -0.5 * (x**2 + jnp.log(2 * jnp.pi))


def log_likelihood(x, theta):
    noise = jnp.exp(theta["log_noise"])
    return -0.5 * ((Y - theta["slope"] * x) / noise) ** 2 - jnp.log(noise) - 0.5 * jnp.log(2 * jnp.pi)


def log_density(x, theta):
    return log_prior(x) + log_likelihood(x, theta)


def tempered():
    move = lambda f: mcmc.random_walk(f, 0.8)  # noqa: E731
    return smc.tempering(log_prior, lambda x: log_likelihood(x, THETA), jax.random.normal, move, num_moves=2)


GRID = jnp.linspace(0.0, 1.0, 9)


def a_run():
    return smc.run_smc(jax.random.key(0), tempered(), GRID, 4000)


def many_runs():
    return smc.replicate(jax.random.key(1), 8, tempered(), GRID, 1000)


def chains():
    kernel = mcmc.mala(lambda x: log_density(x, THETA), 0.3)
    start = jax.random.normal(jax.random.key(2), (16,))
    run = fk.run_chain(
        jax.random.key(3), kernel, start, 1500, collect=lambda state, info: state.position, num_chains=16
    )
    return run.collected[100:]


SOURCES = {"run": a_run, "replicates": many_runs, "chains": chains}


def check(estimates, truth, widest):
    """Within 5 standard errors of the truth, with errors that say something."""
    for name, exact_value in zip(("slope", "log_noise"), truth, strict=True):
        estimate = estimates[name]
        error = float(estimate.standard_error)
        assert abs(float(estimate.value) - exact_value) <= 5 * error, (name, estimate, exact_value)
        assert 0 < error < widest


@pytest.mark.parametrize("name", SOURCES)
def test_the_derivatives_of_evidence_and_mean(name):
    draws = SOURCES[name]()
    check(gradients.log_normalizer(draws, log_density, THETA), exact(evidence), 0.1)
    mean = gradients.expectation(draws, lambda x, theta: x, log_density, THETA)
    check(mean, exact(posterior_mean), 0.08)


def test_what_a_sampler_drops_is_the_covariance():
    """The planted bug: E[∂f] alone."""
    draws = a_run()
    estimate = gradients.expectation(draws, lambda x, theta: x, lambda x, theta: log_prior(x), THETA)
    assert float(estimate["slope"].value) == 0.0


def test_functions_of_the_parameters_and_of_any_shape():
    draws = a_run()

    def f(x, theta):
        return jnp.stack([theta["slope"] * x, x**2])

    found = gradients.expectation(draws, f, log_density, THETA)
    assert found["slope"].value.shape == (2,)
    scaled = exact(lambda s, n: s * posterior_mean(s, n))
    squared = exact(second_moment)
    for i, name in enumerate(("slope", "log_noise")):
        truth = np.array([scaled[i], squared[i]])
        assert np.all(np.abs(found[name].value - truth) <= 5 * found[name].standard_error)


def test_a_start_with_a_mass_of_its_own_is_subtracted():
    def log_start(theta):
        return 3.0 * theta["slope"]

    plain = gradients.log_normalizer(a_run(), log_density, THETA)
    moved = gradients.log_normalizer(a_run(), log_density, THETA, log_start=log_start)
    assert np.isclose(float(plain["slope"].value - moved["slope"].value), 3.0)


@pytest.mark.slow
def test_the_power_of_a_model_is_an_average_of_log_q():
    """∂_β log Z of q^β = E log q, against a finite difference of quadrature."""
    path = fk.paths.variance_preserving()
    pred = fk.targets.gaussian_mixture([[-2.0], [1.5]], [0.25, 0.64], [0.3, 0.7]).predictor(path)
    out = fk.run_smc(
        jax.random.key(4), fk.correctors.anneal(pred, 2.0).feynman_kac(), fk.grid(32, path), 2000, safety=False
    )
    found = gradients.log_normalizer(out, lambda x, beta: beta * pred.log_prob(x, path.t_max), jnp.array(2.0))
    x = np.linspace(-8, 8, 40_001)
    log_q = np.logaddexp(
        np.log(0.3 / 0.5) - 0.5 * ((x + 2.0) / 0.5) ** 2, np.log(0.7 / 0.8) - 0.5 * ((x - 1.5) / 0.8) ** 2
    ) - 0.5 * np.log(2 * np.pi)
    mass = [np.log(np.trapezoid(np.exp(beta * log_q), x)) for beta in (2.0001, 1.9999)]
    assert abs(float(found.value) - (mass[0] - mass[1]) / 2e-4) < 0.02


A, B, NOISE = 0.9, 0.6, 0.5
DATA = np.array([0.8, -0.3, 1.4, 0.9])


def kalman(a, spread):
    """log p(y) of x_0 ~ N(0, spread²), x' = a x + Bξ, y = x + NOISE η: in NumPy."""
    mean, variance, total = 0.0, spread**2, 0.0
    for y in DATA:
        mean, variance = a * mean, a**2 * variance + B**2
        width = variance + NOISE**2
        total += -0.5 * (np.log(2 * np.pi * width) + (y - mean) ** 2 / width)
        mean, variance = mean + variance / width * (y - mean), variance * NOISE**2 / width
    return total


def build(theta):
    data = jnp.asarray(DATA, jnp.float32)

    def log_potential(before, x, t0, t1):
        y = data[jnp.round(t0).astype(jnp.int32)]
        return -0.5 * (jnp.log(2 * jnp.pi * NOISE**2) + (y - x) ** 2 / NOISE**2)

    return fk.FeynmanKac(
        lambda key: (theta[1] * jax.random.normal(key), jnp.zeros(())),
        lambda key, x, t0, t1: theta[0] * x + B * jax.random.normal(key),
        log_potential,
    )


def log_transition(before, x, t0, t1, theta):
    return -0.5 * ((x - theta[0] * before) / B) ** 2


def log_initial(x, theta):
    return -0.5 * (x / theta[1]) ** 2 - jnp.log(theta[1])


PATH_THETA, TIMES = jnp.array([A, 1.2]), jnp.arange(len(DATA) + 1.0)


def path_slopes(model, num_particles=20_000, seed=5):
    return gradients.log_normalizer(smc.run_smc(jax.random.key(seed), model, TIMES, num_particles))


def test_paths_carry_the_score_of_a_kalman_filter():
    found = path_slopes(gradients.along_paths(build, PATH_THETA, log_transition, log_initial))
    truth = [(kalman(A + a, 1.2 + s) - kalman(A - a, 1.2 - s)) / 2e-5 for a, s in 1e-5 * np.eye(2)]
    assert found.value.shape == (2,)
    assert np.all(np.abs(found.value - np.array(truth)) <= 5 * found.standard_error)
    assert float(found.standard_error.max()) < 0.1


def test_a_final_potential_and_an_extract_belong_to_the_path():
    def built(theta):
        model = build(jnp.array([A, 1.0]))
        return fk.FeynmanKac(
            model.draw, model.propose, model.log_potential, lambda x: theta * x, extract=lambda x: {"x": x}
        )

    out = smc.run_smc(jax.random.key(6), gradients.along_paths(built, jnp.array(0.3)), TIMES, 20_000)
    slope = gradients.log_normalizer(out)
    mean = fk.expectation(out, lambda line: line.particle["x"])  # ∂_θ log E e^{θx} = E_θ x
    assert np.isclose(float(slope.value), float(mean.value), rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: path_slopes(gradients.along_paths(build, PATH_THETA, None, log_initial)), "log_transition.previous"),
        (lambda: path_slopes(gradients.along_paths(build, PATH_THETA, log_transition)), "log_initial.particle, params"),
        (lambda: gradients.along_paths(build, {"n": 3}), "pytree of real numbers"),
        (lambda: gradients.along_paths(3, PATH_THETA), "not a function"),
        (lambda: gradients.along_paths(lambda p: p, PATH_THETA), "build.params. is a"),
        (lambda: gradients.log_normalizer(a_run()), "carries no score"),
        (lambda: gradients.log_normalizer(a_run(), log_density, {"n": 1}), "pytree of real numbers"),
        (lambda: gradients.log_normalizer(a_run(), lambda x, theta: jnp.stack([x, x]), THETA), "must return one"),
        (lambda: gradients.log_normalizer(jnp.zeros(5), log_density, THETA), "at least two chains"),
        (lambda: gradients.expectation(a_run(), lambda x, theta: x, None, THETA), "log_density=None is not a function"),
    ],
)
def test_what_has_no_derivative_is_refused(call, sentence):
    with pytest.raises(FkdiffError, match=sentence):
        call()
