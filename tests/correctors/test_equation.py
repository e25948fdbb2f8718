"""The one equation, without Monte Carlo: every rule, path and noise level satisfies its log-PDE on exact mixtures.

g − (∂_t log p̃ + ∇·u + u·∇log p̃) must vanish at every point; correct code leaves rounding, a wrong sign or factor
leaves numbers of order one. Nothing here shares code with the rate: derivatives come from automatic differentiation
of the exact densities.
"""

import jax
import jax.numpy as jnp
import pytest

import fkdiff.correctors as fkc
from fkdiff import paths, targets
from fkdiff.correctors.rate import assemble, local
from fkdiff.correctors.reference import closed_form, log_growth, published

PATHS = {
    "preserving": paths.variance_preserving,
    "cosine": paths.cosine,
    "exploding": paths.variance_exploding,
    "linear": paths.linear,
}


def mixtures():
    one = targets.gaussian_mixture([[-2.0, 0.4], [1.5, -0.7]], [[0.25, 0.4], [0.64, 0.9]], [0.3, 0.7])
    two = targets.gaussian_mixture([[-1.5, 1.0], [2.0, 0.2]], [0.5, 0.36], [0.6, 0.4])
    three = targets.gaussian_mixture([[0.3, 0.1]], [2.1], [1.0])
    return one, two, three


def reward(x):
    return -0.4 * (x[0] - 1) ** 2 + 0.3 * jnp.sin(2 * x[1]) * x[0]


def rules(path, other):
    a, b, c = (mixture.predictor(path) for mixture in mixtures())
    far = mixtures()[1].predictor(other)
    return {
        "anneal 1.7": fkc.anneal(a, 1.7),
        "anneal 0.6": fkc.anneal(a, 0.6),
        "product": fkc.product([a, b], [1.3, 0.45]),
        "signed product": fkc.product([a, b, c], [1.3, 0.8, -0.35]),
        "guidance": fkc.guidance(b, c, 1.6),
        "tilt": fkc.tilt(a, reward, strength=0.8),
        "clean tilt": fkc.tilt(a, reward, lambda s: s**2, on="clean"),
        "everything": fkc.tilt(fkc.anneal(fkc.product([a, b], [0.9, 0.5]), 1.3), reward, on="clean"),
        "two paths": fkc.product([a, far], [1.2, 0.7]),
    }


NAMES = list(rules(paths.linear(), paths.cosine()))


# Compiling is most of this file's time, and its arrays are tiny.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def worst_residual(log_density, flow, x, t):
    """Largest |g − (∂_t log p̃ + ∇·u + u·∇log p̃)| / (1 + |g|) of `flow(x, t) -> (u, g)`."""

    def one(y, s):
        score, dt = jax.grad(log_density, argnums=(0, 1))(y, s)
        jacobian, (velocity, rate) = jax.jacfwd(lambda z: (flow(z, s)[0], flow(z, s)), has_aux=True)(y)
        return jnp.abs(rate - (dt + jnp.trace(jacobian) + velocity @ score)) / (1 + jnp.abs(rate))

    return float(jnp.max(jax.jit(jax.vmap(one), compiler_options=QUICK)(x, t)))


def flow_of(target):
    def flow(y, s):
        field = target.field(y, s)
        return field.velocity, field.rate

    return flow


def points(path, count=8):
    keys = jax.random.split(jax.random.key(7), 2)
    low, high = path.log_snr(path.t_min), path.log_snr(path.t_max)
    # Strictly inside, so that derivatives at other paths of the same time exist too.
    log_snr = low + (high - low) * jax.random.uniform(keys[0], (count,), minval=0.12, maxval=0.8)
    times = path.time(log_snr)
    spread = jnp.sqrt(jax.vmap(path.alpha)(times) ** 2 * 4 + jax.vmap(path.sigma)(times) ** 2)
    return spread[:, None] * jax.random.normal(keys[1], (count, 2)), times


# The fast tier walks every rule on one path; the long tier takes the product.
CASES = [
    pytest.param(path, name, marks=[] if path == "linear" else pytest.mark.slow) for path in PATHS for name in NAMES
]


@pytest.mark.x64
@pytest.mark.parametrize("path_name, name", CASES)
def test_every_rule_solves_its_equation_on_every_path(path_name, name):
    path = PATHS[path_name]()
    other = paths.cosine() if path_name != "cosine" else paths.linear()
    target = rules(path, other)[name].with_reference(0.7, 2.3)
    assert worst_residual(target.log_density, flow_of(target), *points(path)) < 1e-8


@pytest.mark.x64
@pytest.mark.parametrize(
    "path_name", ["linear", *(pytest.param(p, marks=pytest.mark.slow) for p in PATHS if p != "linear")]
)
def test_noise_leaves_the_rate_alone(path_name):
    """The full Fokker–Planck form with drift u + ε∇log p̃ and diffusion ε has the same g for every ε."""
    path, noises = PATHS[path_name](), jnp.array([0.0, 0.6, 1.0, 2.0])
    target = rules(path, path)["everything"]
    x, t = points(path)

    def full(y, s, noise):
        epsilon = noise * path.kappa(s)
        drift = lambda z: target.field(z, s).velocity + epsilon * target.field(z, s).score  # noqa: E731
        score = jax.grad(target.log_density)
        divergence = jnp.trace(jax.jacfwd(drift)(y))
        laplacian = jnp.trace(jax.jacfwd(score)(y, s))
        gradient = score(y, s)
        transport = divergence + drift(y) @ gradient - epsilon * (laplacian + gradient @ gradient)
        return target.field(y, s).rate - jax.grad(target.log_density, argnums=1)(y, s) - transport, transport

    over = jax.vmap(jax.vmap(full, (0, 0, None)), (None, None, 0))
    error, transport = jax.jit(over, compiler_options=QUICK)(x, t, noises)
    assert float(jnp.max(jnp.abs(error) / (1 + jnp.abs(transport)))) < 1e-8


@pytest.mark.x64
@pytest.mark.parametrize("name", ["everything", "signed product", "two paths", "clean tilt"])
def test_any_control_leaves_the_law_alone(name):
    """With u + Σθφ and g + Σθ A the equation holds for every θ."""
    path, theta = paths.linear(), jnp.array([0.7, -0.4, 0.3, -0.2, 0.5, 0.1])
    target = rules(path, paths.cosine())[name]
    centre = jnp.array([0.3, -0.2])
    x, t = points(path)

    def controlled(y, s):
        gauge = closed_form(target.reference, tuple(target.betas), target.paths, s)
        field = assemble(target, local(target, y, s, None, "score+reward", True), gauge, y, centre, "score+reward")
        used = theta[: field.basis.shape[0]]
        return field.velocity + used @ field.basis, field.rate + gauge.h * y.size + used @ field.columns

    assert worst_residual(target.log_density, controlled, x, t) < 1e-8


@pytest.mark.x64
def test_gaussian_phase_has_no_variance():
    """On the reference law itself g is one number for all x, for signed exponents, two paths and any mean."""
    mean, variance = jnp.array([0.8, -0.3]), 1.7
    law = targets.gaussian(mean, variance)
    path, other = paths.variance_preserving(), paths.linear()
    target = fkc.product([law.predictor(path), law.predictor(other)], [1.6, -0.4]).with_reference(mean, variance)
    x, t = points(path)
    rates = jax.vmap(lambda s: jax.vmap(lambda a: target.field(a, s).rate)(x))(t)
    assert float(jnp.max(jnp.ptp(rates, axis=1))) < 1e-9
    # With mean 0 that number is the d-term alone, which is left out of the particles' weights.
    centred = fkc.product([targets.gaussian([0.0, 0.0], variance).predictor(p) for p in (path, other)], [1.6, -0.4])
    centred = centred.with_reference(0.0, variance)
    gauge = jax.vmap(lambda s: closed_form(centred.reference, tuple(centred.betas), centred.paths, s).h)(t)
    rates = jax.vmap(lambda a, b: centred.field(a, b).rate)(x, t)
    assert float(jnp.max(jnp.abs(rates - 2 * gauge))) < 1e-9


@pytest.mark.x64
@pytest.mark.parametrize("gauge", ["closed-form", "published"])
def test_constants_integrate_in_closed_form(gauge):
    """∫ h d dt of the gauge equals its closed form, by Gauss–Legendre quadrature."""
    import numpy as np

    path = paths.variance_preserving()
    betas, used = (jnp.asarray(1.4), jnp.asarray(0.3)), (path, path)
    reference = fkc.anneal(mixtures()[0].predictor(path), 1.0).with_reference(0.4, 1.9).reference
    nodes, weights = np.polynomial.legendre.leggauss(40)
    t0, t1 = 0.4, 0.7
    times = 0.5 * (t1 - t0) * nodes + 0.5 * (t1 + t0)
    field = {"closed-form": closed_form, "published": published}[gauge]
    h = jax.vmap(lambda s: field(reference, betas, used, s).h)(jnp.asarray(times))
    integral = 3 * 0.5 * (t1 - t0) * float(jnp.asarray(weights) @ h)
    exact = log_growth(gauge, reference, betas, used, jnp.asarray(t0), jnp.asarray(t1), 3)
    assert abs(float(exact) - integral) < 1e-9
