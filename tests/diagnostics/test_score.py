"""Exact scores leave no residual; fields that are the score of nothing, or of another path, do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import FkdiffError, diagnostics

PATHS = {"vp": fk.paths.variance_preserving, "linear": fk.paths.linear, "ve": fk.paths.variance_exploding}


def mixture(path):
    means = [[-2.0, 0.3, 0.0], [1.5, -1.0, 0.7]]
    return fk.targets.gaussian_mixture(means, [0.25, 0.64], [0.3, 0.7]).predictor(path)


def points(pred, t, count=6):
    noise = np.random.default_rng(0).normal(size=(count, *pred.shape))
    return jnp.asarray(float(pred.path.alpha(t)) * 1.2 * noise[::-1] + float(pred.path.sigma(t)) * noise)


def bent(pred, how):
    """The model with another field in the place of its score, velocity following."""

    def rule(x, t, cond):
        score = how(pred(x, t).score, x, t)
        velocity = pred.path.contraction(t) * x + pred.path.kappa(t) * score
        return pred(x, t)._replace(score=score, velocity=velocity)

    return fk.Predictor(pred.path, rule, pred.shape)


@pytest.mark.x64
@pytest.mark.parametrize("name", PATHS)
def test_exact_scores_leave_no_residual(name):
    path = PATHS[name]()
    pred = mixture(path)
    for share in (0.3, 0.6, 0.85):
        t = path.t_min + share * (path.t_max - path.t_min)
        x = points(pred, t)
        assert float(diagnostics.fokker_planck(pred, x, t).relative.max()) <= 1e-8
        assert float(diagnostics.conservativity(pred, x, t).relative.max()) <= 1e-10


@pytest.mark.x64
def test_a_sharper_score_is_a_gradient_but_solves_no_equation():
    """√ of the guidance heuristic: β s_t is conservative, and not the score of the noised power."""
    path = PATHS["vp"]()
    pred = mixture(path)
    t = 0.6
    x, wrong = points(pred, t), bent(pred, lambda s, x, t: 2.0 * s)
    assert float(diagnostics.conservativity(wrong, x, t).relative.max()) < 1e-10
    assert float(diagnostics.fokker_planck(wrong, x, t).relative.min()) > 0.05


@pytest.mark.x64
def test_a_curl_is_found_with_its_size():
    pred = mixture(PATHS["vp"]())
    turn = jnp.zeros((3, 3)).at[0, 1].set(0.7).at[1, 0].set(-0.7)
    x, wrong = points(pred, 0.6), bent(pred, lambda s, x, t: s + turn @ x)
    # J − Jᵀ = 2 turn, of Frobenius norm 2 · 0.7 · √2
    np.testing.assert_allclose(diagnostics.conservativity(wrong, x, 0.6).value, 2 * 0.7 * np.sqrt(2), rtol=1e-8)


@pytest.mark.x64
def test_probes_are_unbiased():
    pred = mixture(PATHS["vp"]())
    turn = jnp.zeros((3, 3)).at[0, 1].set(0.7).at[1, 2].set(0.4)
    wrong = bent(pred, lambda s, x, t: s + turn @ x)
    one = points(pred, 0.6)[:1]
    many = jnp.broadcast_to(one, (20_000, 3))
    exact = diagnostics.conservativity(wrong, one, 0.6)
    probed = diagnostics.conservativity(wrong, many, 0.6, key=jax.random.key(0))
    assert jnp.isclose(jnp.mean(probed.value**2), exact.value[0] ** 2, rtol=0.05)
    averaged = diagnostics.fokker_planck(wrong, one, 0.6, key=jax.random.key(1), num_probes=50_000)
    assert jnp.isclose(averaged.value[0], diagnostics.fokker_planck(wrong, one, 0.6).value[0], rtol=0.05)


def test_chunks_change_nothing_and_pictures_are_points():
    path = PATHS["vp"]()
    pred = fk.targets.gaussian(jnp.zeros(4), jnp.eye(4) * 2.0).predictor(path)
    picture = fk.Predictor(path, lambda x, t, cond: jax.tree.map(lambda v: v.reshape(2, 2), pred(x.ravel(), t)), (2, 2))
    x = jax.random.normal(jax.random.key(0), (5, 2, 2))
    whole = diagnostics.fokker_planck(picture, x, 0.5)
    parts = diagnostics.fokker_planck(picture, x, 0.5, chunk=2)
    np.testing.assert_allclose(whole.value, parts.value, atol=1e-4)
    assert float(whole.relative.max()) < 1e-2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda pred, x: (pred, x[0]), "takes examples of shape"),
        (lambda pred, x: (lambda x, t: x, x), "pass a Predictor"),
        (lambda pred, x: (fk.Predictor(pred.path, pred.rule, (20,)), jnp.zeros((2, 20))), "pass a key for probes"),
    ],
)
def test_what_is_no_point_is_refused(change, sentence):
    pred = mixture(PATHS["vp"]())
    pred, x = change(pred, jnp.zeros((2, 3)))
    with pytest.raises(FkdiffError, match=sentence):
        diagnostics.fokker_planck(pred, x, 0.5)
