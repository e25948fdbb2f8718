"""Wrong arguments: one sentence each, that names the next action."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
import fkdiff.correctors as fkc

PATH = fk.paths.linear()
PRED = fk.targets.gaussian_mixture([[-2.0], [1.5]], [0.25, 0.64], [0.3, 0.7]).predictor(PATH)
HIDDEN = fk.Predictor(path=PATH, rule=PRED.rule, shape=PRED.shape)  # as every learned model: no density
WIDE = fk.targets.gaussian([0.0], 4.0).predictor(PATH)
NARROW = fk.targets.gaussian([0.0], 0.25).predictor(PATH)
OTHER = fk.targets.gaussian([0.0], 1.0).predictor(fk.paths.cosine())
PLANE = fk.targets.gaussian([0.0, 0.0], 1.0).predictor(PATH)


def host_reward(x):
    return float(np.sum(np.asarray(x)))


def called_back(x):
    return jax.pure_callback(lambda v: np.float32(v.sum()), jax.ShapeDtypeStruct((), jnp.float32), x)


WRONG = {
    "B is zero": (lambda: fkc.product([PRED, WIDE], [1.0, -1.0]), "B must be positive"),
    "B is negative": (lambda: fkc.anneal(PRED, -0.5), "B must be positive"),
    "exponent is NaN": (lambda: fkc.anneal(PRED, float("nan")), "finite number"),
    "narrow negative power": (lambda: fkc.product([WIDE, NARROW], [2.0, -1.5]), "normalisable"),
    "not a model": (lambda: fkc.anneal(lambda x: x, 2.0), "pass a Predictor"),
    "no models": (lambda: fkc.product([]), "at least one model"),
    "exponents missing": (lambda: fkc.product([PRED, WIDE], [1.0]), "one exponent per model"),
    "shapes differ": (lambda: fkc.product([PRED, PLANE]), "different shapes"),
    "vector reward": (lambda: fkc.tilt(PRED, lambda x: 2 * x), "one number in nats"),
    "NaN reward": (lambda: fkc.tilt(PRED, lambda x: jnp.log(x[0])), "must be finite"),
    "infinite reward": (lambda: fkc.tilt(PRED, lambda x: jnp.sum(x) / 0.0 * jnp.sign(x[0])), "must be finite"),
    "host reward": (lambda: fkc.tilt(PRED, host_reward), "fkdiff.steer"),
    "callback reward": (lambda: fkc.tilt(PRED, called_back), "fkdiff.steer"),
    "step reward": (lambda: fkc.tilt(PRED, lambda x: jnp.sign(x[0])), "fkdiff.steer"),
    "ramp ends low": (lambda: fkc.tilt(PRED, lambda x: x[0], lambda s: 0.5 * s), "must end at 1"),
    "space": (lambda: fkc.tilt(PRED, lambda x: x[0], on="noise"), "not one of x, clean"),
    "step": (lambda: fkc.anneal(PRED, 2.0).feynman_kac("huen"), 'did you mean "heun"'),
    "control": (lambda: fkc.anneal(PRED, 2.0).feynman_kac(control="scores"), 'did you mean "score"'),
    "divergence": (lambda: fkc.anneal(PRED, 2.0).feynman_kac(divergence="exct"), 'did you mean "exact"'),
    "negative noise": (lambda: fkc.anneal(PRED, 2.0).feynman_kac(noise=-1.0), "at least 0: ν ≥ 0"),
    "infinite noise": (lambda: fkc.anneal(PRED, 2.0).feynman_kac(noise=jnp.inf), "finite number"),
    "several exponents": (lambda: fkc.anneal(PRED, jnp.array([1.0, 2.0])), "one number"),
    "no exponent": (lambda: fkc.anneal(PRED, None), "not a number"),
    "complex exponent": (lambda: fkc.anneal(PRED, 1j), "real number"),
    "one model as a list": (lambda: fkc.product(PRED), "a list of models"),
    "NaN strength": (lambda: fkc.tilt(PRED, lambda x: x[0], strength=jnp.nan), "strength=nan"),
    "complex reward": (lambda: fkc.tilt(PRED, lambda x: jax.lax.complex(x[0], x[0])), "real number"),
    "forbidding reward": (lambda: fkc.tilt(PRED, lambda x: jnp.where(x[0] > 0, x[0], -jnp.inf)), "where −inf forbids"),
    "ramp is a number": (lambda: fkc.tilt(PRED, lambda x: x[0], 1.0), "not a function"),
    "negative reference": (lambda: fkc.anneal(PRED, 2.0).with_reference(0.0, -1.0), "variance=-1"),
    "untyped key of a reference": (lambda: fkc.anneal(PRED, 2.0).fitted_reference(0), "typed random key"),
    "untyped key of a pilot": (
        lambda: fk.smc.freeze(jax.random.PRNGKey(0), fkc.anneal(PRED, 2.0).feynman_kac(), fk.grid(4, PATH)),
        "typed random key",
    ),
    "witness of nothing": (lambda: fkc.witness(jax.random.key(0), fkc.anneal(PRED, 2.0), None, [[0.0]]), "feynman_kac"),
    "True as a count": (lambda: fkc.anneal(PRED, 2.0).grid(True), "num_steps=True"),
    "noisy rk4": (lambda: fkc.anneal(PRED, 2.0).feynman_kac("rk4", 1.0), "deterministic flow"),
    "two paths": (lambda: fkc.product([PRED, OTHER]).feynman_kac("exponential", 1.0), 'use step="heun"'),
    "late start without a density": (
        lambda: fk.run_smc(jax.random.key(0), fkc.anneal(HIDDEN, 2.0).feynman_kac(), fk.grid(8, PATH)[3:], 64),
        "start the grid there",
    ),
    "negative refresh": (lambda: fkc.anneal(PRED, 2.0).feynman_kac(refresh=-1), "refresh=-1"),
    "no chunk": (lambda: fkc.anneal(PRED, 2.0).feynman_kac(chunk=0), "chunk=0"),
    "no steps": (lambda: fkc.anneal(PRED, 2.0).grid(0), "num_steps=0"),
    "nothing to freeze": (
        lambda: fk.smc.freeze(jax.random.key(0), fkc.anneal(PRED, 2.0).feynman_kac(control=False), fk.grid(4, PATH)),
        "nothing of this model adapts to its population",
    ),
    "grid outside": (
        lambda: fk.run_smc(jax.random.key(0), fkc.anneal(PRED, 2.0).feynman_kac(), jnp.array([0.0, 0.5, 1.0]), 64),
        "outside",
    ),
    "grid unsorted": (
        lambda: fk.run_smc(jax.random.key(0), fkc.anneal(PRED, 2.0).feynman_kac(), jnp.array([0.1, 0.6, 0.5]), 64),
        "strictly",
    ),
    "one particle": (
        lambda: fk.run_smc(jax.random.key(0), fkc.anneal(PRED, 2.0).feynman_kac(), fk.grid(4, PATH), 1),
        "num_particles",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_raise_one_sentence(case):
    wrong, words = WRONG[case]
    with pytest.raises(fk.FkdiffError) as raised:
        wrong()
    sentence = str(raised.value)
    assert words in sentence
    assert "\n" not in sentence


def test_nested_guidance_is_allowed():
    narrow = fk.targets.gaussian([0.5], 0.5).predictor(PATH)
    assert fkc.guidance(narrow, WIDE, 3.0).betas.shape == (2,)


def test_traced_exponents_fail_by_status():
    @jax.jit
    def run(beta):
        model = fkc.anneal(PRED, beta).feynman_kac("euler", control="none")
        return fk.run_smc(jax.random.key(0), model, fk.grid(4, PATH), 16)

    fk.check(run(jnp.asarray(1.5)))
    with pytest.raises(fk.FkdiffError, match="normalisable"):
        fk.check(run(jnp.asarray(-0.5)))


def test_published_noise_that_is_too_low_warns():
    target = fkc.anneal(PRED, 2.0)
    with pytest.warns(fk.FkdiffWarning, match="infinite variance"):
        target.feynman_kac("euler", 1.0, control=False, gauge="published")
    target.feynman_kac("euler", 1.5, control=False, gauge="published")


def test_reward_that_breaks_on_the_way_is_reported():
    def reward(x):
        return jnp.where(jnp.abs(x[0]) > 30, jnp.nan, -(x[0] ** 2))

    far = fk.targets.gaussian([60.0], 1.0).predictor(PATH)
    out = fk.run_smc(jax.random.key(0), fkc.tilt(far, reward).feynman_kac("euler"), fk.grid(16, PATH), 16)
    with pytest.raises(fk.FkdiffError, match="NaN"):
        fk.check(out)


def test_noise_that_nobody_set_is_known_to_be_zero_inside_jit_too():
    @jax.jit
    def facts(beta):
        model = fkc.anneal(PRED, beta).feynman_kac("rk4")
        return jnp.asarray(model.deterministic), jnp.asarray(model.refresh_moves)

    deterministic, moves = facts(jnp.asarray(2.0))
    assert bool(deterministic)
    assert int(moves) == fkc.anneal(PRED, 2.0).feynman_kac("rk4").refresh_moves > 0


@pytest.mark.slow
def test_a_grid_for_models_on_several_paths():
    target = fkc.product([PRED, OTHER])
    grid = target.grid(16)
    assert np.all(np.diff(grid) > 0)
    assert (grid[0], grid[-1]) == target.time_range
    fk.check(fk.run_smc(jax.random.key(0), target.feynman_kac(), grid, 64))
    np.testing.assert_allclose(fkc.anneal(PRED, 2.0).grid(8), fk.grid(8, PATH), atol=1e-6)
