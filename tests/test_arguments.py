"""What a person types wrong at the front door: one sentence that names the argument and the next action."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff.core import number, whole

KEY = jax.random.key(0)
PATH = fk.paths.linear()
MIX = fk.targets.gaussian_mixture([[-2.0], [1.5]], [0.25, 0.64], [0.3, 0.7])
PRED = MIX.predictor(PATH)
HIDDEN = fk.Predictor(path=PATH, rule=PRED.rule, shape=PRED.shape)
GRID = fk.grid(4, PATH)
DDIM = fk.solvers.ddim(eta=1.0)
TARGET = fk.correctors.anneal(PRED, 2.0)
MODEL = TARGET.feynman_kac()


def reward(x):
    return x[0]


def numpy_reward(x):
    return np.sum(np.asarray(x))


WRONG = {
    "solver by name": (lambda: fk.integrate(KEY, PRED, "heun", GRID), "solver is a str; call one"),
    "solver not called": (lambda: fk.integrate(KEY, PRED, fk.solvers.heun, GRID), "solver is a function, heun"),
    "target as a model": (lambda: fk.integrate(KEY, TARGET, DDIM, GRID), "sampled by run_smc"),
    "untyped key": (lambda: fk.integrate(jax.random.PRNGKey(0), PRED, DDIM, GRID), "typed random key"),
    "keys as a key": (lambda: fk.integrate(jax.random.split(KEY), PRED, DDIM, GRID), "pass one key"),
    "no grid": (lambda: fk.integrate(KEY, PRED, DDIM, None), "grid is a NoneType"),
    "complex grid": (lambda: fk.integrate(KEY, PRED, DDIM, [1j, 2j]), "real times"),
    "True samples": (lambda: fk.integrate(KEY, PRED, DDIM, GRID, True), "num_samples=True"),
    "collect is a number": (lambda: fk.integrate(KEY, PRED, DDIM, GRID, 4, collect=3), "collect=3"),
    "a law as a model": (lambda: fk.log_prob(MIX, [[0.0]]), "a distribution has .predictor(path)"),
    "untyped probe key": (lambda: fk.log_prob(PRED, jnp.zeros((1, 1)), 3, "hutchinson"), "typed random key"),
    "empty chunk": (lambda: fk.log_prob(PRED, jnp.zeros((1, 1)), chunk=0), "chunk=0"),
    "resampler by name": (lambda: fk.run_smc(KEY, MODEL, GRID, 64, resample="systematic"), "not a resampler"),
    "resampler as a number": (lambda: fk.run_smc(KEY, MODEL, GRID, 64, resample=0.5), "adaptive(systematic"),
    "collector as a number": (lambda: fk.run_smc(KEY, MODEL, GRID, 64, collect=3), "collect=3"),
    "a target as a run": (lambda: fk.run_smc(KEY, TARGET, GRID, 64), "target.feynman_kac()"),
    "grid by name": (lambda: fk.run_smc(KEY, MODEL, "grid", 64), "real times"),
    "grid of a model": (lambda: fk.grid(4, PRED), "such as pred.path"),
    "infinite rho": (lambda: fk.grid(4, PATH, "power", rho=np.inf), "rho=inf"),
    "a model in place of a run": (lambda: fk.expectation(MODEL, reward), "what run_smc returned"),
    "replicates as a run": (lambda: fk.expectation(replicated(), reward), ".expectation(f)"),
    "draws of replicates": (lambda: fk.smc.resample(KEY, replicated(), 3), ".runs"),
    "draws without a key": (lambda: fk.smc.resample(0, replicated().population(0), 3), "typed random key"),
    "population 5 of 2": (lambda: replicated().population(5), "populations 0 to 1"),
    "steered target": (lambda: fk.steer(TARGET, DDIM, reward), "sampled by run_smc"),
    "steered law": (lambda: fk.steer(MIX, DDIM, reward), ".predictor(path)"),
    "steer by name": (lambda: fk.steer(PRED, "ddim", reward), "solver is a str"),
    "steer, swapped": (lambda: fk.steer(DDIM, PRED, reward), "pred is a Ddim"),
    "steer by a number": (lambda: fk.steer(PRED, DDIM, 3.0), "reward=3.0"),
    "ramp as a number": (lambda: fk.steer(PRED, DDIM, reward, 1.0), "ramp=1.0"),
    "NaN strength": (lambda: fk.steer(PRED, DDIM, reward, strength=np.nan), "strength=nan"),
    "NumPy reward": (lambda: fk.run_smc(KEY, fk.steer(PRED, DDIM, numpy_reward), GRID, 64), "fkdiff.steering.host"),
    "NumPy network": (lambda: fk.integrate(KEY, numpy_model(), DDIM, GRID), "jax.numpy"),
    "shape as a number": (lambda: fk.Parameterization(PATH).predictor(reward, (), 2), "tuple of axis lengths"),
    "draws of a law without a key": (lambda: MIX.sample(0, 4), "typed random key"),
    "law on no path": (lambda: MIX.predictor(PRED), "pass a path"),
}


def replicated():
    return fk.replicate(KEY, 2, MODEL, GRID, 16)


def numpy_model():
    return fk.Parameterization(PATH).predictor(lambda params, x, t, cond: np.asarray(x) * 2, (), (1,))


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_raise_one_sentence(case):
    wrong, words = WRONG[case]
    with pytest.raises(fk.FkdiffError) as raised:
        wrong()
    sentence = str(raised.value)
    assert words in sentence
    assert "\n" not in sentence
    assert len(sentence) < 400


def test_numbers_are_leaves_in_the_default_precision():
    assert number("x", 3).dtype == jnp.result_type(float)
    assert float(jax.jit(lambda v: 2 * number("x", v))(1.5)) == 3.0
    assert whole("n", np.int64(3)) == 3
    with pytest.raises(fk.FkdiffError, match="between 0 and 1"):
        number("x", 2.0, 0.0, 1.0)


# Under jit nothing can be refused, and the status carries the verdict.
WIDE, NARROW = (fk.targets.gaussian([0.0], v).predictor(PATH) for v in (4.0, 0.25))


@jax.jit
def traced_exponent(beta):
    model = fk.correctors.product([WIDE, NARROW], [2.0, beta]).feynman_kac()
    return fk.run_smc(KEY, model, GRID, 16).info.status


@jax.jit
def traced_grid(grid):
    steered = fk.run_smc(KEY, fk.steer(PRED, DDIM, reward), grid, 16).info.status
    hidden = fk.run_smc(KEY, fk.correctors.anneal(HIDDEN, 2.0).feynman_kac(), grid, 16).info.status
    return steered, hidden


def test_traced_exponents_that_leave_no_target_are_in_the_status():
    assert int(traced_exponent(-0.05)) == fk.core.Status.OK
    assert int(traced_exponent(-1.5)) == fk.core.Status.NOT_NORMALISABLE


@pytest.mark.parametrize("shift", ["late", pytest.param("beyond", marks=pytest.mark.slow)])
def test_traced_grids_that_leave_the_path_are_in_the_status(shift):
    fine, wrong = GRID, GRID[1:] if shift == "late" else GRID.at[-1].add(1e-3)
    assert [int(s) for s in traced_grid(fine)] == [fk.core.Status.OK] * 2
    assert [int(s) for s in traced_grid(wrong)] == [fk.core.Status.BAD_GRID] * 2
