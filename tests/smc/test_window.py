"""Resampling inside a window: none outside, the law unchanged, decorators pass the time on."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fkdiff import smc
from fkdiff.errors import FkdiffError
from fkdiff.smc.resamplers.resampling import Adaptive
from tests.smc import smc_chain as chain
from tests.smc import walks

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    "start, end, expected",
    [
        (0.0, 1.0, [True] * 5),
        (0.1, 0.5, [False, True, True, True, False]),  # ends are inside
        (0.2, 0.89, [False, False, True, True, False]),
        (0.6, 0.8, [False] * 5),
        (0.9, 1.0, [False] * 4 + [True]),
    ],
)
def test_no_resampling_outside_the_window(start, end, expected):
    out = smc.run_smc(KEY, walks.model(), walks.GRID, 64, resample=smc.within(smc.systematic, start, end))
    assert out.info.resampled.tolist() == expected
    assert out.scheme == "systematic"


def decorated(resampler, order):
    """Adaptive in a window, and a window that is adaptive."""
    if order == "outside":
        return smc.within(Adaptive(resampler, jnp.float32(0.9)), 1.0, 2.0)
    return Adaptive(smc.within(resampler, 1.0, 2.0), jnp.float32(0.9))


@pytest.mark.slow
@pytest.mark.parametrize("order", ["outside", "inside"])
def test_the_law_does_not_depend_on_the_window(order):
    rule = decorated(chain.Chosen(jnp.int32(2)), order)
    chain.check_unbiased(rule)
    happened = np.asarray(chain.chains(rule, 2**10, 0).info.resampled).mean(axis=0)
    assert (happened[[0, 3]] == 0).all()
    assert (happened[[1, 2]] > 0.1).all()


def test_decorators_pass_the_time_on_and_keep_the_family():
    log_weights = jnp.asarray([0.0, -3.0, -3.0, -3.0])
    for wrap in (
        lambda r: r,
        smc.adaptive,
        smc.stop_gradient,
        lambda r: smc.stop_gradient(smc.adaptive(r)),
        lambda r: smc.within(smc.adaptive(r), 0.0, 1.0),
    ):
        rule = wrap(smc.within(smc.stratified, 0.2, 0.4))
        assert rule.family == "stratified"
        times = jnp.asarray([0.1, 0.2, 0.3, 0.5])
        happened = eqx.filter_jit(lambda rule, ts: jax.vmap(lambda t: rule.at(t)(KEY, log_weights)[2])(ts))(rule, times)
        assert happened.tolist() == [False, True, True, False]
    assert smc.systematic.at(jnp.float32(0.3)) is smc.systematic


def test_a_traced_window_compiles_once():
    traces = []

    @eqx.filter_jit
    def run(key, start, end):
        traces.append(1)
        rule = smc.within(smc.systematic, start, end)
        return smc.run_smc(key, walks.model(), walks.GRID, 16, resample=rule).info.resampled

    assert run(KEY, jnp.float32(0.1), jnp.float32(0.5)).tolist() == [False, True, True, True, False]
    assert run(KEY, jnp.float32(0.4), jnp.float32(0.5)).tolist() == [False, False, False, True, False]
    assert len(traces) == 1
    model = walks.model()
    smc.run_smc(KEY, model, walks.GRID, 18, resample=smc.within(smc.systematic, 0.1, 0.5))
    before = len(walks.TRACES)
    smc.run_smc(KEY, model, walks.GRID, 18, resample=smc.within(smc.systematic, 0.3, 0.7))
    assert len(walks.TRACES) == before


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ((smc.systematic, 0.5, 0.4), "the window from start=0.5 to end=0.4 holds no time"),
        ((smc.systematic, float("nan"), 0.4), "start=nan must be a finite number"),
        ((smc.systematic, 0.1, [0.4, 0.5]), r"end has shape \(2,\)"),
        (("systematic", 0.1, 0.4), "resampler='systematic' is not a resampler"),
    ],
)
def test_wrong_arguments_are_refused_in_a_sentence(arguments, sentence):
    with pytest.raises(FkdiffError, match=sentence):
        smc.within(*arguments)


def test_without_a_time_it_is_refused():
    with pytest.raises(FkdiffError, match=r"call within\(\.\.\.\)\.at\(t\)"):
        smc.within(smc.systematic, 0.0, 1.0)(KEY, jnp.zeros(3))
