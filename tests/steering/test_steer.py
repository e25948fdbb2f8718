"""Every way to steer has the law of `tilted_chain`; what a reward may be, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff.smc.combinators._rewarded import Carrying
from tests.steering.tilted_chain import PATH, PRED, REWARDS, SOLVER, STEPS, WAYS, check_law, slope


@pytest.fixture(scope="module")
def base():
    return np.asarray(fk.integrate(jax.random.key(99), PRED, SOLVER, fk.grid(STEPS, PATH), 2**16))


def tiers():
    """Every way on both rewards, at thresholds 0, 0.5 and 1; a few of them in the fast tier."""
    for way, (_, fast) in WAYS.items():
        for name in REWARDS:
            for threshold in (0.0, 0.5, 1.0):
                quick = fast and threshold == 0.5 and name == "hill"
                marks = () if quick else pytest.mark.slow
                yield pytest.param(name, threshold, way, marks=marks, id=f"{way}-{name}-{threshold}")


@pytest.mark.parametrize("name, threshold, way", list(tiers()))
def test_law_is_the_tilted_chain(base, name, threshold, way):
    check_law(base, name, threshold, way)


@pytest.mark.x64
def test_constant_moves_the_evidence_and_nothing_else():
    path = fk.paths.variance_preserving()
    pred = fk.targets.gaussian_mixture([[-2.0], [1.5]], [0.25, 0.64], [0.3, 0.7]).predictor(path)
    solver = fk.solvers.ddim(eta=1.0)

    def run(constant):
        model = fk.steer(pred, solver, lambda x: 0.6 * x[0] + constant)
        return fk.run_smc(
            jax.random.key(3), model, fk.grid(6, path), 256, resample=fk.smc.adaptive(fk.smc.systematic, 0.95)
        )

    here, there = run(0.0), run(5.0)
    assert int(here.info.resamplings) > 0
    assert np.array_equal(here.particles, there.particles)
    assert abs(float(there.log_normalizer - here.log_normalizer) - 5) <= 1e-10


def test_negative_rewards_are_seen():
    model = fk.steer(PRED, SOLVER, lambda x: jnp.where(x[0] < 0, -40.0, -30.0))
    out = fk.check(fk.run_smc(jax.random.key(0), model, fk.grid(STEPS, PATH), 512))
    assert float(fk.expectation(out, lambda x: x[0] < 0).value) <= 1e-3


def test_new_strength_compiles_nothing():
    traces = []

    def reward(x):
        traces.append(1)
        return x[0]

    for strength in (0.5, 1.5):
        out = fk.run_smc(jax.random.key(0), fk.steer(PRED, SOLVER, reward, strength=strength), fk.grid(4, PATH), 16)
        fk.check(out) if strength < 1 else None
        if strength < 1:
            first = len(traces)
    assert len(traces) == first


WRONG = {
    "deterministic": (lambda: fk.steer(PRED, fk.solvers.heun(), slope), "ddim\\(eta=1.0\\)"),
    "potential": (lambda: fk.steer(PRED, SOLVER, slope, potential="diference"), 'did you mean "difference"'),
    "vector": (
        lambda: fk.run_smc(jax.random.key(0), fk.steer(PRED, SOLVER, lambda x: x), fk.grid(4, PATH), 16),
        "one number in nats",
    ),
    "grid outside": (
        lambda: fk.run_smc(jax.random.key(0), fk.steer(PRED, SOLVER, slope), jnp.array([0.0, 0.5, 1.0]), 16),
        "outside the model's times",
    ),
    "grid starts late": (
        lambda: fk.run_smc(jax.random.key(0), fk.steer(PRED, SOLVER, slope), fk.grid(4, PATH)[1:], 16),
        "start the grid there",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_raise_one_sentence(case):
    wrong, words = WRONG[case]
    with pytest.raises(fk.FkdiffError, match=words):
        wrong()


def test_nan_reward_fails_by_status():
    model = fk.steer(PRED, SOLVER, lambda x: jnp.log(x[0]))
    with pytest.raises(fk.FkdiffError, match="NaN"):
        fk.check(fk.run_smc(jax.random.key(0), model, fk.grid(4, PATH), 64))


@pytest.mark.parametrize("potential", ["difference", "max", "sum", "terminal"])
def test_potentials_add_up_to_the_reward(potential):
    """Whatever the ramp and the estimates, what is paid on the way and at the end is λ r(x_K)."""
    estimates, ramps = np.array([0.3, -1.2, 2.5, 0.7]), jnp.array([0.0, 0.4, 0.7, 1.0])
    model = fk.smc.rewarded(
        fk.smc.Population(None, None, time_range=(jnp.zeros(()), jnp.float32(3.0))),
        lambda x: x[0],
        ramp=lambda progress: jnp.interp(progress, jnp.linspace(0.0, 1.0, 4), ramps),
        potential=potential,
    )
    zero = jnp.zeros(2)
    particles, total = Carrying(zero, zero, zero, zero, zero), zero
    for t, estimate in enumerate(estimates):
        answers = (None, None if potential == "terminal" else jnp.full(2, estimate, jnp.float32))
        particles, paid = model.settle(particles, total, answers, jnp.float32(t), False)
        total = total + paid
    _, last = model.settle(particles, total, (None, jnp.full(2, 1.9)), jnp.float32(3.0), True)
    assert np.all(np.abs(np.asarray(total + last) - 1.9) <= 1e-6)
    if potential == "max":
        assert np.all(np.abs(np.asarray(particles.statistic) - 2.5) <= 1e-6)
    if potential == "sum":
        assert np.all(np.abs(np.asarray(particles.statistic) - estimates.mean()) <= 1e-6)


def test_the_former_name_of_estimate_works_and_says_so():
    with pytest.warns(fk.FkdiffWarning, match="intermediate= is now estimate="):
        model = fk.steer(PRED, SOLVER, slope, intermediate="draws")
    assert model.value_estimate.num == 8
