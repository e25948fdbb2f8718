"""Two-sided interpolants: the loss knows its optimum, and every noise level arrives at the same law."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fkdiff import FkdiffError, grid, integrate, paths, solvers, targets
from fkdiff.prediction import Bridge
from fkdiff.train.objectives import bridge_loss

START = ([[-1.0], [0.8]], [0.3, 0.5], [0.35, 0.65])
END = ([[1.2], [-0.4]], [0.2, 0.6], [0.6, 0.4])
PATHS = {
    "linear": lambda: paths.interpolant("linear", "bridge", 0.7),
    "trigonometric": lambda: paths.interpolant("trigonometric", "sine", 0.9),
    "quadratic": lambda: paths.interpolant("linear", "quadratic", 2.0),
}


def gradient_at_optimum(path, form=None):
    """d/dθ E loss at θ = 0 for the exact means plus θ·features, by quadrature over start, clean and noise."""
    start, end = targets.gaussian_mixture(*START), targets.gaussian_mixture(*END)
    pred, form = targets.bridged(start, end, path), form or Bridge(path)
    nodes, masses = np.polynomial.hermite_e.hermegauss(32)
    z, w = jnp.asarray(nodes), jnp.asarray(masses / masses.sum())

    def apply(theta, x, t, cond):
        view, rates = pred(x, t), path.mix_rates(t)
        drift = view.velocity - rates.noise * view.noise
        features = jnp.stack([jnp.ones_like(x), x, x**2 * t])
        return jnp.stack([drift, view.noise]) + jnp.tensordot(theta, features, 1)

    def total(theta):
        def one(first, last, noise, t):
            return bridge_loss(form, apply, theta, first[None], last[None], noise[None], t)

        every = one
        for axes in ((0, None, None, None), (None, 0, None, None), (None, None, 0, None), (None, None, None, 0)):
            every = jax.vmap(every, axes)
        value = jnp.zeros(())
        for j in range(2):
            for k in range(2):
                first = start.means[j, 0] + jnp.sqrt(start.variances[j]) * z
                last = end.means[k, 0] + jnp.sqrt(end.variances[k]) * z
                losses = every(first, last, z, jnp.array([0.3, 0.6])).mean(0)
                share = start.weights[j] * end.weights[k]
                value = value + share * jnp.einsum("i,j,k,kji->", w, w, w, losses)
        return value

    return jax.jit(jax.grad(total))(jnp.zeros((2, 3)))


@pytest.mark.x64
@pytest.mark.parametrize("name", PATHS)
def test_the_exact_model_is_stationary(name):
    assert float(jnp.abs(gradient_at_optimum(PATHS[name]())).max()) <= 1e-10


class Reversed(Bridge):
    """Heads from the end to the start."""

    def target(self, start, clean, noise, t):
        return super().target(clean, start, noise, t)


class Latentless(Bridge):
    """Forgets that the noise is to be found too."""

    def target(self, start, clean, noise, t):
        return super().target(start, clean, jnp.zeros_like(noise), t)


@pytest.mark.x64
@pytest.mark.parametrize("mutant", [Reversed, Latentless])
def test_the_quadrature_sees_planted_mistakes(mutant):
    path = PATHS["linear"]()
    assert float(jnp.abs(gradient_at_optimum(path, mutant(path))).max()) >= 1e-2


@pytest.mark.x64
@pytest.mark.parametrize("name", PATHS)
def test_the_score_is_the_gradient_of_the_density(name):
    path, t, x = PATHS[name](), 0.4, jnp.array([0.3])
    start, end = targets.gaussian_mixture(*START), targets.gaussian_mixture(*END)
    a, b, gamma = path.mix(t)
    law = targets.gaussian_mixture(
        [[float(a * m[0] + b * n[0])] for m in start.means for n in end.means],
        [float(a**2 * u + b**2 * v + gamma**2) for u in start.variances for v in end.variances],
        [float(p * q) for p in start.weights for q in end.weights],
    )
    assert abs(float(targets.bridged(start, end, path)(x, t).score[0] - law.score(x)[0])) <= 1e-12


@pytest.mark.x64
@pytest.mark.parametrize("nu", [0.0, 0.5, 2.0])
def test_every_noise_level_arrives_at_the_same_law(nu):
    path = paths.interpolant("linear", "bridge", 0.7)
    start, end = targets.gaussian_mixture(*START), targets.gaussian_mixture(*END)
    num = 20_000
    times = grid(100, path, "uniform")
    a, b, gamma = path.mix(times[0])
    keys = jax.random.split(jax.random.key(0), 4)
    initial = path.between(
        start.sample(keys[0], num), end.sample(keys[1], num), jax.random.normal(keys[2], (num, 1)), times[0]
    )
    pred = targets.bridged(start, end, path)
    x = np.asarray(integrate(keys[3], pred, solvers.heun(noise=nu), times, initial=initial))[:, 0]
    a, b, gamma = (float(v) for v in path.mix(times[-1]))
    first, second = a * float(start.mean[0]) + b * float(end.mean[0]), float(end.covariance[0, 0])
    second = a**2 * float(start.covariance[0, 0]) + b**2 * second + gamma**2
    # Six standard errors; the step leaves less than one.
    assert abs(x.mean() - first) <= 6 * np.sqrt(second / num)
    assert abs(x.var() - second) <= 6 * second * np.sqrt(3 / num)


def test_what_an_interpolant_has_not_is_refused_in_words():
    path = paths.interpolant()
    start, end = targets.gaussian_mixture(*START), targets.gaussian_mixture(*END)
    pred = targets.bridged(start, end, path)
    with pytest.raises(FkdiffError, match="initial=starts"):
        integrate(jax.random.key(0), pred, solvers.heun(), grid(4, path, "uniform"))
    with pytest.raises(FkdiffError, match="has no"):
        grid(4, path)
    with pytest.raises(FkdiffError, match=r"cut=0\.7"):
        paths.interpolant(cut=0.7)
    with pytest.raises(FkdiffError, match="the drift and the noise"):
        Bridge(path).predictor(lambda p, x, t, c: x, None, (1,))(jnp.ones(1), 0.5)
