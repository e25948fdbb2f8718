"""`Predictor`: one example, a bound condition, and errors in one sentence."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fkdiff.errors import FkdiffError
from fkdiff.paths import linear
from fkdiff.prediction import Parameterization
from fkdiff.targets import gaussian_mixture


def apply(params, x, t, cond):
    shift = 0.0 if cond is None else cond["shift"]
    return params["a"] * x + shift


def network(shape=(3,), cond=None):
    form = Parameterization(linear(), "clean")
    return form.predictor(apply, {"a": jnp.asarray(0.5)}, shape, cond)


def test_a_batch_is_refused_and_the_sentence_says_vmap():
    pred = network()
    with pytest.raises(FkdiffError, match=r"x has shape \(7, 3\).*\(3,\).*jax.vmap"):
        pred(jnp.zeros((7, 3)), 0.5)
    assert jax.vmap(pred, (0, None))(jnp.zeros((7, 3)), 0.5).clean.shape == (7, 3)


def test_a_density_takes_one_example_too():
    pred = gaussian_mixture([[0.0, 0.0]], [1.0]).predictor(linear())
    with pytest.raises(FkdiffError, match=r"x has shape \(2, 2\)"):
        pred.log_prob(jnp.zeros((2, 2)), 0.5)


def test_a_model_without_a_density_says_where_to_get_one():
    with pytest.raises(FkdiffError, match=r"fkdiff\.log_prob"):
        network().log_prob(jnp.zeros(3), 0.5)


def test_a_network_of_the_wrong_shape_is_named():
    form = Parameterization(linear(), "clean")
    pred = form.predictor(lambda params, x, t, cond: x[None], None, (3,))
    with pytest.raises(FkdiffError, match=r"returned shape \(1, 3\).*shape \(3,\)"):
        pred(jnp.zeros(3), 0.5)


def test_given_binds_rebinds_and_unbinds():
    x = jnp.ones(3)
    plain = network()
    bound = plain.given({"shift": 2.0})
    again = bound.given({"shift": jnp.asarray(3.0)})
    values = [float(p(x, 0.5).clean[0]) for p in (plain, bound, again, again.given(None))]
    assert values == [0.5, 2.5, 3.5, 0.5]
    assert float(network(cond={"shift": 2.0})(x, 0.5).clean[0]) == 2.5
    assert float(plain(x, 0.5).clean[0]) == 0.5  # the original is untouched


def test_given_keeps_the_density_slot():
    """Both the condition and the density may be None: binding one must not touch the other."""
    pred = gaussian_mixture([[0.0]], [1.0]).predictor(linear())
    assert pred.given(1).log_density is not None
    assert network().given({"shift": 1.0}).log_density is None


def test_a_new_label_or_parameter_traces_nothing():
    traces = []

    @eqx.filter_jit
    def evaluate(pred, x, t):
        traces.append(1)
        return pred(x, t).clean

    pred = network()
    for shift in (1, 2, 3):
        evaluate(pred.given({"shift": float(shift)}), jnp.ones(3), jnp.asarray(0.5))
    evaluate(
        eqx.tree_at(lambda p: p.rule.params["a"], pred, jnp.asarray(0.9)).given({"shift": 0.0}),
        *[jnp.ones(3), jnp.asarray(0.5)],
    )
    assert len(traces) == 1


def test_a_python_time_is_as_good_as_an_array():
    pred = gaussian_mixture([[0.4]], [1.0]).predictor(linear())
    values = [pred(jnp.ones(1), t).clean for t in (0.5, np.float64(0.5), jnp.asarray(0.5))]
    assert values[0] == values[1] == values[2]
