"""The facts in the docstrings of targets, by quadrature, linear algebra and minimisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.stats

import fkdiff as fk
from fkdiff import targets

KEY = jax.random.key(0)
pytestmark = pytest.mark.x64


def mass(log_density, box, points=801):
    """∫∫ over a box, by the trapezoidal rule."""
    axes = [np.linspace(*side, points) for side in box]
    grid = jnp.asarray(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2))
    values = np.exp(np.asarray(jax.vmap(log_density)(grid))).reshape(points, points)
    return scipy.integrate.trapezoid(scipy.integrate.trapezoid(values, axes[1]), axes[0])


@pytest.mark.parametrize(
    "law, box",
    [
        (lambda: targets.banana(0.3, 2.0).log_prob, [(-20, 20), (-15, 130)]),
        (
            lambda: targets.student_t_mixture([[0.0, 1.0], [3.0, -2.0]], [0.5, 1.5], [1.0, 3.0], 5.0).log_prob,
            [(-40, 40), (-40, 40)],
        ),
    ],
    ids=["banana", "student_t"],
)
def test_normalised_laws_have_mass_one(law, box):
    assert abs(mass(law(), box, 1201) - 1) <= 5e-3


def test_double_wells():
    law = targets.double_wells()
    assert abs(law.log_normalizer + 0.54106) <= 1e-5
    pair = targets.double_wells(2, 1.5)
    assert abs(np.log(mass(pair.log_density, [(-3, 3), (-3, 3)])) - pair.log_normalizer) <= 1e-5
    draws = np.asarray(law.sample(KEY, 20_000))
    assert abs(np.mean(draws**2) - law.second_moment) <= 5 * np.std(draws**2) / np.sqrt(draws.size)
    assert np.abs((draws > 0).mean(axis=0) - 0.5).max() <= 5 * 0.5 / np.sqrt(20_000)


def test_many_well():
    law = targets.many_well(1)
    assert abs(np.log(mass(law.log_density, [(-4, 4), (-8, 8)])) - law.log_normalizer) <= 1e-6
    assert abs(law.log_normalizer - 10.29348) <= 1e-5
    right = mass(law.log_density, [(0, 4), (-8, 8)]) / np.exp(law.log_normalizer)
    assert abs(right - law.right_share) <= 1e-4
    assert abs(law.right_share - 0.84431) <= 1e-5
    draws = targets.many_well(3).sample(KEY, 20_000)
    assert draws.shape == (20_000, 6)
    x = np.linspace(-4, 4, 100_001)
    cdf = np.cumsum(np.exp(-(x**4) + 6 * x**2 + x / 2))
    u = np.interp(np.asarray(draws[:, 2]), x, cdf / cdf[-1])
    assert scipy.stats.kstest(u, "uniform").pvalue >= 1e-6
    shares = np.asarray(jax.vmap(targets.many_well(3).right_wells)(draws)).mean(axis=0)
    assert np.abs(shares - law.right_share).max() <= 5 * 0.5 / np.sqrt(20_000)


@pytest.mark.slow
@pytest.mark.parametrize(
    "law, mean, covariance",
    [
        (lambda: targets.banana(0.3, 2.0), np.zeros(2), lambda law: np.asarray(law.covariance)),
        (
            lambda: targets.student_t_mixture([[0.0, 1.0], [3.0, -2.0]], [0.5, 1.5], [1.0, 3.0], 12.0),
            np.array([2.25, -1.25]),
            lambda law: None,
        ),
    ],
    ids=["banana", "student_t"],
)
def test_draws_have_the_stated_moments_and_density(law, mean, covariance):
    law = law()
    draws = np.asarray(law.sample(KEY, 200_000))
    spread = draws.std(axis=0) / np.sqrt(len(draws))
    assert np.all(np.abs(draws.mean(axis=0) - mean) <= 5 * spread)
    expected = covariance(law)
    if expected is not None:
        assert np.abs(np.cov(draws.T) / np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
                      - expected / np.sqrt(np.outer(np.diag(expected), np.diag(expected)))).max() <= 0.03  # fmt: skip
    # The density of the draws: E[q/p] = 1 for a narrower normalised q.
    centre, scale = draws.mean(axis=0), 0.5 * draws.std(axis=0)
    q = scipy.stats.norm(centre, scale).logpdf(draws).sum(axis=1)
    ratio = np.exp(q - np.asarray(jax.vmap(law.log_prob)(jnp.asarray(draws))))
    assert abs(ratio.mean() - 1) <= 5 * ratio.std() / np.sqrt(len(draws))


def test_funnel_draws():
    draws = np.asarray(targets.funnel(4).sample(KEY, 50_000))
    assert scipy.stats.kstest(draws[:, 0] / 3, "norm").pvalue >= 1e-6
    assert scipy.stats.kstest(draws[:, 2] * np.exp(-draws[:, 0] / 2), "norm").pvalue >= 1e-6
    x = draws[0]
    expected = scipy.stats.norm.logpdf(x[0], 0, 3) + scipy.stats.norm.logpdf(x[1:], 0, np.exp(x[0] / 2)).sum()
    assert abs(float(targets.funnel(4).log_prob(jnp.asarray(x))) - expected) <= 1e-10


def test_gmm40_is_forty_modes_in_a_box():
    law = targets.gmm40()
    assert law.means.shape == (40, 2)
    assert np.abs(np.asarray(law.means)).max() <= 40
    assert np.abs(np.asarray(law.weights) - 1 / 40).max() <= 1e-12
    assert np.abs(np.sqrt(np.asarray(law.variances)) - 1.31326).max() <= 1e-5


def test_logistic_regression_is_the_data_s():
    from sklearn.datasets import load_breast_cancer

    law = targets.logistic_regression(2.0)
    raw, labels = load_breast_cancer(return_X_y=True)
    features = np.concatenate([np.ones((569, 1)), scipy.stats.zscore(raw, axis=0)], axis=1)
    x = np.linspace(-1, 1, 31)
    prior = scipy.stats.norm.logpdf(x, 0, 2).sum()
    probability = scipy.special.expit(features @ x)
    likelihood = scipy.stats.bernoulli.logpmf(labels, probability).sum()
    assert abs(float(law.log_prior(jnp.asarray(x))) - prior) <= 1e-9
    assert abs(float(law.log_likelihood(jnp.asarray(x))) - likelihood) <= 1e-8 * abs(likelihood)
    assert abs(float(law.log_density(jnp.asarray(x))) - prior - likelihood) <= 1e-8 * abs(likelihood)
    assert jax.vmap(law.sample_prior)(jax.random.split(KEY, 3)).shape == (3, 31)


@pytest.mark.slow
@pytest.mark.parametrize("centred", [False, True])
def test_eight_schools_by_scipy_and_by_quadrature(centred):
    law = targets.eight_schools(centred)
    norm, y, s = scipy.stats.norm.logpdf, np.array([28, 8, -3, 7, -1, 1, 18, 12.0]), None
    s = np.array([15, 10, 16, 11, 9, 11, 10, 18.0])
    mu, log_tau, rest = 1.7, 0.6, np.linspace(-2, 3, 8)
    tau = np.exp(log_tau)
    theta = rest if centred else mu + tau * rest
    effects = norm(rest, mu, tau).sum() if centred else norm(rest).sum()
    prior = norm(mu, 0, 5) + scipy.stats.halfcauchy.logpdf(tau, 0, 5) + log_tau + effects
    x = jnp.asarray(np.concatenate([[mu, log_tau], rest]))
    assert abs(float(law.log_prior(x)) - prior) <= 1e-10
    assert abs(float(law.log_likelihood(x)) - norm(y, theta, s).sum()) <= 1e-10

    m, t = np.linspace(-30, 40, 701)[:, None], np.linspace(-12, 9, 1401)[None]
    joint = norm(m, 0, 5) + scipy.stats.halfcauchy.logpdf(np.exp(t), 0, 5) + t
    joint = joint + sum(norm(a, m, np.sqrt(b**2 + np.exp(2 * t))) for a, b in zip(y, s, strict=True))
    p = np.exp(joint)
    facts = np.log(p.sum() * 0.1 * 0.015), (p * m).sum() / p.sum(), (p * np.exp(t)).sum() / p.sum()
    assert np.abs(np.array(facts) - [-31.3113, 4.397, 3.598]).max() <= 1e-3

    draws = np.asarray(jax.vmap(law.sample_prior)(jax.random.split(KEY, 20_000)))
    assert scipy.stats.kstest(np.exp(draws[:, 1]), scipy.stats.halfcauchy(0, 5).cdf).pvalue >= 1e-6
    centre = (draws[:, 4] - draws[:, 0]) / np.exp(draws[:, 1]) if centred else draws[:, 4]
    assert scipy.stats.kstest(centre, "norm").pvalue >= 1e-6


@pytest.mark.slow
def test_free_fields_have_their_determinant():
    law = targets.phi4(3, 0.7, 0.0)
    precision = -np.asarray(jax.hessian(lambda f: law.log_density(f.reshape(3, 3)))(jnp.zeros(9)))
    log_z = 0.5 * (9 * np.log(2 * np.pi) - np.linalg.slogdet(precision)[1])
    assert abs(law.free_log_normalizer - log_z) <= 1e-10
    field = jax.random.normal(KEY, (3, 3))
    quartic = targets.phi4(3, 0.7, 1.3)
    gap = float(quartic.action(field) - law.action(field))
    assert abs(gap - 1.3 * float(jnp.sum(field**4))) <= 1e-10
    assert abs(float(quartic.action(-field) - quartic.action(field))) <= 1e-12
    assert abs(float(quartic.action(jnp.roll(field, 1, 0)) - quartic.action(field))) <= 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("make", [targets.double_well_4, targets.lennard_jones_13])
def test_clusters_do_not_know_where_they_are(make):
    law = make()
    n, dim = law.shape
    x = 2.0 * jax.random.normal(KEY, law.shape)
    turn, _ = np.linalg.qr(np.asarray(jax.random.normal(jax.random.key(1), (dim, dim))))
    for moved in (x + 3.0, x @ turn, x[::-1], -x):
        assert abs(float(law.energy(moved) - law.energy(x))) <= 1e-9 * abs(float(law.energy(x)))
    away = float(law.log_density(x + 1.0) - law.log_density(x))
    mean = np.asarray(x).mean(axis=0)
    assert abs(away + 0.5 * n * (((mean + 1) ** 2).sum() - (mean**2).sum())) <= 1e-9 * abs(float(law.energy(x)))


@pytest.mark.slow
def test_pairs_and_clusters_have_their_minima():
    x = np.asarray(3.0 * jax.random.normal(KEY, (4, 2)))
    gaps = [np.linalg.norm(x[i] - x[j]) - 4 for i in range(4) for j in range(i)]
    by_hand = sum(-4 * gap**2 + 0.9 * gap**4 for gap in gaps)
    assert abs(2 * float(targets.double_well_4(2.0).energy(jnp.asarray(x))) - by_hand) <= 1e-9 * abs(by_hand)
    best = np.sqrt(20 / 9)
    assert abs(-4 * best**2 + 0.9 * best**4 + 4.444) <= 1e-3
    free = targets.lennard_jones_13(2.0, 0.0)
    start = np.asarray(targets.icosahedron())
    slope = jax.jit(jax.grad(free.energy))
    found = scipy.optimize.minimize(
        lambda v: float(free.energy(jnp.asarray(v.reshape(13, 3)))),
        start.ravel(),
        jac=lambda v: np.asarray(slope(jnp.asarray(v.reshape(13, 3)))).ravel(),
    )
    assert abs(found.fun / 2 + 44.326801) <= 1e-5
    trapped = targets.lennard_jones_13(2.0, 3.0)
    assert abs(float(trapped.energy(start) - free.energy(start)) - 1.5 * float((start**2).sum())) <= 1e-9


def test_wrong_arguments_are_one_sentence():
    with pytest.raises(fk.FkdiffError, match="dim=1"):
        targets.funnel(1)
    with pytest.raises(fk.FkdiffError, match="scale=0"):
        targets.banana(0.1, 0.0)
    with pytest.raises(fk.FkdiffError, match=r"\(K, d\), \(K,\), \(K,\)"):
        targets.student_t_mixture([[0.0]], [1.0, 2.0], [1.0])
    with pytest.raises(fk.FkdiffError, match="dof=0"):
        targets.student_t_mixture([[0.0]], [1.0], [1.0], 0.0)
