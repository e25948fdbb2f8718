"""What may be differentiated through a resampling, what is refused, and what transport and soft resampling keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import FkdiffError, smc
from fkdiff.smc.resamplers import sinkhorn
from tests.smc import smc_chain as chain

A, B, S = 0.9, 0.6, 0.5  # x' = A x + B ξ, y = x + S η
DATA = np.array([0.8, -0.3, 1.4, 0.9, 2.0, 1.1])


def kalman(a):
    """log p(y) of the linear-Gaussian model, in NumPy."""
    mean, variance, total = 0.0, 1.0, 0.0
    for y in DATA:
        mean, variance = a * mean, a**2 * variance + B**2
        spread = variance + S**2
        total += -0.5 * (np.log(2 * np.pi * spread) + (y - mean) ** 2 / spread)
        mean, variance = mean + variance / spread * (y - mean), variance * S**2 / spread
    return total


def walk(a):
    """The same as a bootstrap filter."""
    data = jnp.asarray(DATA)

    def log_potential(before, x, t0, t1):
        y = data[jnp.round(t0).astype(jnp.int32)].astype(x.dtype)
        return -0.5 * (jnp.log(2 * jnp.pi * S**2) + (y - x) ** 2 / S**2)

    return fk.FeynmanKac(
        lambda key: (jax.random.normal(key), jnp.zeros(())),
        lambda key, x, t0, t1: a * x + B * jax.random.normal(key),
        log_potential,
    )


GRID = jnp.arange(len(DATA) + 1.0)


def slopes(resample, num_particles, num_runs, seed=0):
    """log Ẑ and d log Ẑ/dA of independent runs."""

    def value(a, key):
        return smc.run_smc(key, walk(a), GRID, num_particles, resample=resample).log_normalizer

    keys = jax.random.split(jax.random.key(seed), num_runs)
    return jax.jit(lambda keys: jax.lax.map(lambda key: jax.value_and_grad(value)(jnp.float32(A), key), keys))(keys)


def truth():
    return (kalman(A + 1e-5) - kalman(A - 1e-5)) / 2e-5


def score(values, exact):
    values = np.asarray(values, np.float64)
    return (values.mean() - exact) / (values.std(ddof=1) / np.sqrt(len(values)))


@pytest.mark.slow
def test_stopped_gradients_are_right_where_dropped_ones_are_not():
    """E Ẑ ∂log Ẑ = ∂Z for the first, exactly; `detached` leaves a bias of many standard errors."""

    def products(resample):
        value, slope = slopes(resample, 64, 4000)
        ratio = np.exp(np.asarray(value, np.float64) - kalman(A))
        return ratio * slope

    right = products(smc.stop_gradient(smc.multinomial))
    assert abs(score(right, truth())) <= 4.5
    assert abs(score(products(smc.detached(smc.multinomial)), truth())) > 10


@pytest.mark.slow
def test_transport_has_a_small_bias_where_dropping_has_a_large_one():
    exact = truth()
    dropped = slopes(smc.detached(smc.systematic), 128, 200)[1]
    moved_value, moved = slopes(smc.optimal_transport(0.02), 128, 200)
    assert abs(moved.mean() - exact) < 0.2 * abs(dropped.mean() - exact)
    assert abs(np.log(np.mean(np.exp(np.asarray(moved_value) - kalman(A))))) < 0.05


def test_without_resampling_the_derivative_is_pathwise():
    """Importance sampling: d log Ẑ is Σ W dlog w, here against a finite difference with the same noise."""

    def value(a):
        return smc.run_smc(jax.random.key(0), walk(a), GRID, 32, resample=smc.never).log_normalizer

    with jax.enable_x64(True):
        finite = (value(jnp.float64(A + 1e-6)) - value(jnp.float64(A - 1e-6))) / 2e-6
        assert np.isclose(jax.grad(value)(jnp.float64(A)), finite, rtol=1e-6)


REFUSED = {
    "systematic": smc.systematic,
    "multinomial": smc.multinomial,
    "adaptive": smc.adaptive(smc.residual, 0.5),
    "window": smc.within(smc.adaptive(smc.stratified), 0.0, 1.0),
    "default": None,
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_plain_resampling_refuses_and_names_the_identity(name):
    def value(a):
        return smc.run_smc(jax.random.key(0), walk(a), GRID, 8, resample=REFUSED[name]).log_normalizer

    with pytest.raises(FkdiffError, match=r"fkdiff\.gradients\.log_normalizer"):
        jax.grad(value)(A)
    with pytest.raises(FkdiffError, match="stop_gradient"):
        jax.jvp(value, (A,), (1.0,))


CLASSES = {
    "refused": [smc.systematic, smc.residual, smc.adaptive(smc.stratified, 0.5), smc.within(smc.multinomial, 0.0, 9.0)],
    "pathwise": [smc.never],
    "score": [smc.stop_gradient(smc.adaptive(smc.systematic))],
    "biased": [
        smc.detached(smc.systematic),
        smc.adaptive(smc.soft(smc.systematic), 0.9),
        smc.adaptive(smc.optimal_transport(0.5), 0.9),
    ],
    "undeclared": [lambda key, log_weights: smc.never(key, log_weights)],
}


@pytest.mark.parametrize("stated", CLASSES)
def test_resamplers_declare_what_their_derivative_is(stated):
    def value(a, resample):
        return smc.run_smc(jax.random.key(0), walk(a), GRID, 8, resample=resample).log_normalizer

    for resample in CLASSES[stated]:
        assert smc.gradient_class(resample) == stated
        if stated == "refused":
            with pytest.raises(FkdiffError, match="a derivative flows through a resampling"):
                jax.grad(value)(A, resample)
        else:
            assert np.isfinite(jax.grad(value)(A, resample))


def test_derivatives_that_do_not_pass_a_resampling_are_not_refused():
    """Weights that do not depend on the parameter leave the choice alone: positions are pathwise."""
    model = fk.FeynmanKac(
        lambda key: ((jnp.zeros(()), jax.random.normal(key)), jnp.zeros(())),
        lambda key, p, t0, t1: (p[0], p[1]),
        lambda before, p, t0, t1: p[1],
    )

    def mean(shift):
        moved = fk.FeynmanKac(model.draw, lambda key, p, t0, t1: (p[0] + shift, p[1]), model.log_potential)
        return smc.run_smc(jax.random.key(0), moved, jnp.arange(4.0), 16, resample=smc.systematic).particles[0].mean()

    assert np.isclose(jax.grad(mean)(1.0), 3.0)


DECORATED = {
    "soft": smc.soft(smc.systematic, 0.7),
    "soft adaptive": smc.adaptive(smc.soft(smc.multinomial, 0.3), 0.6),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DECORATED)
def test_soft_resampling_is_unbiased(name):
    chain.check_unbiased(DECORATED[name])


@pytest.mark.slow
def test_soft_resampling_without_its_weights_is_not(monkeypatch):
    plain = smc.soft(smc.systematic, 0.3)
    with pytest.raises(AssertionError):
        chain.check_unbiased(lambda key, log_weights: (plain(key, log_weights)[0], 0 * log_weights, jnp.bool_(True)))


def test_soft_weights_are_those_of_the_mixture():
    log_weights = jnp.array([0.0, 1.0, -jnp.inf, 2.0])
    weights = np.array(jax.nn.softmax(log_weights))
    ancestors, after, resampled = smc.soft(smc.systematic, 0.25)(jax.random.key(1), log_weights)
    mixture = 0.25 * weights + 0.75 / 4
    assert bool(resampled)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(after, np.log(weights / mixture)[np.asarray(ancestors)], rtol=1e-5)
    slope = jax.grad(lambda l: smc.soft(smc.systematic, 0.25)(jax.random.key(1), l)[1][:2].sum())(log_weights)
    assert np.isfinite(slope).all()
    assert np.abs(slope).max() > 0


def test_where_no_weights_are_nothing_is_transported_or_softened():
    dead = jnp.full(3, -jnp.inf)
    for resampler in (smc.soft(smc.systematic), smc.optimal_transport().given(jnp.eye(3))):
        ancestors, after, resampled = resampler(jax.random.key(0), dead)
        assert not bool(resampled)
        np.testing.assert_array_equal(after, dead)
        np.testing.assert_array_equal(ancestors, np.arange(3) if ancestors.ndim == 1 else np.eye(3))


LINE = np.linspace(-6, 6, 241)


@pytest.mark.x64
@pytest.mark.parametrize(("factor", "covariance"), [(0.5, 0.2071), (1.0, 0.3090)])
def test_the_plan_between_two_normals_has_the_covariance_of_the_closed_form(factor, covariance):
    logs = [jax.nn.log_softmax(-0.5 * (jnp.asarray(LINE) / scale) ** 2) for scale in (1.0, 0.5)]
    cost = jnp.asarray(factor * (LINE[:, None] - LINE[None, :]) ** 2)
    solved = sinkhorn.potentials(cost, *logs, 1e-10, 10_000)
    plan = np.asarray(sinkhorn.plan(cost, solved))
    assert abs((plan * np.outer(LINE, LINE)).sum() - covariance) < 5e-5
    np.testing.assert_allclose(plan.sum(axis=0), np.exp(logs[1]), atol=1e-12)
    np.testing.assert_allclose(plan.sum(axis=1), np.exp(logs[0]), atol=1e-9)


@pytest.mark.x64
def test_transport_keeps_the_mean_and_shrinks_the_spread():
    x, log_weights = jax.random.normal(jax.random.key(0), (64, 3)), jax.random.normal(jax.random.key(1), (64,))
    weights = jax.nn.softmax(log_weights)
    spreads = []
    for epsilon in (0.5, 0.05):
        shares, after, _ = smc.optimal_transport(epsilon, 1e-10, 20_000).given(x)(jax.random.key(2), log_weights)
        moved = shares @ x
        np.testing.assert_allclose(moved.mean(axis=0), weights @ x, atol=1e-8)
        np.testing.assert_array_equal(after, 0.0)
        spreads.append(float(jnp.var(moved, axis=0).sum()))
    full = float(weights @ jnp.sum((x - (weights @ x)[None, :]) ** 2, axis=1))
    assert spreads[0] < spreads[1] < full
    assert spreads[1] > 0.85 * full


def derivative_error(seed=0):
    """Largest gap between the implicit derivative of a transported population and finite differences."""
    x, log_weights = jax.random.normal(jax.random.key(seed), (10, 2)), jax.random.normal(jax.random.key(1), (10,))

    @jax.jit
    def value(x, log_weights):
        shares, _, _ = smc.optimal_transport(0.3, 1e-14, 20_000).given(x)(jax.random.key(0), log_weights)
        return jnp.sum(jnp.sin((shares @ x) * jnp.array([[1.0, 2.0]])))

    slopes = jax.grad(value, argnums=(0, 1))(x, log_weights)
    step, gaps = 1e-5, []
    for i in range(10):
        one = step * jnp.eye(10)[i]
        finite = (value(x, log_weights + one) - value(x, log_weights - one)) / (2 * step)
        gaps.append(abs(finite - slopes[1][i]))
        two = one[:, None] * jnp.array([[0.0, 1.0]])
        finite = (value(x + two, log_weights) - value(x - two, log_weights)) / (2 * step)
        gaps.append(abs(finite - slopes[0][i, 1]))
    return float(max(gaps))


@pytest.mark.x64
def test_the_derivative_of_the_plan_is_that_of_the_implicit_function():
    assert derivative_error() < 1e-7


@pytest.mark.x64
def test_a_derivative_without_one_marginal_is_wrong(monkeypatch):
    def halved(tolerance, max_steps, kept, cotangents):
        return right(tolerance, max_steps, kept, (cotangents[0], 0 * cotangents[1]))

    right = sinkhorn._backward
    mutant = jax.custom_vjp(sinkhorn.potentials.__wrapped__, nondiff_argnums=(3, 4))
    mutant.defvjp(sinkhorn._forward, halved)
    monkeypatch.setattr(sinkhorn, "potentials", mutant)
    assert derivative_error() > 1e-3


def test_the_engine_transports_only_when_the_ess_is_low():
    resample = smc.adaptive(smc.optimal_transport(0.1), 0.5)
    out = smc.run_smc(jax.random.key(3), walk(A), GRID, 256, resample=resample)
    fk.check(out)
    assert 0 < int(out.info.resamplings) < len(DATA)
    assert out.scheme == "transport"
    assert abs(float(out.log_normalizer) - kalman(A)) < 0.3
    assert smc.log_normalizer_error(out).is_lower_bound


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: smc.soft("systematic"), "is not a resampler"),
        (lambda: smc.soft(smc.systematic, 1.0), "strictly between 0 and 1"),
        (lambda: smc.soft(smc.adaptive(smc.systematic)), "decorate outside"),
        (lambda: smc.optimal_transport(0.0), "must be positive"),
        (lambda: smc.optimal_transport(0.1, tolerance=-1.0), "tolerance"),
        (lambda: smc.optimal_transport().given(jnp.arange(3)), "cannot be transported"),
        (lambda: smc.optimal_transport()(jax.random.key(0), jnp.zeros(3)), "given"),
        (lambda: smc.stop_gradient(smc.optimal_transport().given(jnp.eye(3)))(jax.random.key(0), jnp.zeros(3)), "copy"),
    ],
)
def test_what_cannot_be_combined_is_refused(call, sentence):
    with pytest.raises(FkdiffError, match=sentence):
        call()
