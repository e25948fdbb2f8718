"""The ancestral step: where it is exact, whose variance it adds, how far its chain is from the model's law."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import paths, solvers
from fkdiff.solvers import ancestral
from fkdiff.solvers._ancestral import Ancestral, jacobian
from tests.solvers import chain_quadrature, mixture_law

PATH = paths.variance_preserving()
EXACT = {  # solvers whose chain is exact for N(m, diag(variance)), with that variance
    "reference": (lambda m, v: ancestral("reference", (m, v)), 0.36),
    "reference, each": (lambda m, v: ancestral("reference", (m, v)), (0.01, 3.0)),
    "model": (lambda m, v: ancestral("model"), 0.36),
    "diagonal": (lambda m, v: ancestral("diagonal"), (0.01, 3.0)),
}


def affine_law(pred, solver, times, mean, variance):
    """Mean and covariance of a chain of affine steps, from N(α m, α² variance + σ²), in the coordinates of x_K."""
    alpha, sigma = pred.path.alpha, pred.path.sigma
    center, spread = alpha(times[0]) * mean, jnp.diag(alpha(times[0]) ** 2 * variance + sigma(times[0]) ** 2)

    @jax.jit
    def affine(t0, t1):
        def step(x):
            return solver.step(pred, solver.init(pred, x, t0), t0, t1)[0]

        origin = jnp.zeros(pred.shape)
        return jax.jacfwd(lambda x: step(x).mean)(origin), step(origin)

    for t0, t1 in itertools.pairwise(times):
        slope, offset = affine(t0, t1)
        center = slope @ center + offset.mean
        spread = slope @ spread @ slope.T + jnp.diag(jnp.broadcast_to(offset.scale, center.shape) ** 2)
    return center, spread


@pytest.mark.x64
@pytest.mark.parametrize("path_name", ["variance_preserving", "linear", "variance_exploding"])
@pytest.mark.parametrize("name", EXACT)
def test_exact_in_law_for_gaussian_data(name, path_name):
    """To rounding, in three steps over the whole path."""
    path = getattr(paths, path_name)()
    make, variance = EXACT[name]
    mean, variance = jnp.array([0.8, -0.3]), jnp.broadcast_to(jnp.asarray(variance), (2,))
    pred = fk.targets.gaussian(mean, jnp.diag(variance)).predictor(path)
    solver = make(mean, variance if "each" in name else variance[0])
    center, spread = affine_law(pred, solver, fk.grid(3, path), mean, variance)
    alpha, sigma = path.alpha(path.t_max), path.sigma(path.t_max)
    assert float(jnp.abs(center - alpha * mean).max()) <= 1e-12
    expected = np.diag(alpha**2 * variance + sigma**2)
    assert np.abs(spread - expected).max() <= 1e-12 * expected.max()
    assert np.abs(np.diag(spread) / np.diag(expected) - 1).max() <= 1e-12


@pytest.mark.x64
def test_one_variance_for_all_is_too_wide_across_a_ridge_and_too_narrow_along_it():
    variance, path = jnp.array([0.01, 3.0]), paths.variance_preserving()
    pred = fk.targets.gaussian(jnp.zeros(2), jnp.diag(variance)).predictor(path)
    exact = path.alpha(path.t_max) ** 2 * variance + path.sigma(path.t_max) ** 2

    def ratios(solver):
        return jnp.diag(affine_law(pred, solver, fk.grid(32, path), jnp.zeros(2), variance)[1]) / exact

    assert np.allclose(ratios(ancestral("model")), [1.17, 0.89], atol=0.01)
    assert np.allclose(ratios(solvers.ddim(1.0)), [0.77, 0.77], atol=0.01)
    assert np.allclose(ratios(ancestral("diagonal")), 1.0, atol=1e-12)


@pytest.mark.x64
def test_scale_is_that_of_the_posterior_variance_of_a_mixture():
    """v in NumPy, from the moments of the components; and its limit where it would pass three deviations."""
    path, t0, t1 = paths.variance_preserving(), 0.55, 0.6
    pred = mixture_law.predictor(path)
    alpha, sigma, alpha1, sigma1 = (float(f(t)) for t in (t0, t1) for f in (path.alpha, path.sigma))
    x = np.linspace(-3.0, 3.0, 13)
    spread = alpha**2 * mixture_law.VARIANCES + sigma**2
    log_w = np.log(mixture_law.WEIGHTS / np.sqrt(spread)) - (x[:, None] - alpha * mixture_law.MEANS) ** 2 / 2 / spread
    w = np.exp(log_w - log_w.max(axis=1, keepdims=True))
    w /= w.sum(axis=1, keepdims=True)
    means = mixture_law.MEANS + alpha * mixture_law.VARIANCES / spread * (x[:, None] - alpha * mixture_law.MEANS)
    second = (w * (means**2 + mixture_law.VARIANCES * sigma**2 / spread)).sum(axis=1)
    v = second - (w * means).sum(axis=1) ** 2
    kept = (alpha * sigma1 / (alpha1 * sigma)) ** 2
    expected = np.sqrt(sigma1**2 * (1 - kept) + (alpha1 * (1 - kept)) ** 2 * v)
    for variance in ("model", "diagonal"):
        found = chain_quadrature.transitions(pred, ancestral(variance), jnp.asarray(x), t0, t1)[1]
        assert np.allclose(found, expected, rtol=1e-12)
    far = fk.targets.gaussian_mixture([[-50.0], [50.0]], [0.01, 0.01], [0.5, 0.5]).predictor(path)
    cut = float(chain_quadrature.transitions(far, ancestral(), jnp.zeros(1), t0, t1)[1][0])
    assert np.isclose(cut, np.sqrt(sigma1**2 * (1 - kept) + (alpha1 * (1 - kept)) ** 2 * 9 * (sigma / alpha) ** 2))


class Doubled(Ancestral):
    """v read twice too large."""

    def step(self, pred, state, t0, t1):
        memory = state.memory._replace(trace=2 * state.memory.trace)
        transition, left = super().step(pred, state._replace(memory=memory), t0, t1)
        return transition, left


def tilted_bias(solver, num_steps, reference=(0.0, 1.0)):
    """log E e^{−¾(x − 1)²} of a chain on the mixture, less that of the mixture."""
    times = fk.grid(num_steps, PATH)
    tilt = lambda x: np.exp(-0.75 * (x - 1) ** 2)  # noqa: E731
    return np.log(chain_quadrature.expectations(mixture_law.predictor(PATH), solver, times, [tilt], reference)[0]) + (
        0.784664
    )


# Written down beside another code's figures: 8, 16 and 32 steps.
BIASES = {
    "model": (ancestral, (-0.022, -0.005, -0.001)),
    "reference, variance 1": (lambda: ancestral("reference"), (0.080, 0.046, 0.024)),
    "ddim": (lambda: solvers.ddim(1.0), (0.278, 0.166, 0.091)),
}


@pytest.mark.parametrize("name", BIASES)
def test_bias_of_the_evidence_by_quadrature(name):
    make, expected = BIASES[name]
    found = [tilted_bias(make(), n) for n in (8, 16, 32)]
    print(name, found)
    assert np.allclose(found, expected, atol=1e-3)


def test_quadrature_rejects_a_variance_that_is_forgotten_or_doubled():
    good = Ancestral(*(getattr(ancestral(), name) for name in ("noise", "reference", "variance")))
    bad = Doubled(good.noise, good.reference, good.variance)
    assert abs(tilted_bias(good, 16)) <= 0.006
    assert abs(tilted_bias(bad, 16)) >= 0.03
    forgotten = eqx.tree_at(lambda s: s.reference, ancestral("reference"), (jnp.zeros(()), jnp.zeros(())))
    assert abs(tilted_bias(forgotten, 16) - tilted_bias(solvers.ddim(1.0), 16)) <= 1e-5  # v = 0 is ddim's step
    assert abs(tilted_bias(forgotten, 16)) >= 0.1


# The probe ---------------------------------------------------------------------------------------------------

SIZE = 6


def correlated(path=PATH, size=SIZE):
    """A Gaussian whose Jacobian is far from diagonal."""
    mixing = np.random.default_rng(0).normal(size=(size, size))
    return fk.targets.gaussian(jnp.zeros(size), mixing @ mixing.T / size + 0.05 * np.eye(size)).predictor(path)


@pytest.mark.x64
def test_a_probe_is_unbiased_and_comes_from_the_key():
    """Averaged over all 2⁶ signs both estimates are the Jacobian's own."""
    pred, x, t = correlated(paths.variance_preserving()), jnp.linspace(-1.0, 1.0, SIZE), 0.5
    full = jax.jacfwd(lambda x: pred(x, t).clean)(x)
    signs = jnp.asarray(np.array(np.meshgrid(*[[-1.0, 1.0]] * SIZE)).reshape(SIZE, -1).T)
    prediction, found = jax.vmap(lambda z: jacobian(pred, x, t, z))(signs)
    assert float(jnp.abs(found.mean(axis=0) - jnp.diag(full)).max()) <= 1e-12
    assert float(jnp.std(found.mean(axis=1))) >= 0.02 * float(jnp.trace(full)) / SIZE
    assert float(jnp.abs(prediction.clean[0] - pred(x, t).clean).max()) <= 1e-12
    for variance in ("model", "diagonal"):
        solver = ancestral(variance)
        first, again, *others = (solver.init(pred, x, t, jax.random.key(k)).memory for k in (0, 0, 1, 2, 3, 4))
        assert np.array_equal(first.trace, again.trace)
        assert len({tuple(np.asarray(other.probe)) for other in others}) >= 3
        kept = solver.arrive(pred, x + 1, t, first).memory  # no key: the probe stays, and what it says is new
        assert np.array_equal(kept.probe, first.probe)
        expected = jacobian(pred, x + 1, t, first.probe)[1]
        assert np.allclose(kept.trace, expected if variance == "diagonal" else expected.mean(), rtol=1e-12)


def test_what_was_read_at_one_position_is_not_used_at_another():
    """Between a step and the next look v is unknown: a loop that forgets to look gets NaN, never an old number."""
    pred, solver, x = correlated(), ancestral("model"), jnp.ones(SIZE)
    transition, moved = solver.step(pred, solver.init(pred, x, 0.3, jax.random.key(0)), 0.3, 0.4)
    assert float(transition.scale) > 0
    stale = solvers.arrive(pred, transition.mean, 0.4, moved.memory)
    assert np.isnan(solver.step(pred, stale, 0.4, 0.5)[0].scale)


@pytest.mark.parametrize(("size", "variance", "expected"), [
    (1, "auto", 1), (2, "auto", 0), (1, "model", 1), (4, "diagonal", 4), (5, "model", 1), (64, "diagonal", 1),
    (64, "reference", 0),
])  # fmt: skip
def test_products_with_the_jacobian_are_counted(size, variance, expected):
    """The probes that go through the model in one `arrive`, counted where they pass."""
    passed = []

    @jax.custom_jvp
    def spy(x):
        return 0.5 * x

    @spy.defjvp
    def rule(primals, tangents):
        jax.debug.callback(lambda z: passed.append(z.shape), tangents[0])
        return spy(primals[0]), 0.5 * tangents[0]

    pred = fk.Parameterization(PATH, "clean").predictor(lambda p, x, t, c: spy(x), None, (size,))
    solver = ancestral(variance)
    solver.init(pred, jnp.ones(size), 0.5, jax.random.key(0))
    jax.effects_barrier()
    assert solver.jvps((size,)) == expected
    assert sum(int(np.prod(shape[:-1])) for shape in passed) == expected


def test_integrate_draws_a_fresh_probe_for_every_sample_and_step():
    """A chain of a correlated law: the same under chunks, other under another key, no two samples alike in scale."""
    pred, grid = correlated(), fk.grid(4, PATH)
    run = lambda chunk, key=0: fk.integrate(  # noqa: E731
        jax.random.key(key), pred, ancestral("model"), grid, 32, chunk=chunk, collect=lambda s: s.memory.trace
    )
    (x, traces), (same, _) = run(None), run(8)
    assert np.allclose(x, same, atol=1e-5)
    assert len(np.unique(np.asarray(traces)[:, 1])) >= 10  # up to its sign a probe is one of 32
    assert not np.allclose(x, run(None, 1)[0])
