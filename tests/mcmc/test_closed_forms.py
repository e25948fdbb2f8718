"""Stationary laws of unadjusted kernels against closed forms: no draws, double precision."""

import jax.numpy as jnp
import numpy as np
import pytest

from fkdiff import mcmc
from fkdiff.mcmc._state_dependent import StateDependent
from tests.mcmc.mcmc_laws import KEY, affine, injected, stationary_covariance, stationary_variance_on_a_grid

pytestmark = pytest.mark.x64


def gaussian(precision):
    return lambda x: -0.5 * precision * jnp.sum(x**2)


@pytest.mark.parametrize("h, precision", [(0.1, 4.0)])
def test_ula_on_a_gaussian(h, precision):
    (variance,), *_ = stationary_covariance(mcmc.ula(gaussian(precision), h), 1, 1)
    error = abs(variance - 1 / (precision * (1 - h * precision / 2)))
    assert error <= 1e-12
    wrong = abs(variance / 2 - 1 / (precision * (1 - h * precision / 2)))  # √h for √(2h)
    assert wrong > 0.05


def test_randomized_midpoint_on_a_gaussian():
    h = 0.7
    nodes, weights = np.polynomial.legendre.leggauss(2)  # exact: A² is a polynomial of degree 2 in u
    squares = noises = 0.0
    for node, weight in zip(nodes, weights, strict=True):
        a, b = affine(mcmc.randomized_midpoint(gaussian(1.0), h), 1, 2, u=(node + 1) / 2)
        squares, noises = squares + weight / 2 * a[0, 0] ** 2, noises + weight / 2 * (b @ b.T)[0, 0]
    expected = (2 * h - 2 * h**2 + h**3) / (2 * h - 2 * h**2 + h**3 - h**4 / 3)
    assert abs(noises / (1 - squares) - expected) <= 1e-12


@pytest.mark.parametrize("inverse_mass", [None, [0.25]])
def test_underdamped_positions_on_a_gaussian(inverse_mass):
    precision, step, friction = 3.0, 0.6, 0.7
    frequency2 = precision * (1.0 if inverse_mass is None else 0.25)
    exact = mcmc.underdamped(gaussian(precision), step, friction, "baoab", inverse_mass)
    covariance = stationary_covariance(exact, 2, 1)
    assert abs(covariance[0, 0] - 1 / precision) <= 1e-12
    biased = mcmc.underdamped(gaussian(precision), step, friction, "obabo", inverse_mass)
    covariance = stationary_covariance(biased, 2, 2)
    assert abs(covariance[0, 0] - 1 / (precision * (1 - frequency2 * step**2 / 4))) <= 1e-12
    assert abs(covariance[1, 1] - 1) <= 1e-12  # velocities of OBABO are exact, those of BAOAB are not


@pytest.mark.parametrize("smoothing, expected", [(0.1, 2.0032), pytest.param(0.5, 2.0701, marks=pytest.mark.slow)])
def test_myula_on_a_laplace_law(smoothing, expected):
    x = np.linspace(-40, 40, 400_001)
    envelope = np.where(np.abs(x) <= smoothing, x**2 / (2 * smoothing), np.abs(x) - smoothing / 2)
    smoothed = np.exp(-envelope)
    truth = float((smoothed * x**2).sum() / smoothed.sum())
    assert abs(truth - expected) <= 5e-5

    def variance(h):
        kernel = mcmc.myula(lambda at: 0.0 * jnp.sum(at), mcmc.soft_threshold, h, smoothing)
        return stationary_variance_on_a_grid(kernel, 25.0, 1201)

    extrapolated = 2 * variance(0.01) - variance(0.02)
    assert abs(extrapolated - truth) <= 1e-3
    assert abs(2.0 - truth) > 2.5e-3  # the law without smoothing, which it must not be


def multiplicative(h):
    return mcmc.state_dependent(lambda x: -0.5 * jnp.sum(x**2), lambda x: 1 + 0.5 * jnp.sum(x**2), h)


def extrapolated_variance():
    """Of the second order, so 1 + O(h²)."""
    first, second = (stationary_variance_on_a_grid(multiplicative(h), 8.0, 801) for h in (0.02, 0.01))
    return 2 * second - first


def test_state_dependent_diffusion_has_the_right_law():
    assert abs(extrapolated_variance() - 1) <= 2e-3


def test_state_dependent_diffusion_needs_its_divergence(monkeypatch):
    whole = StateDependent._diffusion
    monkeypatch.setattr(StateDependent, "_diffusion", lambda self, x: (whole(self, x)[0], jnp.zeros_like(x)))
    without = extrapolated_variance()
    assert abs(without - 0.639) <= 2e-3


def test_diagonal_and_scalar_diffusions_drift_as_written():
    x = np.array([0.7, -1.3])
    precision = np.array([[1.5, 0.4], [0.4, 0.8]])
    grad = -precision @ x
    h = 0.1

    def target(y):
        return -0.5 * y @ jnp.asarray(precision) @ y

    diagonal = mcmc.state_dependent(target, lambda y: 1 + y**2 + 0.1 * y[0] * y[1], h)
    d = 1 + x**2 + 0.1 * x[0] * x[1]
    divergence = 2 * x + 0.1 * x[::-1]
    expected = x + h * (d * grad + divergence) + np.sqrt(2 * h * d) * np.array([0.3, -0.2])
    assert np.abs(one_step(diagonal, x, [0.3, -0.2]) - expected).max() <= 1e-12

    scalar = mcmc.state_dependent(target, lambda y: 1 + 0.3 * jnp.sum(y**2), h)
    d = 1 + 0.3 * (x**2).sum()
    expected = x + h * (d * grad + 0.6 * x) + np.sqrt(2 * h * d) * np.array([0.3, -0.2])
    assert np.abs(one_step(scalar, x, [0.3, -0.2]) - expected).max() <= 1e-12


def one_step(kernel, x, draw):
    state = kernel.init(KEY, jnp.asarray(x))
    with injected([jnp.asarray(draw)]):
        return np.asarray(kernel.step(KEY, state)[0].position)


def test_annealed_langevin_steps_shrink_with_the_levels():
    levels, h, steps = np.array([4.0, 1.0, 0.5]), 0.02, 2
    kernel = mcmc.annealed_langevin(lambda x, sigma: -x / (1 + sigma**2), levels, h, steps)
    draws = np.linspace(-1.0, 1.0, 7)
    x, state = 3.0, kernel.init(None, jnp.asarray([3.0]))
    for number, draw in enumerate(draws):
        sigma = levels[min(number // steps, 2)]
        length = h * sigma**2 / 0.25
        x = x - length * x / (1 + sigma**2) + np.sqrt(2 * length) * draw
        with injected([jnp.asarray([draw])]):
            state, info = kernel.step(KEY, state)
        assert abs(float(state.position[0]) - x) <= 1e-12
        assert not bool(info.divergent)


def test_soft_threshold_solves_its_minimisation():
    x, grid = 0.8, np.linspace(-2, 2, 400_001)
    for level in (0.3, 1.2):
        best = grid[np.argmin(np.abs(grid) + (grid - x) ** 2 / (2 * level))]
        assert abs(float(mcmc.soft_threshold(jnp.asarray(x), level)) - best) <= 1e-5
