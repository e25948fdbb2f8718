"""Twisted proposals, adaptive ramps, host rewards and the baseline: exact facts and planted bugs."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import smc, steering
from fkdiff.steering import guidance, twisted
from tests.steering import tilted_chain

KEY = jax.random.key(0)
PATH, PRED, SOLVER = tilted_chain.PATH, tilted_chain.PRED, tilted_chain.SOLVER
GRID = fk.grid(10, PATH)
SLOPE = 0.7


def gaussian_chain(path, solver, grid):
    """Slopes a_k and constants b_k of the exact log-twist of e^{cx} for N(m, v) data: log E[e^{c x_K} | x_k] = a x + b.

    For a Gaussian model every step of the solver is x' ~ N(A x + B, s²): the twist follows backwards by completing
    squares, from the solver's own transitions and nothing else.
    """
    pred = fk.targets.gaussian([0.4], 0.6).predictor(path)
    slopes, constants = [SLOPE], [0.0]
    for t0, t1 in zip(grid[-2::-1], grid[:0:-1], strict=True):
        means = [solver.step(pred, solver.init(pred, jnp.array([x]), t0), t0, t1)[0] for x in (0.0, 1.0)]
        shift, scale = float(means[0].mean[0]), float(means[0].scale)
        gain = float(means[1].mean[0]) - shift
        a, b = slopes[-1], constants[-1]
        slopes.append(a * gain)
        constants.append(b + a * shift + 0.5 * a**2 * scale**2)
    return pred, jnp.asarray(slopes[::-1]), jnp.asarray(constants[::-1])


@pytest.mark.x64
def test_the_exact_twist_leaves_no_variance():
    path, solver = fk.paths.variance_preserving(), fk.solvers.ddim(eta=1.0)
    grid = fk.grid(10, path)
    pred, slopes, constants = gaussian_chain(path, solver, grid)

    def value(x, t):
        k = jnp.argmin(jnp.abs(grid - t))
        return slopes[k] * x[0] + constants[k]

    model = fk.steer(
        pred, solver, lambda x: SLOPE * x[0], lambda s: jnp.ones_like(s), proposal="twisted",
        estimate=steering.learned(value),
    )  # fmt: skip
    never = fk.smc.adaptive(fk.smc.systematic, 0.0)
    out = fk.check(fk.run_smc(KEY, model, grid, 512, resample=never, collect=lambda x, w, t: w))
    # The start is not twisted: its weights are those of the first promise, and every later increment is constant.
    steps = out.collected
    assert float(jnp.max(jnp.var(jnp.diff(steps, axis=0), axis=1))) <= 1e-10
    assert float(jnp.var(out.log_weights - steps[0])) <= 1e-10


@pytest.mark.slow
@pytest.mark.parametrize(
    "bug",
    [
        "ratio forgotten",
        pytest.param("ratio of the wrong sign", marks=pytest.mark.slow),
        pytest.param("final not settled", marks=pytest.mark.slow),
    ],
)
def test_planted_bugs_change_the_law(monkeypatch, bug):
    base = np.asarray(fk.integrate(jax.random.key(99), PRED, SOLVER, fk.grid(tilted_chain.STEPS, PATH), 2**15))
    right = guidance.shifted
    jax.clear_caches()  # what was compiled without the bug must not answer for it
    if bug == "final not settled":
        settle = smc.Rewarded.settle
        unsettled = lambda self, p, w, a, t, last: (p, jnp.zeros_like(w)) if last else settle(self, p, w, a, t, last)  # noqa: E731
        monkeypatch.setattr(smc.Rewarded, "settle", unsettled)
    else:
        factor = 0.0 if bug == "ratio forgotten" else -1.0

        def wrong(key, transition, slope):
            x, log_ratio = right(key, transition, slope)
            return x, factor * log_ratio

        monkeypatch.setattr(twisted, "shifted", wrong)
    with pytest.raises(AssertionError):
        tilted_chain.check_law(base, "hill", 0.5, "terminal" if bug == "final not settled" else "twisted")
    jax.clear_caches()


def test_a_running_sum_would_not_settle_but_the_mean_does(monkeypatch):
    """What "sum" means: with a constant reward the running mean promises exactly what the end pays."""
    model = fk.steer(PRED, SOLVER, lambda x: jnp.full((), 3.0, x.dtype), lambda s: jnp.ones_like(s), "sum")
    out = fk.run_smc(KEY, model, GRID, 64, collect=lambda x, w, t: w)
    assert float(jnp.abs(out.collected - 3.0).max()) <= 1e-5
    assert abs(float(out.log_normalizer) - 3.0) <= 1e-5


@pytest.mark.slow
def test_adaptive_ramp_goes_as_far_as_the_ess_it_was_asked_for():
    """One step at a time: the ESS at ρ_k is at least 0.99 of that at ρ_{k−1}, and just so below the cap."""
    reward = lambda x: -4.0 * (x[0] - 1.0) ** 2  # noqa: E731
    model = fk.steer(PRED, SOLVER, reward, steering.adaptive_ramp(0.99))
    never, step = fk.smc.adaptive(fk.smc.systematic, 0.0), eqx.filter_jit(fk.smc.step)
    state, bound = fk.smc.init(KEY, model, 512, GRID[0]), 0
    for t0, t1 in itertools.pairwise(GRID):
        before, earlier = state.log_weights, state.particles
        state, _ = step(KEY, model, state, t0, t1, never)
        ramp, ramp_before = state.particles.ramp, earlier.ramp
        least = before + ramp_before * state.particles.statistic - earlier.cumulative
        ratio = float(fk.smc.ess(state.log_weights) / fk.smc.ess(least))
        capped = abs(float(ramp[0]) - float((t1 - PATH.t_min) / (PATH.t_max - PATH.t_min))) <= 1e-6
        assert float(ramp[0]) >= float(ramp_before[0])
        assert ratio >= 0.99 - 1e-4
        if not capped:
            bound += 1
            assert ratio <= 0.99 + 2e-4
    assert bound >= 3


@pytest.mark.slow
def test_rewards_combine_and_their_weights_compile_nothing():
    traces = []

    def counted(x):
        traces.append(1)
        return x[0]

    def hill(x):
        return -(x[0] ** 2)

    def run(weights):
        return fk.run_smc(KEY, fk.steer(PRED, SOLVER, steering.combined([counted, hill], weights)), GRID, 256)

    first = run([0.6, 0.3])
    number = len(traces)
    second = run([0.2, -0.1])
    assert len(traces) == number
    for out, weights in ((first, (0.6, 0.3)), (second, (0.2, -0.1))):
        alone = fk.run_smc(KEY, fk.steer(PRED, SOLVER, lambda x, w=weights: w[0] * x[0] - w[1] * x[0] ** 2), GRID, 256)
        np.testing.assert_allclose(out.log_normalizer, alone.log_normalizer, rtol=1e-4)


# Host rewards ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_drive_is_run_smc_and_a_host_reward_is_that_reward():
    calls = []

    def on_the_host(batch):
        assert isinstance(batch, np.ndarray)
        calls.append(len(batch))
        return [float(row[0]) for row in batch]  # plain Python

    rule = fk.smc.adaptive(fk.smc.systematic, 0.95)
    model = fk.steer(PRED, SOLVER, lambda x: x[0], strength=0.8)
    here = fk.run_smc(KEY, model, GRID, 128, resample=rule)
    driven = fk.drive(KEY, model, GRID, 128, resample=rule, show=False)
    hosted = fk.drive(
        KEY, fk.steer(PRED, SOLVER, steering.host(on_the_host), strength=0.8), GRID, 128, resample=rule, show=False
    )
    assert int(here.info.resamplings) > 0
    for out in (driven, hosted):
        assert out.info.ancestors.tolist() == here.info.ancestors.tolist()
        np.testing.assert_allclose(out.particles, here.particles, atol=1e-4)
        np.testing.assert_allclose(out.log_weights, here.log_weights, atol=1e-4)
        np.testing.assert_allclose(out.log_normalizer, here.log_normalizer, atol=1e-4)
        assert int(out.info.evaluations) == int(here.info.evaluations)
        assert out.info.times.tolist() == here.info.times.tolist()
    assert calls == [128] * (len(GRID) + 1)


@pytest.mark.parametrize("reached", [3, pytest.param(0, marks=pytest.mark.slow)])
def test_an_interrupt_keeps_what_was_reached(reached):
    calls = []

    def reward(batch):
        calls.append(1)
        if len(calls) == reached + 2:  # the start, the steps reached, and in the middle of the next
            raise KeyboardInterrupt
        return batch[:, 0]

    with pytest.warns(fk.FkdiffWarning, match=f"stopped at step {reached} of 10"):
        out = fk.drive(KEY, fk.steer(PRED, SOLVER, steering.host(reward)), GRID, 64, show=False)
    assert out.info.times.tolist() == GRID[: reached + 1].tolist()
    assert out.info.ess.shape == out.info.times.shape
    whole = fk.run_smc(KEY, fk.steer(PRED, SOLVER, lambda x: x[0]), GRID, 64, collect=lambda x, w, t: x)
    np.testing.assert_allclose(out.particles, whole.collected[reached], atol=1e-4)
    assert bool(jnp.all(jnp.isfinite(out.log_weights)))


def test_progress_goes_to_standard_error(capsys):
    fk.drive(KEY, fk.steer(PRED, SOLVER, lambda x: x[0]), GRID, 64)
    said = capsys.readouterr()
    assert said.out == ""
    assert "step 10/10" in said.err
    assert "of 64" in said.err


WRONG = {
    "host reward in run_smc": (
        lambda: fk.run_smc(KEY, fk.steer(PRED, SOLVER, steering.host(len)), GRID, 64),
        "use fkdiff.drive",
    ),
    "host reward of a batch of scalars": (
        lambda: fk.drive(KEY, fk.steer(PRED, SOLVER, steering.host(len)), GRID, 64, show=False),
        "one real number in nats per example",
    ),
    "host reward, twisted": (lambda: fk.steer(PRED, SOLVER, steering.host(len), proposal="twisted"), "no gradient"),
    "host is no function": (lambda: steering.host(3), "function=3"),
    "twisted max": (lambda: fk.steer(PRED, SOLVER, len, potential="max", proposal="twisted"), 'potential="difference"'),
    "twist by name": (lambda: fk.steer(PRED, SOLVER, len, proposal="twist"), 'did you mean "twisted"'),
    "guess by name": (lambda: fk.steer(PRED, SOLVER, len, estimate="cleen"), 'did you mean "clean"'),
    "no draws": (lambda: steering.clean_draws(0), "num=0"),
    "learned number": (lambda: steering.learned(3), "value=3"),
    "ess above one": (lambda: steering.adaptive_ramp(1.5), "ess=1.5"),
    "one weight for two rewards": (lambda: steering.combined([len, len], [1.0]), "one weight per reward"),
    "best of none": (lambda: steering.best_of_n(KEY, PRED, SOLVER, len, GRID, 4, 0), "n=0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_raise_one_sentence(case):
    wrong, words = WRONG[case]
    with pytest.raises(fk.FkdiffError) as raised:
        wrong()
    assert words in str(raised.value)


def forbidding(x):
    return jnp.where(x[0] < -2.2, -jnp.inf, 0.0)


FORBIDDING = {
    "plain": {},
    "terminal": {"potential": "terminal"},
    "adaptive ramp": {"ramp": steering.adaptive_ramp(0.8)},
    "max": {"potential": "max"},
    "draws": {"estimate": "draws"},
}


@pytest.mark.parametrize(
    "way", [w if w == "adaptive ramp" else pytest.param(w, marks=pytest.mark.slow) for w in FORBIDDING]
)
def test_minus_infinity_cuts_the_law_and_nothing_on_the_way(way):
    """16 steps of the ancestral sampler lie above −2.2 with log-probability −0.0508 ± 0.0010."""
    model = fk.steer(PRED, SOLVER, forbidding, **FORBIDDING[way])
    many = fk.replicate(KEY, 8, model, fk.grid(16, PATH), 4096)
    assert not many.problems()[0]
    gap = abs(float(many.evidence.value) + 0.0508)
    assert gap <= 5 * np.hypot(float(many.evidence.standard_error), 0.001)
    assert float(many.evidence.standard_error) <= 0.004
    assert float(many.expectation(lambda x: x[0] < -2.2).value) == 0.0


@pytest.mark.slow
def test_minus_infinity_of_a_host_reward_is_that_of_a_compiled_one():
    host = steering.host(lambda batch: np.where(batch[:, 0] < -2.2, -np.inf, 0.0))
    here = fk.run_smc(KEY, fk.steer(PRED, SOLVER, forbidding), GRID, 256)
    there = fk.drive(KEY, fk.steer(PRED, SOLVER, host), GRID, 256, show=False)
    np.testing.assert_allclose(there.log_normalizer, here.log_normalizer, atol=1e-5)


@pytest.mark.slow
def test_minus_infinity_at_the_end_cuts_the_law():
    out = fk.check(fk.run_smc(KEY, fk.steer(PRED, SOLVER, forbidding, potential="terminal"), GRID, 4096))
    base = fk.integrate(jax.random.key(5), PRED, SOLVER, GRID, 2**14)
    share = float(jnp.mean(base[:, 0] >= -2.2))
    error = np.sqrt((1 - share) / share * (1 / 2**14 + 1 / 4096))
    assert abs(float(out.log_normalizer) - np.log(share)) <= 5 * error


def test_a_reward_that_forbids_everything_leaves_nothing():
    nothing = lambda x: jnp.full((), -jnp.inf, x.dtype)  # noqa: E731
    with pytest.raises(fk.FkdiffError, match="every particle has weight zero"):
        fk.check(fk.run_smc(KEY, fk.steer(PRED, SOLVER, nothing, potential="terminal"), GRID, 64))


def test_best_of_n_is_the_largest_of_n():
    best, rewards = steering.best_of_n(KEY, PRED, SOLVER, lambda x: x[0], GRID, 4096, 3)
    np.testing.assert_allclose(best[:, 0], rewards, atol=1e-6)
    base = np.sort(np.asarray(fk.integrate(jax.random.key(8), PRED, SOLVER, GRID, 2**14))[:, 0])
    below = np.searchsorted(base, np.sort(np.asarray(rewards))) / len(base)
    # The largest of three has CDF F³: Kolmogorov distance of two samples, one false alarm in 10⁸.
    gap = np.abs(below**3 - (np.arange(4096) + 0.5) / 4096).max()
    assert gap <= np.sqrt(-0.5 * np.log(1e-8 / 2)) * (1 / np.sqrt(4096) + 3 / np.sqrt(2**14))
    assert np.abs(below - (np.arange(4096) + 0.5) / 4096).max() > 0.2
