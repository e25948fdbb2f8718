"""Tempering against Gaussian closed forms: evidence, posterior, accounts, schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import fkdiff as fk
from fkdiff import mcmc, smc
from fkdiff.smc.samplers import moves as moves_file
from fkdiff.smc.samplers import temperatures
from fkdiff.smc.samplers.temperatures import conditional_ess, next_temperature

SPREAD, SEEN = 0.5, np.array([1.0, 2.0, -1.0])
VARIANCE = 1 + SPREAD**2
LOG_Z = float(-0.5 * (SEEN**2).sum() / VARIANCE - 1.5 * np.log(2 * np.pi * VARIANCE))
KEY = jax.random.key(0)


def log_prior(x):
    return -0.5 * jnp.sum(x**2) - 1.5 * jnp.log(2 * jnp.pi)


def log_likelihood(x):
    y = jnp.asarray(SEEN, x.dtype)
    return -0.5 * jnp.sum((y - x) ** 2) / SPREAD**2 - 1.5 * jnp.log(2 * jnp.pi * SPREAD**2)


def sample_prior(key):
    return jax.random.normal(key, (3,))


def mala(density):
    return mcmc.mala(density, 0.15)


def hmc(density, step_size, inverse_mass):
    return mcmc.hmc(density, step_size, 3, inverse_mass)


def build(move=mala, **options):
    return smc.tempering(log_prior, log_likelihood, sample_prior, move, **options)


GRID = jnp.linspace(0.0, 1.0, 9) ** 2


def relative(model, grid=GRID, count=800, num_particles=32, **options):
    """Ẑ/Z of many runs: (mean, its standard error)."""
    run = jax.jit(jax.vmap(lambda key: fk.run_smc(key, model, grid, num_particles, **options).log_normalizer))
    ratios = np.exp(np.asarray(run(jax.random.split(KEY, count)), dtype=np.float64) - LOG_Z)
    return ratios.mean(), ratios.std() / np.sqrt(count)


def unbiased(model, **options):
    mean, error = relative(model, **options)
    assert error <= 0.05
    return abs(mean - 1) <= 5 * error


def test_the_posterior_and_its_evidence_and_the_account():
    out = fk.check(fk.run_smc(KEY, build(), GRID, 2048, resample=smc.adaptive(smc.systematic, 0.9)))
    assert abs(float(out.log_normalizer) - LOG_Z) <= 0.1
    mean, square = (fk.expectation(out, f).value for f in (lambda x: x, lambda x: x**2))
    assert np.abs(np.asarray(mean) - SEEN / VARIANCE).max() <= 0.08
    assert np.abs(np.asarray(square - mean**2) - SPREAD**2 / VARIANCE).max() <= 0.04
    # One at the start, none at λ = 0, one per move after it: weights and temperatures cost nothing.
    assert int(out.info.evaluations) == 1 + 7
    report = out.info.report
    assert np.array_equal(report.temperature, GRID[1:])
    assert np.array_equal(report.moves, [0, *[1] * 7])
    assert np.all((report.acceptance > 0.5) & (report.acceptance <= 1))


def test_without_resampling_it_is_annealed_importance_sampling():
    """The log-weights are Σ (λ′ − λ) ℓ at the positions that each step left, computed anew."""
    never = smc.adaptive(smc.systematic, 0.0)
    out = fk.run_smc(KEY, build(), GRID, 64, resample=never, collect=lambda x, w, t: x)
    steps = np.diff(np.asarray(GRID, dtype=np.float64))
    at = np.asarray(jax.vmap(jax.vmap(log_likelihood))(out.collected[1:]), dtype=np.float64)
    assert np.abs(np.asarray(out.log_weights) - steps @ at).max() <= 1e-4 * np.abs(steps @ at).max()
    assert not np.array_equal(out.collected[1], out.collected[2])
    assert np.array_equal(out.collected[0], out.collected[1])  # exact draws stay where they are


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"move": lambda f: mcmc.random_walk(f, 0.4), "num_moves": 2},
        {"move": lambda f: mcmc.hmc(f, 0.3, 2)},
        {"waste_free": 4},
    ],
)
def test_the_evidence_is_unbiased(options):
    assert unbiased(build(**options))


@pytest.mark.slow
def test_the_evidence_is_unbiased_whenever_it_resamples():
    assert unbiased(build(), resample=smc.multinomial)
    assert unbiased(build(), resample=smc.adaptive(smc.systematic, 0.0), num_particles=128)


@pytest.mark.slow
def test_wrong_temperatures_and_values_that_stay_behind_are_found(monkeypatch):
    right = smc.Tempered._moved

    def early(self, key, particles, log_weights, now, still):
        """At the next temperature before its weight is paid."""
        return right(self, key, particles, log_weights, jnp.minimum(now + 0.3, 1.0), still)

    def stale(self, key, particles, log_weights, now, still):
        """The positions move, and their values do not."""
        moved = right(self, key, particles, log_weights, now, still)
        return moved._replace(states=moved.states._replace(evaluation=particles.state.evaluation))

    monkeypatch.setattr(smc.Tempered, "_moved", early)
    jax.clear_caches()
    assert not unbiased(build())
    monkeypatch.setattr(smc.Tempered, "_moved", stale)
    jax.clear_caches()
    with pytest.raises((AssertionError, fk.FkdiffWarning)):
        test_the_posterior_and_its_evidence_and_the_account()
    monkeypatch.undo()
    jax.clear_caches()


@pytest.mark.x64
def test_the_next_temperature_is_the_root():
    rng = np.random.default_rng(0)
    log_w, ell = rng.normal(size=500), -3 * rng.exponential(size=500)

    def kept(step):
        w = np.exp(log_w) / np.exp(log_w).sum()
        v = np.exp(step * ell)
        return (w @ v) ** 2 / (w @ v**2)

    root = scipy.optimize.brentq(lambda step: kept(step) - 0.8, 0.0, 0.8)
    got = next_temperature(jnp.asarray(log_w), jnp.asarray(ell), jnp.asarray(0.2), jnp.asarray(0.8))
    assert abs(float(got) - 0.2 - root) <= 1e-7
    assert abs(float(conditional_ess(jnp.asarray(log_w), jnp.asarray(root * ell))) - 0.8) <= 1e-9
    assert float(next_temperature(jnp.asarray(log_w), jnp.asarray(0.01 * ell), jnp.asarray(0.2), jnp.asarray(0.8))) == 1
    # A constraint kills whom it kills at any temperature, and does not hold it back.
    hard = np.where(np.arange(500) < 400, -np.inf, 0.0)
    assert float(next_temperature(jnp.asarray(log_w), jnp.asarray(hard), jnp.asarray(0.0), jnp.asarray(0.8))) == 1


@pytest.mark.x64
@pytest.mark.parametrize("scale", [1e4, 1e9, 1e18])
def test_the_next_temperature_is_found_however_small_it_is(scale):
    rng = np.random.default_rng(1)
    ell = -scale * rng.exponential(size=400)

    def kept(log_step):
        v = np.exp(np.exp(log_step) * ell)
        return v.mean() ** 2 / (v**2).mean()

    root = np.exp(scipy.optimize.brentq(lambda log_step: kept(log_step) - 0.7, *np.log([1e-3 / scale, 10 / scale])))
    for now, dtype, close in ((0.0, jnp.float64, 1e-6), (3 * root, jnp.float64, 1e-6), (0.0, jnp.float32, 1e-4)):
        of = [jnp.asarray(x, jnp.float32) for x in (np.zeros(400), ell)]
        got = next_temperature(*of, jnp.asarray(now, dtype), jnp.asarray(0.7))
        assert got.dtype == dtype
        assert abs((float(got) - now) / root - 1) <= close
    # And every step makes way, also where the population allows none.
    later = next_temperature(*of, jnp.float32(0.6), jnp.float32(0.7))
    assert 0.6 < float(later) <= 0.601


def vague(spread, precision, dim, move, ess=None):
    """N(0, spread² I) and exp(−½ precision |x − 1|²): the model and log Z."""
    model = smc.tempering(
        lambda x: -0.5 * jnp.sum((x / spread) ** 2),
        lambda x: -0.5 * precision * jnp.sum((x - 1) ** 2),
        lambda key: spread * jax.random.normal(key, (dim,)),
        move,
        ess=ess,
    )
    total = 1 + spread**2 * precision
    return model, -0.5 * dim * (np.log(total) + precision / total)


def errors(model, truth, grid):
    """Of log Z over four seeds."""
    runs = [fk.run_smc(jax.random.key(seed), model, grid, 1024) for seed in range(4)]
    return np.array([float(out.log_normalizer) for out in runs]) - truth, runs[0]


MOVE = smc.tuned(lambda f, h, mass: mcmc.hmc(f, h, 4, mass))


@pytest.mark.slow
@pytest.mark.parametrize("spread, precision", [(100.0, 1e3), (1000.0, 1e5), (1e5, 1e4)])
def test_adaptive_temperatures_under_vague_priors(spread, precision):
    """The first temperature is about 1/(spread² precision): 1e-7, 1e-11 and 1e-14."""
    model, truth = vague(spread, precision, 4, MOVE, ess=0.7)
    grid = jnp.linspace(0.0, 1.0, 129)
    found, out = errors(model, truth, grid)
    print(found, out.info.report.temperature[:2])
    fk.check(out)
    assert not np.abs(found).max() > 1
    frozen = smc.freeze(jax.random.key(9), model, grid, 1024)
    assert not np.abs(errors(frozen, truth, grid)[0]).max() > 1


@pytest.mark.slow
def test_a_floor_under_the_steps_of_temperatures_is_found(monkeypatch):
    monkeypatch.setattr(temperatures, "SMALLEST", 1e-7)
    jax.clear_caches()
    model, truth = vague(1000.0, 1e5, 4, MOVE, ess=0.7)
    assert errors(model, truth, jnp.linspace(0.0, 1.0, 129))[0].mean() < -100
    monkeypatch.undo()
    jax.clear_caches()


@pytest.mark.slow
@pytest.mark.parametrize("planted", [False, True])
def test_a_fixed_schedule_moves_at_every_temperature_but_the_first(planted, monkeypatch):
    right = smc.Tempered._moved
    if planted:

        def lazy(self, key, particles, log_weights, now, still):
            return right(self, key, particles, log_weights, now, still | (now <= 1e-6))

        monkeypatch.setattr(smc.Tempered, "_moved", lazy)
        jax.clear_caches()
    model, truth = vague(1e5, 1.0, 2, MOVE)
    grid = jnp.concatenate([jnp.zeros(1), jnp.geomspace(1e-11, 1.0, 120)])
    found, out = errors(model, truth, grid)
    print(found)
    assert (np.abs(found).max() <= 1) is not planted
    if not planted:
        assert np.array_equal(out.info.report.moves > 0, np.arange(120) > 0)
    monkeypatch.undo()
    jax.clear_caches()


def test_moves_follow_the_temperature_and_not_the_clock():
    """A grid that starts a rounding off its end starts at the exact draws all the same; tiny steps are moved at."""
    grid = jnp.asarray([5e-7, 6e-7, 0.5, 1.0])
    out = fk.run_smc(KEY, build(), grid, 16, resample=smc.never)
    assert np.array_equal(out.info.report.moves, [0, 1, 1])
    first = fk.run_smc(KEY, build(), grid[:2], 16, resample=smc.never)
    draws = np.asarray(jax.vmap(log_likelihood)(first.particles), dtype=np.float64)
    np.testing.assert_allclose(first.log_weights, 6e-7 * draws, rtol=1e-4)


@pytest.mark.slow
def test_an_adaptive_schedule_arrives_and_a_frozen_one_repeats_it():
    model = build(smc.tuned(hmc, 0.3, jump=0.7), ess=0.6)
    budget = jnp.linspace(0.0, 1.0, 13)
    out = fk.check(fk.run_smc(KEY, model, budget, 1024))
    report = out.info.report
    used = int(np.argmax(report.temperature >= 1)) + 1
    assert 3 <= used <= 9
    assert np.all(report.moves[used:] == 0)  # those left over cost nothing
    assert int(out.info.evaluations) == 1 + 3 * int(report.moves.sum())
    assert abs(float(out.log_normalizer) - LOG_Z) <= 0.2
    # The last mass is about the variance at a temperature below 1, between the posterior's and the prior's.
    assert np.all((report.inverse_mass[used - 1] > 0.15) & (report.inverse_mass[used - 1] < 0.6))

    frozen = smc.freeze(KEY, model, budget, 1024)
    one, two = (fk.check(fk.run_smc(jax.random.key(seed), frozen, budget, 1024)) for seed in (1, 2))
    again = one
    for name in ("temperature", "moves", "step_size"):  # nothing is chosen any more
        assert np.array_equal(*(getattr(out.info.report, name)[:used] for out in (one, two)))
    assert int(np.argmax(one.info.report.temperature >= 1)) + 1 in range(3, 10)
    assert np.all(one.info.report.moves[one.info.report.temperature.tolist().index(1.0) + 1 :] == 0)
    assert abs(float(again.log_normalizer) - LOG_Z) <= 0.2


@pytest.mark.slow
def test_a_frozen_schedule_is_unbiased():
    grid = jnp.linspace(0.0, 1.0, 13)
    frozen = smc.freeze(KEY, build(smc.tuned(hmc, 0.3, jump=0.7), ess=0.6), grid, 512)
    assert unbiased(frozen, grid=grid)


@pytest.mark.slow
@pytest.mark.parametrize("mass", ["diagonal", "dense"])
def test_tuning_reaches_its_aims(mass):
    scale = jnp.asarray([0.05, 1.0, 20.0])

    def wide(key):
        return scale * jax.random.normal(key, (3,))

    move = smc.tuned(lambda f, h, m: mcmc.hmc(f, h, 4, m), 0.05, acceptance=0.8, jump=1.2, mass=mass)
    model = smc.tempering(
        lambda x: -0.5 * jnp.sum((x / scale) ** 2), lambda x: -0.5 * jnp.sum((x / scale - 1) ** 2), wide, move
    )
    report = fk.check(fk.run_smc(KEY, model, jnp.linspace(0.0, 1.0, 17), 1024)).info.report
    assert np.all(np.abs(report.acceptance[-3:] - 0.8) <= 0.12)
    assert np.all((report.moves[1:] >= 1) & (report.moves[1:] < 50))
    spread = np.asarray(report.inverse_mass[-1])
    spread = spread if mass == "diagonal" else np.diag(spread)
    assert np.abs(spread / np.asarray(scale**2) * (1 + 15 / 16) - 1).max() <= 0.25


def test_waste_free_blocks_are_chains():
    out = fk.run_smc(KEY, build(waste_free=4), GRID, 64, collect=lambda x, w, t: x)
    ancestors = np.asarray(out.info.ancestors).reshape(16, 4)
    assert np.all(ancestors == ancestors[:, :1])
    blocks = np.asarray(out.collected[-1]).reshape(16, 4, 3)
    before = np.asarray(out.collected[-2])
    for block in blocks:
        assert (np.abs(before - block[0]).max(1) == 0).any()  # the first is an ancestor as it was
        assert np.unique(block, axis=0).shape[0] >= 2  # and moves from there
    assert out.scheme == "waste-free"
    with pytest.raises(fk.FkdiffError, match="leave it out"):
        fk.run_smc(KEY, build(waste_free=4), GRID, 64, resample=smc.systematic)


@pytest.mark.slow
def test_chunks_change_nothing():
    whole, parts = (fk.run_smc(KEY, build(chunk=chunk), GRID, 50) for chunk in (None, 16))
    assert np.abs(np.asarray(whole.particles - parts.particles)).max() <= 1e-5


class Bare:
    """A kernel whose state is a position alone."""

    def __call__(self, density):
        def init(key, position):
            return moves_file.Setting(position, position)

        return fk.Kernel(init, lambda key, state: (state, None))


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: build(mcmc.mala(log_prior, 0.1)), "pass a function of the log-density"),
        (lambda: build(num_moves=0), "num_moves=0"),
        (lambda: build(ess=1.0), "ess=1"),
        (lambda: build(ess=0.0), "ess=0"),
        (lambda: build(waste_free=1), "waste_free=1"),
        (lambda: build(num_moves=2, waste_free=4), "both say how often"),
        (lambda: build(smc.tuned(hmc), num_moves=3), "max_moves=3"),
        (lambda: smc.tuned(hmc, acceptance=1.5), "acceptance=1.5"),
        (lambda: smc.tuned(hmc, mass="full"), "mass="),
        (lambda: smc.tempering(log_prior, 3.0, sample_prior, mala), "log_likelihood=3.0 is not a function"),
        (lambda: fk.run_smc(KEY, build(waste_free=4), GRID, 30), "use 28"),
        (lambda: fk.run_smc(KEY, build(), jnp.linspace(0.0, 2.0, 5), 30), "outside the model's times"),
        (lambda: fk.run_smc(KEY, build(), jnp.linspace(0.5, 1.0, 5), 30), "start the grid there"),
        (lambda: fk.run_smc(KEY, build(Bare()), GRID, 30), "without .position and .evaluation"),
        (lambda: fk.run_smc(KEY, build(lambda f: f), GRID, 30), "return a fkdiff.Kernel"),
        (
            lambda: fk.run_smc(KEY, smc.tempering(log_prior, lambda x: x, sample_prior, mala), GRID, 30),
            "must return one real number",
        ),
        (lambda: smc.freeze(KEY, build(), GRID), "nothing of this model adapts"),
        (
            lambda: fk.check(fk.run_smc(KEY, build(ess=0.99), jnp.linspace(0.0, 1.0, 4), 64)),
            "the temperature reached 1",
        ),
        (
            lambda: fk.check(
                fk.run_smc(KEY, smc.tempering(log_prior, lambda x: x[0] * jnp.nan, sample_prior, mala), GRID, 16)
            ),
            "NaN",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(make, sentence):
    with pytest.raises(fk.FkdiffError, match=sentence):
        make()
