"""The driver of kernels: what it keeps, what it says, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import mcmc

KEY = jax.random.key(0)


def normal(x):
    return -0.5 * jnp.sum(x**2)


def position_of(state, info):
    return state.position


def test_a_chain_is_its_steps_and_goes_on_from_its_state():
    kernel = mcmc.mala(normal, 0.4)
    run = fk.run_chain(KEY, kernel, jnp.ones(2), 5, collect=position_of)
    assert run.collected.shape == (5, 2)
    assert np.array_equal(run.position, run.collected[-1])
    state = kernel.init(KEY, jnp.ones(2))
    for number in range(5):
        state, _ = kernel.step(jax.random.fold_in(fk.core.stream(KEY, 3), number), state)
    assert np.abs(np.asarray(state.position - run.position)).max() <= 1e-6
    assert 0 < float(run.acceptance) <= 1
    assert int(run.divergences) == 0
    assert fk.check(run) is run


def test_a_chain_does_not_depend_on_how_many_run_beside_it():
    kernel, starts = mcmc.random_walk(normal, 0.8), jnp.arange(6.0).reshape(3, 2)
    many = fk.run_chain(KEY, kernel, starts, 4, collect=position_of, num_chains=3)
    fewer = fk.run_chain(KEY, kernel, starts[:2], 4, collect=position_of, num_chains=2)
    assert many.collected.shape == (4, 3, 2)
    assert np.abs(np.asarray(many.collected[:, :2] - fewer.collected)).max() <= 1e-6
    assert not np.array_equal(many.collected[:, 0], many.collected[:, 1])


@pytest.mark.slow
def test_long_chains_reach_the_law():
    run = fk.run_chain(KEY, mcmc.hmc(normal, 0.6, 3), 3 * jnp.ones((64, 2)), 600, collect=position_of, num_chains=64)
    draws = np.asarray(run.collected[100:], dtype=np.float64)
    assert abs(draws.mean()) <= 0.03
    assert abs(draws.var() - 1) <= 0.05


def test_problems_are_said():
    with pytest.raises(fk.FkdiffError, match="stuck-chains"):
        fk.check(fk.run_chain(KEY, mcmc.mala(lambda x: jnp.sum(jnp.log(x)), 0.1), -jnp.ones((3, 2)), 3, num_chains=3))
    still, off = (pytest.warns(fk.FkdiffWarning, match=entry) for entry in ("stuck-chains", "divergent-steps"))
    with still, off:
        fk.check(fk.run_chain(KEY, mcmc.mala(lambda x: 1e4 * normal(x), 0.1), jnp.ones(2), 20))


def ragged(x):
    return x


def steep(x):
    return jnp.where(x[0] > 0, jnp.inf, 0.0)


POINT = jnp.ones(2)
WRONG = {
    "vector": (lambda: mcmc.mala(ragged, 0.1).init(KEY, POINT), "must return one real number"),
    "NaN": (lambda: mcmc.hmc(lambda x: jnp.sum(x) * jnp.nan, 0.1, 2).init(KEY, POINT), "at the start is nan"),
    "infinite": (lambda: mcmc.random_walk(steep, 0.1).init(KEY, POINT), "at the start is inf"),
    "integers": (lambda: mcmc.ula(normal, 0.1).init(KEY, jnp.arange(2)), "dtype int32"),
    "no array": (lambda: mcmc.ula(normal, 0.1).init(KEY, ()), "holds no array"),
    "step 0": (lambda: mcmc.ula(normal, 0.0), "step_size=0.0 must be positive"),
    "step −1": (lambda: mcmc.hmc(normal, -1.0, 2), "step_size=-1.0"),
    "step NaN": (lambda: mcmc.mala(normal, jnp.nan), "step_size=nan"),
    "scale": (lambda: mcmc.random_walk(normal, 0), "scale=0.0"),
    "leapfrogs": (lambda: mcmc.hmc(normal, 0.1, 0), "num_steps=0"),
    "jitter": (lambda: mcmc.hmc(normal, 0.1, 2, jitter=1.0), "jitter=1.0 must be below 1"),
    "mass sign": (lambda: mcmc.hmc(normal, 0.1, 2, [1.0, -1.0]), "not positive definite"),
    "mass matrix": (lambda: mcmc.mala(normal, 0.1, [[1.0, 2.0], [2.0, 1.0]]), "not positive definite"),
    "mass shape": (lambda: mcmc.mala(normal, 0.1, [1.0, 1.0, 1.0]).init(KEY, POINT), r"shape \(2,\)"),
    "friction": (lambda: mcmc.underdamped(normal, 0.1, 0.0), "friction=0"),
    "scheme": (lambda: mcmc.underdamped(normal, 0.1, 1.0, "baobab"), 'did you mean "baoab"'),
    "smoothing": (lambda: mcmc.myula(normal, mcmc.soft_threshold, 0.1, 0.0), "smoothing=0"),
    "levels": (lambda: mcmc.annealed_langevin(lambda x, s: -x, [0.1, 1.0], 0.1, 2), "levels"),
    "score": (
        lambda: (kernel := mcmc.annealed_langevin(lambda x, s: x[0], [1.0], 0.1, 2)).step(KEY, kernel.init(KEY, POINT)),
        r"score\(x, sigma\)",
    ),
    "no kernel": (lambda: fk.run_chain(KEY, normal, POINT, 3), "kernel is a function"),
    "no steps": (lambda: fk.run_chain(KEY, mcmc.ula(normal, 0.1), POINT, 0), "num_steps=0"),
    "negative": (lambda: fk.run_chain(KEY, mcmc.ula(normal, 0.1), POINT, -2), "num_steps=-2"),
    "chains": (lambda: fk.run_chain(KEY, mcmc.ula(normal, 0.1), POINT, 3, num_chains=3), "num_chains=3"),
    "collect": (lambda: fk.run_chain(KEY, mcmc.ula(normal, 0.1), POINT, 3, collect="x"), "collect='x'"),
    "target": (lambda: mcmc.dual_averaging(KEY, lambda h: mcmc.ula(normal, h), POINT, target=1.0), "target=1.0"),
    "unadjusted": (lambda: mcmc.dual_averaging(KEY, lambda h: mcmc.ula(normal, h), POINT), "accepts everything"),
    "the key second": (lambda: mcmc.dual_averaging(lambda h: mcmc.ula(normal, h), KEY, POINT), "the key comes first"),
    "one draw": (lambda: mcmc.mass_from_window(jnp.ones((1, 2))), "at least 2 positions"),
    "weights": (lambda: mcmc.mass_from_population(jnp.ones((4, 2)), jnp.zeros(3)), r"shape \(3,\) for 4"),
    "ladder": (
        lambda: mcmc.parallel_tempering(normal, normal, lambda f: mcmc.mala(f, 0.1), [0.0, 0.5, 0.5]),
        "increase strictly",
    ),
    "one rung": (lambda: mcmc.parallel_tempering(normal, normal, lambda f: mcmc.mala(f, 0.1), [1.0]), "at least two"),
    "a kernel": (
        lambda: mcmc.parallel_tempering(normal, normal, mcmc.mala(normal, 0.1), [0.0, 1.0]),
        "not a function of the log-density",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_are_one_sentence(case):
    wrong, words = WRONG[case]
    with pytest.raises(fk.FkdiffError, match=words) as raised:
        wrong()
    assert "\n" not in str(raised.value)


def test_drivers_take_options_by_name_alone():
    with pytest.raises(TypeError, match="positional"):
        fk.run_chain(KEY, mcmc.ula(normal, 0.1), POINT, 3, position_of)
    with pytest.raises(TypeError, match="positional"):
        mcmc.dual_averaging(KEY, lambda h: mcmc.mala(normal, h), POINT, 10)


def test_the_old_name_of_an_adaptation_warns_and_is_the_new_one():
    with pytest.warns(DeprecationWarning, match=r"now fkdiff\.mcmc\.Adaptation"):
        assert mcmc.Tuned is mcmc.Adaptation
    with pytest.raises(AttributeError, match="no attribute 'Tuner'"):
        _ = mcmc.Tuner
