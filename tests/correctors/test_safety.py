"""The runs beside a run: what they estimate, held against quadrature and closed forms, and planted mistakes."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
import fkdiff.correctors as fkc
from fkdiff import smc
from fkdiff.correctors import partition, rate, safety
from fkdiff.correctors.steps import STEPS

PATH = fk.paths.variance_preserving()
PAIR = fk.targets.gaussian_mixture([[-1.5], [2.0]], [0.49, 0.36], [0.6, 0.4]).predictor(PATH)
ROWS = np.linspace(-12, 12, 60_001)


def waves(x):
    return 2 * jnp.cos(2 * x[0]) - 0.1 * x[0] ** 2


def density(x):
    parts = [(0.6, -1.5, 0.49), (0.4, 2.0, 0.36)]
    return sum(w * np.exp(-((x - m) ** 2) / 2 / v) / np.sqrt(2 * np.pi * v) for w, m, v in parts)


# A tilt with many peaks, one of whose modes control starves: most runs without the draws miss a share of it.
TRUTH = np.log(np.trapezoid(density(ROWS) * np.exp(2 * np.cos(2 * ROWS) - 0.1 * ROWS**2), ROWS))
STARVING = fkc.tilt(PAIR, waves)


def ridge(dimension=3):
    """A normal law with a thin direction, and log ∫ q^4 in closed form."""
    variances = jnp.array([0.01, 0.3, 1.5, 0.8, 0.5, 0.05, 1.1, 0.2])[:dimension]
    law = fk.targets.gaussian(jnp.zeros(dimension), variances)
    alpha, sigma = PATH.alpha(PATH.t_max), PATH.sigma(PATH.t_max)
    wide = np.asarray(alpha**2 * variances + sigma**2, np.float64)
    return law.predictor(PATH), float(np.sum(-1.5 * np.log(2 * np.pi * wide) - 0.5 * np.log(4.0)))


def nameless(pred):
    """The same model without its density, as a network is one."""
    return dataclasses.replace(pred, log_density=None)


def test_the_noise_of_a_probe_on_the_sphere_is_known_from_the_probe():
    """Unbiased for the covariance by enumeration of moments; a Rademacher probe would say something else."""
    rng = np.random.default_rng(0)
    J, K = (a + a.T for a in rng.normal(size=(2, 5, 5)))
    keys = jax.random.split(jax.random.key(1), 200_000)

    def one(z):
        images = jnp.stack([J @ z, K @ z]).astype(z.dtype)
        values = images @ z
        return values, rate.probe_noise(images, values)

    values, claimed = jax.vmap(lambda key: one(rate.probes(key, (5,), jnp.float32, False)[0]))(keys)
    exact = np.array([[2 / 7 * (5 * np.trace(A @ B) - np.trace(A) * np.trace(B)) for B in (J, K)] for A in (J, K)])
    assert np.abs(np.asarray(claimed).mean(axis=0) - exact).max() <= 0.02 * np.abs(exact).max()
    assert np.abs(np.cov(np.asarray(values, np.float64).T) - exact).max() <= 0.03 * np.abs(exact).max()
    coins, said = jax.vmap(lambda key: one(jax.random.rademacher(key, (5,), jnp.float32)))(keys)
    assert not np.abs(np.asarray(said).mean(axis=0) - np.cov(np.asarray(coins).T)).max() <= 0.1 * np.abs(exact).max()


@pytest.mark.parametrize("exact", [True, False])
def test_densities_are_carried_along_the_controlled_flow(exact):
    pred, _ = ridge(6)
    divergence = "exact" if exact else "probe"
    model = fkc.anneal(pred, 2.0).feynman_kac(divergence=divergence)
    grid = fk.grid(96, PATH)

    @eqx.filter_jit
    def carried(key):
        x, log_weights, _ = model.initial(key, 256, grid[0])
        start = jax.vmap(lambda z: pred.log_prob(z, grid[0]))(x)

        def body(carry, step):
            x, log_weights, value, noise = carry
            moved = STEPS["heun"](model, jax.random.fold_in(key, step[0]), x, log_weights, step[1], step[2])
            value, noise = value + moved.densities.value[:, 0], noise + moved.densities.noise[:, 0]
            return (moved.x, log_weights + moved.increments - 0.5 * moved.noise, value, noise), None

        steps = (jnp.arange(96), grid[:-1], grid[1:])
        (x, _, value, noise), _ = jax.lax.scan(body, (x, log_weights, start, jnp.zeros_like(start)), steps)
        return value - jax.vmap(lambda z: pred.log_prob(z, grid[-1]))(x), noise

    errors, noise = (np.asarray(a, np.float64) for a in carried(jax.random.key(3)))
    print(f"mean {errors.mean():.4f}, sd {errors.std():.4f}, claimed {np.sqrt(noise.mean()):.4f}")
    if exact:
        assert np.abs(errors).max() <= 0.05
        assert np.all(noise == 0)
    else:
        assert abs(errors.mean()) <= 5 * errors.std() / 16 + 0.02
        assert 0.8 <= errors.std() / np.sqrt(noise.mean()) <= 1.25


@eqx.filter_jit
def backwards(model, grid, points):
    return partition.pulled_back(jax.random.key(0), model, grid, points)[1]


def test_the_flow_backwards_knows_its_law_and_the_weights_share_the_target():
    """By quadrature: π₁ = p̃ e^{−ℓ} integrates to one, and n π₁ + m q times w to Z."""
    grid = fk.grid(128, PATH)
    model = smc.freeze(jax.random.key(1), STARVING.feynman_kac(), grid, 512)
    rows = np.linspace(-6, 6, 3001)
    points = jnp.asarray(rows, jnp.float32)[:, None]
    excess = np.asarray(backwards(model, grid, points), np.float64)
    q = np.exp(np.asarray(jax.vmap(lambda z: PAIR.log_prob(z, grid[-1]))(points), np.float64))
    target = q * np.exp(2 * np.cos(2 * rows) - 0.1 * rows**2)
    pushed = np.where(np.isfinite(excess), target * np.exp(-excess), 0.0)
    assert abs(np.trapezoid(pushed, rows) - 1) <= 0.01
    n, m = 448, 64
    log_ratios = jnp.asarray(np.log(target / q), jnp.float32)[:, None]
    log_w = partition.balanced(jnp.asarray(excess, jnp.float32), log_ratios, n, jnp.array([float(m)]))
    total = np.trapezoid((n * pushed + m * q) * np.exp(np.asarray(log_w, np.float64)), rows)
    assert abs(np.log(total) - TRUTH) <= 0.005
    # The planted mistake: the draws take the place of particles without being told so.
    alone = np.trapezoid((n * pushed + m * q) * np.exp(np.minimum(excess, 50)) / n, rows)
    assert not abs(np.log(alone) - TRUTH) <= 0.1


def answers(out):
    error = smc.log_normalizer_error(out)
    return float(out.log_normalizer) - TRUTH, float(error.standard_error), out.problems()[1]


@pytest.mark.slow
def test_a_mode_that_control_starves_is_filled_in():
    model, grid = STARVING.feynman_kac(), fk.grid(64, PATH)
    runs = {safe: [answers(fk.run_smc(jax.random.key(k), model, grid, 2048, safety=safe)) for k in range(6)]
            for safe in (True, False)}  # fmt: skip
    for safe, rows in runs.items():
        print(safe, [f"{error:+.3f} ± {bar:.3f}" for error, bar, _ in rows])
    wrong = {safe: sum(abs(e) > 4 * s and abs(e) > 0.05 for e, s, _ in rows) for safe, rows in runs.items()}
    assert wrong[True] == 0
    assert wrong[False] >= 1  # nothing else is tested if no run misses anything
    assert not any(doubts for _, _, doubts in runs[False])  # and nothing else would have shown it


@pytest.mark.slow
@pytest.mark.parametrize("pilot", [True, False])
def test_the_estimate_is_unbiased_for_few_particles(pilot, monkeypatch):
    """E Ẑ = Z at N = 64. The planted mistake: control fitted on the very particles that it moves."""
    if not pilot:
        fitted = lambda key, model, grid, n: (model, safety._Pilot())  # noqa: E731
        monkeypatch.setattr(safety, "_controlled", fitted)
        jax.clear_caches()
    model, grid = STARVING.feynman_kac(), fk.grid(64, PATH)
    one = eqx.filter_jit(lambda key: model.safe_run(key, grid, 64, None, None, "error", None).log_normalizer)
    values = np.exp(np.asarray(jax.lax.map(one, jax.random.split(jax.random.key(0), 6000), batch_size=200), float))
    error = values.std() / np.sqrt(len(values)) / np.exp(TRUTH)
    print(f"E Ẑ/Z {values.mean() / np.exp(TRUTH):.4f} ± {error:.4f}")
    assert error <= 0.015
    assert (abs(values.mean() / np.exp(TRUTH) - 1) <= 5 * error) == pilot
    jax.clear_caches()


RIDGE, RIDGE_TRUTH = ridge()


@pytest.fixture(scope="module")
def sixteen():
    """A thin ridge to the fourth power in 16 steps: particles agree with each other, and not with the truth."""
    return fk.run_smc(jax.random.key(0), fkc.anneal(RIDGE, 4.0).feynman_kac(), fk.grid(16, PATH), 512)


def check_bar(out, truth):
    error, bar = float(out.log_normalizer) - truth, smc.log_normalizer_error(out)
    print(f"error {error:+.4f}, sampling {bar.sampling:.4f}, steps {bar.steps:.4f}")
    assert abs(error) <= 3 * float(bar.standard_error)
    return error, bar


def test_the_bar_holds_the_error_of_steps(sixteen):
    error, bar = check_bar(sixteen, RIDGE_TRUTH)
    assert abs(error) > 4 * float(bar.sampling)
    assert any("steps" in doubt for doubt in sixteen.problems()[1]) == (float(bar.steps) > 0.1)
    second = fk.expectation(sixteen, lambda x: x[0] ** 2)
    narrow = float(PATH.alpha(PATH.t_max) ** 2 * 0.01 + PATH.sigma(PATH.t_max) ** 2) / 4
    assert abs(float(second.value) - narrow) <= 3 * float(second.standard_error)
    assert sixteen.particles.shape == (512, 3)
    assert sixteen.strata == (448, 64)


@pytest.mark.slow
@pytest.mark.parametrize("known", [True, False])
def test_the_bar_shrinks_as_the_steps_do(known):
    target, bars = fkc.anneal(RIDGE if known else nameless(RIDGE), 4.0), []
    for steps in (16, 48):
        out = fk.run_smc(jax.random.key(0), target.feynman_kac(), fk.grid(steps, PATH), 512)
        bars.append(float(check_bar(out, RIDGE_TRUTH)[1].steps))
    assert bars[1] <= bars[0] / 4


def test_what_was_not_measured_is_printed_so(sixteen):
    model, grid = fkc.anneal(RIDGE, 4.0).feynman_kac(), fk.grid(16, PATH)
    assert "not measured" not in str(sixteen)
    bare = fk.run_smc(jax.random.key(0), model, grid, 512, safety=False)
    assert str(bare).count("not measured") == 2
    assert (bare.info.step_error, bare.info.missing, bare.pair, bare.strata) == (None, None, None, ())
    # Too few particles or steps, noise, and densities that nobody knows: nothing can be measured beside such a run.
    assert model.safe_run(jax.random.key(0), grid, 32, None, None, "error", None) is None
    assert model.safe_run(jax.random.key(0), grid[4:], 512, None, None, "error", None) is None
    wide = fkc.anneal(fk.targets.gaussian(jnp.zeros(17), 1.0).predictor(PATH), 2.0).feynman_kac()
    assert wide.safe_run(jax.random.key(0), grid, 512, None, None, "error", None) is None
    for other in (
        fkc.anneal(RIDGE, 4.0).feynman_kac(noise=1.0),
        fkc.anneal(nameless(RIDGE), 4.0).feynman_kac(control=False),
    ):
        assert other.safe_run(jax.random.key(0), grid, 512, None, None, "error", None) is None
    safe, plain = (int(out.info.evaluations) + int(out.info.jvps) for out in (sixteen, bare))
    assert plain < safe <= 1.5 * plain


@pytest.mark.slow
def test_the_cost_is_that_of_all_runs_and_below_half_as_much_again():
    other = nameless(fk.targets.gaussian(jnp.ones(3), 0.5).predictor(PATH))
    for target in (fkc.anneal(nameless(RIDGE), 2.0), fkc.product([nameless(RIDGE), other])):
        outs = [
            fk.run_smc(jax.random.key(0), target.feynman_kac(), fk.grid(16, PATH), 512, safety=safe)
            for safe in (True, False)
        ]
        safe, bare = (int(out.info.evaluations) + int(out.info.jvps) for out in outs)
        assert bare < safe <= 1.5 * bare
        difference = float(outs[0].log_normalizer) - float(outs[1].log_normalizer)
        assert abs(difference) <= 5 * float(smc.log_normalizer_error(outs[0]).standard_error) + 0.02


@pytest.mark.slow
def test_a_resampled_population_keeps_its_weights_and_the_draws_only_tell():
    model, grid = STARVING.feynman_kac(), fk.grid(16, PATH)
    rule = smc.adaptive(smc.systematic, 1.0)
    out = fk.run_smc(jax.random.key(0), model, grid, 256, resample=rule)
    assert int(out.info.resamplings) > 0
    assert np.all(np.asarray(out.log_weights[224:]) == -np.inf)
    assert 0 <= float(out.info.missing) <= 1
    assert np.isfinite(float(smc.log_normalizer_error(out).standard_error))


@pytest.mark.slow
def test_a_grid_that_begins_late_leaves_the_draws_out():
    """Where densities are known a run may begin anywhere; plain draws begin at the start alone."""
    grid = fk.grid(24, PATH)[6:]
    out = fk.run_smc(jax.random.key(2), fkc.anneal(RIDGE, 2.0).feynman_kac(), grid, 1024)
    assert np.all(np.asarray(out.log_weights[896:]) == -np.inf)
    assert np.isnan(float(out.info.missing))
    assert "not measured" in str(out)
    wide = np.asarray(PATH.alpha(PATH.t_max) ** 2 * jnp.array([0.01, 0.3, 1.5]) + PATH.sigma(PATH.t_max) ** 2, float)
    exact = float(np.sum(-0.5 * np.log(2 * np.pi * wide) - 0.5 * np.log(2.0)))
    assert abs(float(out.log_normalizer) - exact) <= 4 * float(smc.log_normalizer_error(out).standard_error) + 0.01


def test_a_saved_result_keeps_its_bars(sixteen, tmp_path):
    sixteen.save(tmp_path / "out.npz")
    back = smc.SMCResult.load(tmp_path / "out.npz")
    assert back.strata == sixteen.strata
    assert str(back) == str(sixteen)
    first = lambda x: x[0]  # noqa: E731
    assert float(fk.expectation(back, first).standard_error) == float(fk.expectation(sixteen, first).standard_error)


@pytest.mark.slow
def test_replicates_and_conditions_are_runs_of_one_population():
    model, grid, key = fkc.anneal(RIDGE, 2.0).feynman_kac(), fk.grid(8, PATH), jax.random.key(4)
    many = fk.replicate(key, 2, model, grid, 64)
    each = smc.run_each(key, lambda beta: fkc.anneal(RIDGE, beta).feynman_kac(), jnp.array([2.0, 3.0]), grid, 64)
    one = fk.run_smc(jax.random.fold_in(key, 0), model, grid, 64)
    for out in (many.population(0), jax.tree.map(lambda leaf: leaf[0], each)):
        assert abs(float(out.log_normalizer) - float(one.log_normalizer)) <= 1e-5
        assert abs(float(out.info.step_error) - float(one.info.step_error)) <= 1e-5
    assert float(many.evidence.standard_error) >= float(many.runs.info.step_error.min())


@pytest.mark.slow
def test_the_derivative_of_the_estimate_is_that_of_log_z():
    """d log Z/dβ = E log q, by quadrature; the shares of the proposals carry no derivative."""
    grid = fk.grid(64, PATH)

    def value(beta):
        model = fkc.anneal(PAIR, beta).feynman_kac(refresh=0)
        return fk.run_smc(jax.random.key(1), model, grid, 4096, resample=smc.never).log_normalizer

    slope = float(jax.jit(jax.grad(value))(2.0))
    q = density(ROWS)
    truth = np.trapezoid(q**2 * np.log(q + 1e-300), ROWS) / np.trapezoid(q**2, ROWS)
    print(f"slope {slope:.4f}, truth {truth:.4f}")
    assert abs(slope - truth) <= 0.05
