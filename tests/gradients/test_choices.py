"""Every random choice refuses the derivative that it would drop, and lets through the one that is right."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import FkdiffError, discrete, gradients, mcmc, smc
from fkdiff.correctors import refresh

KEY = jax.random.key(0)
GRID = jnp.linspace(0.0, 1.0, 3)
PATH = fk.paths.variance_preserving()


def tilted(theta):
    """N(0, 1) tilted by e^{θx}: mean θ, log Z = θ²/2."""
    draw, stay = lambda k: (jax.random.normal(k), jnp.zeros(())), lambda k, x, t0, t1: x
    return smc.FeynmanKac(draw, stay, lambda before, x, t0, t1: 0.5 * theta * x)


def weighted(theta, num=64):
    return fk.run_smc(KEY, tilted(theta), GRID, num, resample=smc.never)


def swept(theta, **options):
    model = tilted(theta)
    kernel = smc.conditional(model, GRID, 8, **options)
    start = jax.lax.stop_gradient(smc.trajectory(KEY, tilted(0.5), GRID, 8))
    return kernel.step(KEY, kernel.init(KEY, start))[0].position.particles.sum()


def gaussian_step(previous, particle, t0, t1):
    return -0.5 * (particle - previous) ** 2


def metropolised(theta):
    kernel = mcmc.random_walk(lambda x: -0.5 * theta * x**2, 0.5)
    return kernel.step(KEY, kernel.init(KEY, jnp.ones(())))[0].position


def swapped(theta):
    kernel = mcmc.parallel_tempering(
        lambda x: -0.5 * x**2, lambda x: -theta * x**2, lambda f: mcmc.ula(f, 0.1), [0.0, 0.5, 1.0]
    )
    return kernel.step(KEY, kernel.init(KEY, jnp.ones(())))[0].position


def refreshed(theta):
    target = fk.correctors.anneal(fk.targets.gaussian([0.3], [0.5]).predictor(PATH), theta)
    t = jnp.float32(0.5)
    one = jnp.ones((1,))
    return refresh.langevin(target, KEY, one, 0 * one, jnp.ones((2,)), t).sum()


def law(theta):
    return discrete.enumerated(theta * jnp.arange(4.0), 2, 2)


def tokens(theta):
    return law(theta).sample(KEY, 3).astype(jnp.float32).sum()


def tokens_in_steps(theta):
    pred = law(theta).predictor(discrete.masked(2))
    return discrete.sample(KEY, pred, GRID, 3).astype(jnp.float32).sum()


def annealed_tokens(order):
    def run(theta):
        pred = law(1.0).predictor(discrete.masked(2))
        model = discrete.anneal(pred, theta).feynman_kac(order)
        return fk.run_smc(KEY, model, GRID, 4, resample=smc.never).log_normalizer

    return run


def components(theta):
    weights = jax.nn.softmax(jnp.stack([theta, -theta]))
    return fk.targets.gaussian_mixture([[-1.0], [2.0]], [0.1, 0.1], weights).sample(KEY, 4).sum()


def best(theta):
    pred = fk.targets.gaussian([0.0], 1.0).predictor(PATH)
    return fk.steering.best_of_n(
        KEY, pred, fk.solvers.ddim(1.0), lambda x: -((x[0] - theta) ** 2), fk.grid(2, PATH), 2, 2
    )[0].sum()


CHOICES = {
    "resample": (lambda th: smc.resample(KEY, weighted(th), 8).sum(), "fkdiff.expectation"),
    "multinomial": (lambda th: fk.run_smc(KEY, tilted(th), GRID, 8, resample=smc.multinomial).log_normalizer, "Fisher"),
    "residual": (lambda th: fk.run_smc(KEY, tilted(th), GRID, 8, resample=smc.residual).log_normalizer, "Fisher"),
    "trajectory": (lambda th: smc.trajectory(KEY, tilted(th), GRID, 8).particles.sum(), "gradients.expectation"),
    "conditional": (swept, "gradients.expectation"),
    "conditional systematic": (lambda th: swept(th, scheme="systematic"), "gradients.expectation"),
    "ancestor sampling": (lambda th: swept(th, log_transition=gaussian_step), "gradients.expectation"),
    "backward sampling": (
        lambda th: swept(th, log_transition=gaussian_step, renew="backward"),
        "gradients.expectation",
    ),
    "acceptance": (metropolised, "gradients.expectation"),
    "swaps": (swapped, "gradients.expectation"),
    "refresh": (refreshed, "refresh=0"),
    "tokens": (tokens, "gradients.expectation"),
    "tokens in steps": (tokens_in_steps, "gradients.expectation"),
    "tokens revealed": (annealed_tokens("random"), "along_paths"),
    "tokens by confidence": (annealed_tokens("confidence"), "along_paths"),
    "tokens, ancestral": (annealed_tokens("ancestral"), "along_paths"),
    "components": (components, "gradients.expectation"),
    "best of n": (best, "gradients.expectation"),
}


@pytest.mark.parametrize("name", CHOICES)
def test_a_derivative_into_a_choice_is_refused_by_name(name):
    function, identity = CHOICES[name]
    with pytest.raises(FkdiffError, match=re.escape(identity)):
        jax.eval_shape(jax.grad(function), jnp.float32(0.5))


def test_what_is_chosen_from_may_be_differentiated():
    """Constant weights, particles that depend on θ: the pathwise derivative is the whole one."""

    def mean(theta):
        out = weighted(0.5)
        moved = smc.SMCResult(out.particles + theta, out.log_weights, out.log_normalizer, out.info)
        return smc.resample(KEY, moved, 16).mean()

    assert float(jax.grad(mean)(0.7)) == 1.0

    def shifted(theta):
        means = jnp.stack([theta, 2 * theta])[:, None]
        return fk.targets.gaussian_mixture(means, [0.1, 0.1], [0.5, 0.5]).sample(KEY, 64).mean()

    assert 1.0 < float(jax.grad(shifted)(0.7)) < 2.0


def test_no_choice_goes_by_another_door():
    """Discrete draws outside `core.choices` would drop their derivative in silence."""
    folder = Path(fk.__file__).parent
    pattern = re.compile(
        r"random\.(categorical|bernoulli|choice|binomial|poisson|geometric)\(|random\.uniform\(.*\) *<"
    )
    found = [
        f"{path.relative_to(folder)}: {line.strip()}"
        for path in folder.rglob("*.py")
        if path.name != "choices.py"
        for line in path.read_text(encoding="utf-8").splitlines()
        if pattern.search(line) and "rng." not in line and "np.random" not in line
    ]
    assert not found


# γ(x, θ, φ) = exp(−θx²/2 + φx): log Z = φ²/2θ − log(θ)/2 + c, mean φ/θ, and all derivatives are fractions.
def log_density(x, params):
    theta, phi = params
    return -0.5 * theta * x**2 + phi * x


def kinds(theta, phi):
    """Draws of that law as quantiles, in the three forms; exact to a few thousandths."""
    points = (np.arange(20000) + 0.5) / 20000
    x = phi / theta + jax.scipy.special.ndtri(jnp.asarray(points, jnp.float32)) / np.sqrt(theta)
    order = jax.random.permutation(KEY, x)
    chains = order.reshape(1000, 20)
    empty = weighted(0.0, 20000)
    run = smc.SMCResult(order, jnp.zeros_like(order), jnp.zeros(()), empty.info)
    halves = [
        smc.SMCResult(part, jnp.zeros_like(part), jnp.zeros(()), weighted(0.0, 10000).info)
        for part in (order[:10000], order[10000:])
    ]
    return {
        "chains": chains,
        "run": run,
        "replicates": smc.Replicates(jax.tree.map(lambda a, b: jnp.stack([a, b]), *halves)),
    }


@pytest.mark.parametrize("kind", ["run", *(pytest.param(k, marks=pytest.mark.slow) for k in ("chains", "replicates"))])
def test_the_identities_have_right_derivatives(kind):
    theta, phi = 1.5, 0.6
    draws, at = kinds(theta, phi)[kind], (jnp.float32(theta), jnp.float32(phi))

    def slopes(params):
        found = gradients.log_normalizer(draws, log_density, params)
        return found[0].value, found[1].value

    hessian = np.array(jax.jacobian(slopes)(at))
    exact = [[phi**2 / theta**3 + 0.5 / theta**2, -phi / theta**2], [-phi / theta**2, 1 / theta]]
    np.testing.assert_allclose(hessian, exact, atol=0.01)

    def mean_slope(params):  # ∂_φ E x = 1/θ, so that ∂_θ∂_φ E x = −1/θ²
        return gradients.expectation(draws, lambda x, p: x, log_density, params)[1].value

    np.testing.assert_allclose(np.array(jax.grad(mean_slope)(at)), [-1 / theta**2, 0.0], atol=0.02)


def test_parameters_that_the_density_closes_over_count_too():
    draws = kinds(1.5, 0.6)["chains"]

    def slope(phi):  # ∂_θ log Z depends on φ through the law alone
        return gradients.log_normalizer(draws, lambda x, theta: log_density(x, (theta, phi)), jnp.float32(1.5)).value

    np.testing.assert_allclose(jax.grad(slope)(jnp.float32(0.6)), -0.6 / 1.5**2, atol=0.01)


def test_a_derivative_into_the_draws_is_refused():
    def slope(theta):
        return gradients.log_normalizer(weighted(theta), lambda x, p: p * x, theta).value

    with pytest.raises(FkdiffError, match="stop_gradient"):
        jax.eval_shape(jax.grad(slope), jnp.float32(0.5))
