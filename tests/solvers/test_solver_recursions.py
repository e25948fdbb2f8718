"""Every step of every solver equals its row in `recursions`, and other laws that are known without sampling."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff.paths as paths
from fkdiff import solvers
from fkdiff.solvers import State
from fkdiff.solvers.dpmpp import Previous
from fkdiff.targets import gaussian
from tests.solvers.recursions import MEAN, ROWS, VARIANCE, clean, law, recursion_error
from tests.solvers.solver_walks import orders, vp, walk


@pytest.mark.x64
@pytest.mark.parametrize("name", ROWS)
def test_every_step_and_the_law_it_reaches_equal_the_recursion(name):
    make, expected = ROWS[name]
    assert recursion_error(make(), expected) <= 1e-10


@pytest.mark.x64
@pytest.mark.parametrize("name", ROWS)
def test_weak_order_is_one(name):
    """Errors of the discretised mean and variance against the exact law at t_max; no sampling."""
    expected = ROWS[name][1]
    path = paths.variance_preserving()
    alpha, sigma, _, _ = vp(float(path.t_max))
    exact = alpha * MEAN, alpha**2 * VARIANCE + sigma**2
    errors = [np.abs(np.subtract(law(expected, np.asarray(paths.grid(n, path))), exact)) for n in (256, 512, 1024)]
    measured = orders([error.sum() for error in errors])
    print(name, "weak orders", measured)
    assert np.all(measured >= 0.8)
    assert np.all(measured <= 1.2)


@pytest.mark.x64
@pytest.mark.parametrize("name", ["variance_preserving", "linear", "variance_exploding"])
@pytest.mark.parametrize("nu", [0.0, 0.5, 2.0])
def test_exponential_is_exact_in_law_for_its_reference(name, nu):
    """Data N(m, ς² I): even one step over the whole path ends in the exact law."""
    path = getattr(paths, name)()
    mean, variance = jnp.array([0.8, -0.3]), 0.36
    pred = gaussian(mean, variance).predictor(path)
    solver = solvers.exponential(nu, (mean, variance))

    def one(x):
        return solver.step(pred, solver.init(pred, x, path.t_min), path.t_min, path.t_max)[0]

    @jax.jit
    def gaps():
        offset, slope = one(jnp.zeros(2)), jax.jacfwd(lambda x: one(x).mean)(jnp.zeros(2))
        start, end = (path.alpha(t) ** 2 * variance + path.sigma(t) ** 2 for t in (path.t_min, path.t_max))
        reached_mean = offset.mean + slope @ (path.alpha(path.t_min) * mean)
        reached = slope @ slope.T * start + offset.scale**2 * jnp.eye(2)
        return reached_mean - path.alpha(path.t_max) * mean, reached / end - jnp.eye(2)

    for gap in gaps():
        assert jnp.abs(gap).max() <= 1e-12


@pytest.mark.x64
def test_dpmpp_step_is_its_published_formula():
    """Lu et al. (2022), algorithm 2: D = (1 + 1/(2r)) clean − 1/(2r) previous, r = h_previous/h."""
    path = paths.variance_preserving()
    pred = gaussian([MEAN], VARIANCE).predictor(path)
    t0, t1 = 0.5, 0.62
    (a0, s0), (a1, s1) = vp(t0)[:2], vp(t1)[:2]
    h, h_previous, previous, x = np.log(a1 / s1) - np.log(a0 / s0), 0.3, 0.9, 0.4
    r = h_previous / h
    d = (1 + 1 / (2 * r)) * clean(x, t0) - previous / (2 * r)
    state = State(jnp.array([x]), pred(jnp.array([x]), t0), Previous(jnp.array([previous]), jnp.asarray(h_previous)))
    step = eqx.filter_jit(lambda solver, state: solver.step(pred, state, t0, t1))
    transition, moved = step(solvers.dpmpp_2m(), state)
    assert abs(transition.mean[0] - (s1 / s0 * x - a1 * np.expm1(-h) * d)) <= 1e-12
    assert abs(moved.memory.clean[0] - clean(x, t0)) <= 1e-12
    assert abs(moved.memory.gap - h) <= 1e-12
    fresh = state._replace(memory=solvers.dpmpp_2m().memory(state.x))
    first, plain = step(solvers.dpmpp_2m(), fresh)[0], step(solvers.ddim(), fresh)[0]
    assert abs(first.mean[0] - plain.mean[0]) <= 1e-12


class OnePoint:
    """All clean examples equal m: x_t = α m + σ noise, so trajectories are known."""

    point = np.array([0.7, -1.1])

    @staticmethod
    def predictor(path):
        from fkdiff.prediction import Parameterization

        def apply(params, x, t, cond):
            return jnp.asarray(OnePoint.point)

        return Parameterization(path, "clean").predictor(apply, None, (2,))


@pytest.mark.x64
@pytest.mark.parametrize(
    ("make", "names"),
    [
        (solvers.euler, ["linear"]),
        (solvers.heun, ["linear"]),
        (solvers.ddim, ["linear", "variance_preserving", "variance_exploding", "cosine"]),
        (solvers.dpmpp_2m, ["linear", "variance_preserving", "variance_exploding", "cosine"]),
    ],
)
@pytest.mark.parametrize("num_steps", [1, 3])
def test_one_clean_example_is_reached_exactly(make, names, num_steps):
    for name in names:
        path = getattr(paths, name)()
        noise = jnp.array([[0.4, 1.9], [-1.0, 0.2]])
        start = path.noised(jnp.asarray(OnePoint.point)[None], noise, path.t_min)
        end = walk(OnePoint.predictor(path), make(), paths.grid(num_steps, path), start)
        expected = path.noised(jnp.asarray(OnePoint.point)[None], noise, path.t_max)
        assert jnp.abs(end - expected).max() <= 1e-11


@pytest.mark.x64
def test_ddpm_on_other_paths_is_the_posterior_of_the_forward_chain():
    """x' | x, clean from p(x' | clean) p(x | x'), by completing the square; path with α ≠ √(1 − σ²)."""
    path = paths.linear()
    pred = OnePoint.predictor(path)
    t0, t1 = 0.3, 0.45
    x = jnp.array([0.2, -0.9])
    forward = t0 / t1  # x = (α0/α1) x' + noise of variance σ0² − (α0/α1)² σ1²
    forward_variance, prior_variance = (1 - t0) ** 2 - (forward * (1 - t1)) ** 2, (1 - t1) ** 2
    precision = 1 / prior_variance + forward**2 / forward_variance
    mean = (t1 * OnePoint.point / prior_variance + forward * np.asarray(x) / forward_variance) / precision
    solver = solvers.ddim(1.0)
    transition, _ = solver.step(pred, solver.init(pred, x, t0), t0, t1)
    assert jnp.abs(transition.mean - mean).max() <= 1e-12
    assert abs(transition.scale - precision**-0.5) <= 1e-12


@pytest.mark.x64
@pytest.mark.parametrize("name", ["variance_preserving", "cosine", "variance_exploding", "linear"])
def test_noise_of_a_step_is_the_integral_of_kappa(name):
    """Simpson's rule against the closed form of ∫κ dt on each path, on a grid of 40 steps."""
    path = getattr(paths, name)()
    times = paths.grid(40, path)

    def antiderivative(t):
        if name == "variance_preserving":  # κ = ½b
            return path.log_alpha(t)
        if name == "cosine":  # κ = (π/2) cot(πt/2)
            return path.log_alpha(t)
        if name == "variance_exploding":  # κ = −σσ̇
            return -0.5 * path.sigma(t) ** 2
        return jnp.log(t) - t

    from fkdiff.solvers.base import diffusion

    exact = jnp.diff(jax.vmap(antiderivative)(times))
    measured = jax.jit(jax.vmap(lambda a, b: diffusion(path, a, b)))(times[:-1], times[1:])
    assert jnp.abs(measured / exact - 1).max() <= 2e-3


@pytest.mark.x64
def test_decay_and_its_gradient_are_smooth_through_zero():
    from fkdiff.solvers._exponential import decay

    rates = jnp.array([-1e-3, -1e-9, 0.0, 1e-12, 1e-5, 1.3e-4, 1e-3, 2.0])
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(lambda a: decay(a, jnp.asarray(0.7)))))(rates)
    safe = np.where(np.abs(rates) < 1e-6, 1.0, rates)
    expected = np.where(np.abs(rates) < 1e-6, 0.7, -np.expm1(-safe * 0.7) / safe)
    series = -(0.7**2) / 2 + 0.7**3 * np.asarray(rates) / 3
    exact = (0.7 * np.exp(-0.7 * safe) - (1 - np.exp(-0.7 * safe)) / safe) / safe
    assert np.abs(value - expected).max() <= 1e-6 * 0.7
    assert np.abs(slope - np.where(np.abs(rates) < 1e-2, series, exact)).max() <= 1e-6
