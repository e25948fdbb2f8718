"""Classifier-free guidance as an operation on predictors."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff.paths as paths
from fkdiff.errors import FkdiffError
from fkdiff.prediction import Parameterization, guide
from fkdiff.targets import gaussian_mixture


@pytest.fixture
def pair():
    path = paths.variance_preserving()
    unconditional = gaussian_mixture([[-2.0], [1.5]], [0.25, 0.64], [0.3, 0.7]).predictor(path)
    conditional = gaussian_mixture([[-1.5], [2.0]], [0.49, 0.36], [0.6, 0.4]).predictor(path)
    return conditional, unconditional


@eqx.filter_jit
def evaluate(pred, x, t):
    return pred(x, t)


X, T = np.array([0.4], np.float32), np.float32(0.6)


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5, -0.5])
def test_every_view_is_the_same_linear_extrapolation(pair, scale):
    conditional, unconditional = (evaluate(p, jnp.asarray(X), T) for p in pair)
    guided = evaluate(guide(*pair, scale), jnp.asarray(X), T)
    for c, u, g in zip(conditional, unconditional, guided, strict=True):
        assert abs(g - ((1 - scale) * u + scale * c)).max() <= 3e-6
    # … so that the views still describe one prediction.
    path = pair[0].path
    assert abs(guided.score + guided.noise / path.sigma(T)).max() <= 1e-5
    assert abs(path.noised(guided.clean, guided.noise, T) - X).max() <= 1e-5


@pytest.mark.parametrize(("t", "inside"), [(0.3, False), (0.4, True), (0.5, True), (0.7, True), (0.71, False)])
def test_outside_the_interval_the_conditional_model_stands_alone(pair, t, inside):
    x = jnp.asarray(X)
    limited = evaluate(guide(*pair, 3.0, interval=(0.4, 0.7)), x, jnp.asarray(t))
    expected = evaluate(guide(*pair, 3.0) if inside else pair[0], x, jnp.asarray(t))
    assert abs(limited.score - expected.score).max() <= 2e-6


def test_a_new_scale_or_interval_traces_nothing(pair):
    traces = []

    @eqx.filter_jit
    def counted(pred, x):
        traces.append(1)
        return pred(x, 0.5).score

    for scale in (1, 2.0, 7.5):
        counted(guide(*pair, scale, interval=(0.1 * scale, 0.9)), jnp.asarray(X))
    assert len(traces) == 1


def test_gradient_in_the_scale_is_the_difference_of_the_models(pair):
    x = jnp.asarray(X)
    slope = jax.grad(lambda scale: guide(*pair, scale)(x, T).score[0])(2.0)
    assert abs(slope - (pair[0](x, T).score - pair[1](x, T).score)[0]) <= 1e-6


def test_a_condition_given_to_the_guided_model_reaches_its_conditional_half():
    def apply(params, x, t, cond):
        return x if cond is None else x + cond

    plain = Parameterization(paths.linear(), "clean").predictor(apply, None, (1,))
    guided = guide(plain, plain, 2.0).given(10.0)
    assert abs(guided(jnp.asarray(X), T).clean - (X + 20.0)).max() <= 1e-5


def test_models_that_cannot_be_mixed_are_refused(pair):
    two_dimensional = gaussian_mixture([[0.0, 1.0]], [1.0]).predictor(pair[0].path)
    with pytest.raises(FkdiffError, match="shape"):
        guide(two_dimensional, pair[1], 2.0)
    for path in (paths.linear(), paths.variance_preserving(0.1, 10.0)):
        with pytest.raises(FkdiffError, match="different paths"):
            guide(gaussian_mixture([[0.0]], [1.0]).predictor(path), pair[1], 2.0)
