"""All kinds of output say the same thing: in value, in gradient, and at both ends of every path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fkdiff import (
    FkdiffError,
    correctors,
    diagnostics,
    grid,
    guide,
    integrate,
    inverse,
    inverse_problems,
    paths,
    solvers,
    steer,
    targets,
)
from fkdiff.prediction import KINDS, Parameterization

PATHS = {
    "vp": paths.variance_preserving,
    "cosine": paths.cosine,
    "ve": paths.variance_exploding,
    "linear": paths.linear,
    "table": lambda: paths.from_alphas_cumprod(np.cumprod(1 - np.linspace(5e-4, 0.1, 200))),
}


def output(kind, path, clean, noise, t):
    """What a network of each kind is trained on, from the definition of each."""
    alpha, sigma = path.alpha(t), path.sigma(t)
    if kind == "velocity":  # the time derivative of the noised example itself
        return jax.jvp(lambda t: path.noised(clean, noise, t), (t,), (jnp.ones_like(t),))[1]
    if kind == "edm":  # (clean − c_skip x/α)/c_out, for data of unit variance and noise of deviation σ/α
        level = sigma / alpha
        skip, out = 1 / (level**2 + 1), level / jnp.sqrt(level**2 + 1)
        return (clean - skip * (clean + level * noise)) / out
    return {"clean": clean, "noise": noise, "score": -noise / sigma, "v": alpha * noise - sigma * clean}[
        kind if kind != "energy" else "noise"
    ]


def posterior_noise(x, t, path):
    """Noise of a two-point data law {-1.2, 0.9}^2 with weights 0.3, 0.7, by Bayes' rule."""
    alpha, sigma = path.alpha(t), path.sigma(t)
    points = jnp.array([[-1.2, 0.5], [0.9, -0.4]])
    log_weight = jnp.log(jnp.array([0.3, 0.7])) - ((x[None, :] - alpha * points) ** 2).sum(1) / (2 * sigma**2)
    clean = jax.nn.softmax(log_weight) @ points
    return clean, (x - alpha * clean) / sigma


@pytest.mark.x64
@pytest.mark.parametrize("name", PATHS)
def test_the_four_views_come_back_from_every_kind(name):
    path = PATHS[name]()
    clean, noise = jnp.array([1.3, -0.7]), jnp.array([0.4, 1.9])

    def gaps(kind, t):
        form = Parameterization(path, kind)
        x = path.noised(clean, noise, t)
        out = form.target(clean, noise, t)
        got = form.prediction(out, x, t)
        alpha, sigma, alpha_dot, sigma_dot = path.rates(t)
        expected = (clean, noise, alpha_dot * clean + sigma_dot * noise, -noise / sigma)
        # Digits that no solve can keep: the clean part of x is α/σ of it at the noise end, and vice versa.
        size = (1 + sigma / alpha, 1 + alpha / sigma, 1 + jnp.abs(expected[2]).max(), 1 + alpha / sigma**2)
        views = [jnp.abs(a - b).max() / s for a, b, s in zip(got, expected, size, strict=True)]
        return jnp.stack([*views, jnp.abs(out - output(kind, path, clean, noise, t)).max() / size[3]])

    times = jnp.linspace(path.t_min, path.t_max, 5)
    every = jax.jit(jax.vmap(lambda t: jnp.stack([gaps(kind, t) for kind in KINDS])))
    assert every(times).max() <= 1e-10


@pytest.mark.x64
@pytest.mark.parametrize("name", PATHS)
def test_kinds_agree_in_their_gradients(name):
    """Derivatives of all four views along one direction of (x, t), network of each kind against the clean kind."""
    path = PATHS[name]()

    def jacobians(kind):
        def apply(params, x, t, cond):
            return output(kind, path, *posterior_noise(x, t, path), t)

        pred = Parameterization(path, kind).predictor(apply, None, (2,))
        direction = jnp.array([0.7, -1.3]), jnp.asarray(0.4)
        return lambda x, t: jnp.concatenate(jax.jvp(lambda x, t: tuple(pred(x, t)), (x, t), direction)[1])

    def spread(t):
        x = path.alpha(t) * jnp.array([0.3, -0.1]) + path.sigma(t) * jnp.array([0.8, -0.5])
        every = jnp.stack([jacobians(kind)(x, t) for kind in KINDS if kind != "energy"])
        return jnp.max(jnp.ptp(every, axis=0) / (1 + jnp.abs(every[0])))

    worst = jax.jit(jax.vmap(spread))(jnp.linspace(path.t_min, path.t_max, 3))
    assert worst.max() <= 1e-7


@pytest.mark.parametrize("name", PATHS)
def test_every_view_and_gradient_is_finite_at_both_ends_in_float32(name):
    path = PATHS[name]()

    def views(x, t):
        return [Parameterization(path, kind).prediction(jnp.tanh(x), x, t) for kind in KINDS]

    x, t = jnp.broadcast_to(jnp.array([0.3, -1.0]), (2, 2)), jnp.stack([path.t_min, path.t_max])
    over_ends = jax.vmap(lambda x, t: jax.jvp(views, (x, t), (jnp.ones_like(x), jnp.ones_like(t))))
    for leaf in jax.tree.leaves(jax.jit(over_ends)(x, t)):
        assert np.all(np.isfinite(leaf))


@pytest.mark.x64
def test_v_of_the_cosine_path_is_minus_two_over_pi_velocity():
    path = paths.cosine()
    clean, noise = jnp.array([1.3]), jnp.array([-0.4])
    v = Parameterization(path, "v").target(clean, noise, 0.37)
    velocity = Parameterization(path, "velocity").target(clean, noise, 0.37)
    assert jnp.abs(v + 2 / np.pi * velocity).max() <= 1e-14


def test_a_misspelt_kind_is_answered_with_the_nearest():
    with pytest.raises(FkdiffError, match=r'kind="velocty" is not one of .*; did you mean "velocity"'):
        Parameterization(paths.linear(), kind="velocty")


# Energies --------------------------------------------------------------------------------------------------


def mixture_energy(mixture, path):
    """U = −log q_t of a mixture, and its exact model."""
    exact = mixture.predictor(path)
    return (lambda params, x, t, cond: params - exact.log_prob(x, t)), exact


@pytest.mark.x64
@pytest.mark.parametrize("name", PATHS)
def test_an_energy_is_read_as_the_model_whose_density_it_is(name):
    path = PATHS[name]()
    mixture = targets.gaussian_mixture([[-1.0, 0.3], [0.8, -0.5]], [0.3, 0.6], [0.4, 0.6])
    apply, exact = mixture_energy(mixture, path)
    pred = Parameterization(path, "energy").predictor(apply, jnp.array(3.0), (2,))
    x = jnp.array([0.4, -0.2])
    for t in (0.3, 0.7):
        for mine, theirs in zip(pred(x, t), exact(x, t), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-11)
        assert abs(float(pred.log_prob(x, t) - exact.log_prob(x, t)) + 3.0) <= 1e-12


def test_an_energy_is_one_number():
    pred = Parameterization(paths.cosine(), "energy").predictor(lambda p, x, t, c: x, None, (2,))
    with pytest.raises(FkdiffError, match="needs ONE number"):
        pred(jnp.ones(2), 0.5)


# Coupled pairs ---------------------------------------------------------------------------------------------


def coupled_model():
    """N(1, ½²) by monotone pairs on the linear path: clean = 1 + ½ noise, so x_t = t + (1 − ½t) noise."""
    form = Parameterization(paths.linear(), "velocity", coupled=True)

    def apply(params, x, t, cond):
        noise = (x - t) / (1 - 0.5 * t)
        return 1 - 0.5 * noise

    return form.predictor(apply, None, (1,))


def test_a_coupled_model_moves_noise_to_data_in_one_step_and_has_no_score():
    pred = coupled_model()
    times = jnp.array([pred.path.t_min, pred.path.t_max])
    starts = jnp.array([[-1.0], [0.2], [2.0]])
    for solver in (solvers.euler(), solvers.heun(), solvers.ddim()):
        ends = integrate(jax.random.key(0), pred, solver, times, initial=starts)
        np.testing.assert_allclose(np.asarray(ends), 1 + 0.5 * np.asarray(starts), atol=0.05)
    assert bool(jnp.isnan(pred(jnp.ones(1), 0.5).score).all())


def test_whoever_needs_a_score_refuses_a_coupled_model():
    pred = coupled_model()
    key, times = jax.random.key(0), grid(4, pred.path)
    asking = {
        "integrate": lambda: integrate(key, pred, solvers.ddim(eta=1.0), times),
        "steer": lambda: steer(pred, solvers.ddim(eta=1.0), lambda x: x[0]),
        "anneal": lambda: correctors.anneal(pred, 2.0),
        "guided": lambda: correctors.tilt(guide(pred, pred, 2.0), lambda x: x[0]),
        "inverse": lambda: inverse(
            pred, solvers.ddim(eta=1.0), inverse_problems.matrix([[1.0]], (1,)), jnp.ones(1), 1.0
        ),
        "fokker_planck": lambda: diagnostics.fokker_planck(pred, jnp.ones((2, 1)), 0.5),
    }
    for ask in asking.values():
        with pytest.raises(FkdiffError, match="coupled pairs"):
            ask()
    noisy = jax.jit(lambda nu: integrate(key, pred, solvers.euler(noise=nu), times, num_samples=2))
    assert bool(jnp.isnan(noisy(0.5)).all())
    assert bool(jnp.isfinite(noisy(0.0)).all())
