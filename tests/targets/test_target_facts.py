"""Targets against quadrature: nothing here shares a formula with the code that it judges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr

import fkdiff.paths as paths
from fkdiff.errors import FkdiffError
from fkdiff.targets import gaussian, gaussian_mixture

MEANS, SDS, WEIGHTS = np.array([-2.0, 1.5]), np.array([0.5, 0.8]), np.array([0.3, 0.7])
POINTS = np.linspace(-12, 12, 4801)


def skewed():
    return gaussian_mixture(MEANS[:, None], SDS**2, WEIGHTS)


def oblique():
    return gaussian([0.7, -1.2], [[1.3, -0.8], [-0.8, 0.9]])


def crooked():
    return gaussian_mixture([[-2.0, 0.5], [1.5, -1.0]], [[0.25, 1.0], [0.64, 0.36]], WEIGHTS)


def law(x):
    """Density of the skewed mixture, by NumPy."""
    z = (x[..., None] - MEANS) / SDS
    return (np.exp(-0.5 * z**2) / SDS / np.sqrt(2 * np.pi)) @ WEIGHTS


def integral(values):
    return np.trapezoid(values, POINTS)


@pytest.mark.x64
def test_a_one_dimensional_mixture_is_its_formula():
    target = skewed()
    density = np.exp(jax.jit(jax.vmap(target.log_prob))(POINTS[:, None]))
    assert np.abs(density - law(POINTS)).max() <= 1e-14
    assert abs(integral(density) - 1) <= 1e-10
    assert abs(integral(density * POINTS) - target.mean[0]) <= 1e-10
    assert abs(integral(density * (POINTS - float(target.mean[0])) ** 2) - target.covariance[0, 0]) <= 1e-10
    assert np.abs(target.weights - WEIGHTS).max() <= 1e-15


@pytest.mark.x64
@pytest.mark.parametrize("make", [oblique, crooked])
def test_density_and_moments_in_two_dimensions(make):
    """A rule that is exact for what decays like a Gaussian, on a box that holds all but 1e-15."""
    target = make()
    axis = np.linspace(-9, 9, 361)
    area = (axis[1] - axis[0]) ** 2
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    density = np.exp(jax.jit(jax.vmap(lambda x: target.log_prob(x)))(points)) * area
    mean = density @ points
    covariance = (points - mean).T @ (density[:, None] * (points - mean))
    assert abs(density.sum() - 1) <= 1e-10
    assert np.abs(mean - target.mean).max() <= 1e-9
    assert np.abs(covariance - target.covariance).max() <= 1e-9


@pytest.mark.x64
@pytest.mark.parametrize("make", [skewed, oblique, crooked])
def test_the_score_is_the_gradient_of_the_density(make):
    target = make()
    points = jnp.linspace(-3, 3, 6 * target.mean.shape[0]).reshape(6, -1)
    gap = jax.jit(jax.vmap(lambda x: jnp.abs(jax.grad(lambda y: target.log_prob(y))(x) - target.score(x))))
    assert gap(points).max() <= 1e-12


@pytest.mark.x64
@pytest.mark.parametrize("name", ["variance_preserving", "linear", "variance_exploding"])
def test_a_predictor_is_the_posterior_by_quadrature(name):
    """clean, noise, score and density of the noised law, each as an integral over the data."""
    path = getattr(paths, name)()
    pred = skewed().predictor(path)
    evaluate = jax.jit(lambda x, t: (pred(x, t), pred.log_prob(x, t)))
    for log_snr in (-5.0, -0.4, 3.0):
        t = path.time(jnp.asarray(log_snr))
        alpha, sigma = float(path.alpha(t)), float(path.sigma(t))
        for z in (-1.1, 0.6):
            x = z * (alpha + sigma)
            joint = law(POINTS) * np.exp(-0.5 * ((x - alpha * POINTS) / sigma) ** 2) / sigma / np.sqrt(2 * np.pi)
            evidence = integral(joint)
            clean = integral(joint * POINTS) / evidence
            noise = (x - alpha * clean) / sigma
            got, log_density = evaluate(jnp.array([x]), t)
            assert abs(log_density - np.log(evidence)) <= 1e-9
            assert abs(got.clean[0] - clean) <= 1e-9
            assert abs(got.noise[0] - noise) <= 1e-8
            assert abs(got.score[0] + noise / sigma) <= 1e-7


@pytest.mark.x64
def test_a_correlated_gaussian_predictor_is_linear_regression():
    target, path = oblique(), paths.cosine()
    mean, covariance = np.array([0.7, -1.2]), np.array([[1.3, -0.8], [-0.8, 0.9]])
    alpha, sigma = float(path.alpha(0.35)), float(path.sigma(0.35))
    x = np.array([0.4, 1.1])
    total = alpha**2 * covariance + sigma**2 * np.eye(2)
    clean = mean + alpha * covariance @ np.linalg.solve(total, x - alpha * mean)
    got = target.predictor(path)(jnp.asarray(x), 0.35)
    assert np.abs(got.clean - clean).max() <= 1e-12
    assert np.abs(got.score + np.linalg.solve(total, x - alpha * mean)).max() <= 1e-12
    assert np.abs(target.covariance - covariance).max() <= 1e-14


def dkwm(uniforms, level=1e-8):
    """KS distance of supposedly uniform values over the bound that it exceeds with probability ≤ `level`."""
    ordered, n = np.sort(np.asarray(uniforms, np.float64)), len(uniforms)
    steps = np.arange(n + 1) / n
    distance = max(np.abs(ordered - steps[1:]).max(), np.abs(ordered - steps[:-1]).max())
    return distance / np.sqrt(np.log(2 / level) / (2 * n))


def projections(target, direction):
    """CDF of ⟨direction, x⟩ under each target, from the parameters above."""
    direction = direction / np.linalg.norm(direction)
    if target == "skewed":
        return direction, lambda y: ndtr((y[:, None] - MEANS) / SDS) @ WEIGHTS
    if target == "oblique":
        mean, covariance = np.array([0.7, -1.2]), np.array([[1.3, -0.8], [-0.8, 0.9]])
        return direction, lambda y: ndtr((y - mean @ direction) / np.sqrt(direction @ covariance @ direction))
    means, variances = np.array([[-2.0, 0.5], [1.5, -1.0]]), np.array([[0.25, 1.0], [0.64, 0.36]])
    return direction, lambda y: ndtr((y[:, None] - means @ direction) / np.sqrt(variances @ direction**2)) @ WEIGHTS


MAKE = {"skewed": skewed, "oblique": oblique, "crooked": crooked}
SIZES = [2**14, pytest.param(2**17, marks=pytest.mark.slow)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", MAKE)
def test_samplers_draw_from_their_density(name, size):
    samples = np.asarray(MAKE[name]().sample(jax.random.key(20), size), np.float64)
    directions = [[1.0]] if name == "skewed" else [[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [1.0, -3.0]]
    for direction in directions:
        unit, cdf = projections(name, np.array(direction))
        assert dkwm(cdf(samples @ unit)) <= 1


@pytest.mark.parametrize("bug", ["sd for variance", "weights flipped", "one key for both draws"])
def test_the_sampler_test_rejects(bug):
    n = 2**14
    key = jax.random.key(21)
    component = np.asarray(jax.random.bernoulli(key, 0.7, (n,))).astype(int)
    noise = np.asarray(jax.random.normal(jax.random.fold_in(key, 1), (n,)))
    sds = SDS
    if bug == "sd for variance":
        sds = SDS**2
    elif bug == "weights flipped":
        component = 1 - component
    else:
        noise = np.asarray(jax.scipy.special.ndtri(jax.random.uniform(key, (n,), minval=1e-6)))
    _, cdf = projections("skewed", np.ones(1))
    assert dkwm(cdf(MEANS[component] + sds[component] * noise)) > 1


def test_noised_draws_follow_the_noised_law():
    path = paths.linear()
    t = 0.45
    key_clean, key_noise = jax.random.split(jax.random.key(22))
    clean = skewed().sample(key_clean, 2**14)
    x = np.asarray(path.noised(clean, jax.random.normal(key_noise, clean.shape), t))[:, 0].astype(np.float64)
    noised = skewed().at(path, t)
    sds = np.sqrt(np.asarray(noised.variances, np.float64))
    assert dkwm(ndtr((x[:, None] - np.asarray(noised.means)[:, 0]) / sds) @ WEIGHTS) <= 1


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: gaussian_mixture([0.0, 1.0], [1.0, 1.0]), r"pass \(K, d\)"),
        (lambda: gaussian_mixture([[0.0], [1.0]], [1.0]), "variances has shape"),
        (lambda: gaussian_mixture([[0.0], [1.0]], [1.0, 1.0], [1.0]), "weights has shape"),
        (lambda: gaussian_mixture([[0.0], [1.0]], [1.0, 0.0]), "variances must be positive"),
        (lambda: gaussian_mixture([[0.0], [1.0]], [1.0, 1.0], [1.0, 0.0]), "weights must be positive"),
        (lambda: gaussian_mixture([[0.0]], [float("nan")]), "finite number"),
        (lambda: gaussian_mixture([[float("nan")]], [1.0]), "finite number"),
        (lambda: gaussian_mixture([[0.0]], [float("inf")]), "finite number"),
        (lambda: gaussian_mixture(jnp.zeros((0, 2)), jnp.zeros(0)), "one row per component"),
        (lambda: gaussian([float("nan")], 1.0), "finite number"),
        (lambda: gaussian(0.0, 1.0), r"pass \(d,\)"),
        (lambda: gaussian([0.0, 0.0], [1.0, 1.0, 1.0]), "covariance has shape"),
        (lambda: gaussian([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]]), "positive definite"),
        (lambda: gaussian([0.0, 0.0], [[1.0, 0.5], [-0.5, 1.0]]), "not symmetric"),
        (lambda: gaussian([0.0], -1.0), "positive definite"),
    ],
)
def test_what_is_not_a_law_is_refused(build, words):
    with pytest.raises(FkdiffError, match=words):
        build()


@pytest.mark.parametrize("covariance", [2.0, [2.0, 2.0], [[2.0, 0.0], [0.0, 2.0]]])
def test_the_three_ways_to_write_a_covariance(covariance):
    target = gaussian([0.0, 1.0], covariance)
    assert np.abs(target.covariance - 2 * np.eye(2)).max() <= 1e-6
