"""Error bars against what they claim: the spread of many independent runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import smc
from fkdiff.errors import FkdiffError, FkdiffWarning
from fkdiff.smc.results import evidence
from fkdiff.smc.results.estimate import Estimate, quantile
from tests.smc import walks

KEY = jax.random.key(0)
GRID = np.linspace(0.0, 1.0, 9, dtype=np.float32)
NUM_RUNS, NUM_PARTICLES = 2000, 256
SHARPNESS = {0.0: 4.0, 0.5: 30.0}  # by threshold: without resampling sharper potentials leave too few particles


def truth(threshold):
    return walks.exact_log_normalizer(GRID, SHARPNESS[threshold], 0.6)


@jax.jit
def summaries(keys, threshold, sharpness):
    """log Ẑ, V and the mean with its error, for runs under three schemes."""

    def one(key, resampler):
        out = smc.run_smc(
            key, walks.model(sharpness, 0.6), GRID, NUM_PARTICLES, resample=smc.adaptive(resampler, threshold)
        )
        mean = smc.expectation(out, lambda x: x[0])
        return out.log_normalizer, evidence.relative_variance(out), mean.value, mean.standard_error

    return {
        resampler.family: jax.lax.map(lambda key, r=resampler: one(key, r), keys)
        for resampler in (smc.systematic, smc.residual, smc.multinomial)
    }


@pytest.fixture(scope="module")
def runs():
    keys = jax.random.split(KEY, NUM_RUNS)
    return {t: summaries(keys, jnp.float32(t), jnp.float32(SHARPNESS[t])) for t in SHARPNESS}


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [0.0, 0.5])
@pytest.mark.parametrize("scheme", ["systematic", "residual", "multinomial"])
def test_evidence_is_right_and_its_error_is_its_spread(runs, scheme, threshold):
    log_z, variance, _, _ = (np.asarray(v, np.float64) for v in runs[threshold][scheme])
    relative = np.exp(log_z - truth(threshold))
    # Six standard errors of the mean of Ẑ/Z: one false alarm in 5 · 10⁸.
    error = abs(relative.mean() - 1)
    assert error <= 6 * relative.std() / np.sqrt(NUM_RUNS)
    # The spread of 2,000 runs is known to 3 % (one standard deviation); ±25 % is what the estimate promises.
    ratio = variance.mean() / relative.var()
    assert 0.75 <= ratio <= 1.33, ratio


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [0.0, 0.5])
@pytest.mark.parametrize("scheme", ["systematic", "residual", "multinomial"])
def test_intervals_of_an_expectation_cover(runs, scheme, threshold):
    _, _, value, error = (np.asarray(v, np.float64) for v in runs[threshold][scheme])
    # The bias of order 1/N is far below the error: centre on the mean of all runs.
    share = np.mean(np.abs(value - value.mean()) <= 1.96 * error)
    # Binomial error 0.005; the promise is 0.95 up to the estimate's own ±25 %.
    assert 0.88 <= share <= 0.985, share


def test_lower_bounds_are_named():
    bounds = jax.jit(smc.log_normalizer_error)
    gentle = smc.run_smc(KEY, walks.model(1.0, 0.0), walks.GRID, 64)
    assert not bool(bounds(gentle).is_lower_bound)
    harsh = smc.run_smc(KEY, walks.model(3000.0, 2.0), walks.GRID, 64)
    assert bool(bounds(harsh).is_lower_bound)
    assert "standard error ≥" in str(harsh)


@pytest.mark.parametrize("dof, expected", [(1, 12.7062), (4, 2.776445), (9, 2.262157), (29, 2.04523), (None, 1.959964)])
def test_student_quantiles(dof, expected):
    assert abs(quantile(0.95, dof) / expected - 1) <= 1e-4


def test_intervals():
    low, high = Estimate(jnp.asarray([1.0, 2.0]), jnp.asarray([0.5, 0.0]), 4).interval(0.95)
    assert np.allclose(low, [1 - 0.5 * 2.776445, 2.0], rtol=1e-4)
    assert np.allclose(high, [1 + 0.5 * 2.776445, 2.0], rtol=1e-4)
    assert str(Estimate(jnp.float32(1.5), jnp.float32(0.25))) == "1.5 ± 0.25"
    with pytest.raises(FkdiffError, match="level=95 must lie strictly between 0 and 1"):
        Estimate(jnp.float32(1.5), jnp.float32(0.25)).interval(95)


def test_expectation_by_hand():
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    families = jnp.asarray([1, 1, 3, 3])
    x = np.array([[1.0, 2.0], [0.0, -1.0], [4.0, 0.5], [-2.0, 3.0]])
    mean = weights @ x
    sums = np.stack([weights[:2] @ (x[:2] - mean), weights[2:] @ (x[2:] - mean)])
    base = smc.run_smc(KEY, walks.model(), walks.GRID, 64)
    for scheme, resampled, families_, factor in [
        ("systematic", 3, families, 1.0),
        ("multinomial", 3, families, (4 / 3) ** 4),
        ("systematic", 0, jnp.arange(4), 4 / 3),
    ]:
        info = base.info
        object.__setattr__(info, "ancestors", families_)
        object.__setattr__(info, "resampled", jnp.arange(5) < resampled)
        out = smc.SMCResult(
            jnp.asarray(x, jnp.float32), jnp.log(jnp.asarray(weights, jnp.float32)), None, info, None, scheme
        )
        estimate = jax.jit(lambda out: smc.expectation(out, lambda v: v.reshape(2, 1)))(out)
        spread = sums if resampled else weights[:, None] * (x - mean)
        assert np.allclose(estimate.value[:, 0], mean, atol=1e-6)
        assert np.allclose(estimate.standard_error[:, 0], np.sqrt(factor * (spread**2).sum(axis=0)), atol=1e-6)


def test_dead_particles_may_hold_anything():
    out = smc.run_smc(KEY, walks.model(), walks.GRID, 64, resample=smc.adaptive(smc.systematic, 0.0))
    spoiled = smc.SMCResult(
        out.particles.at[0].set(jnp.nan), out.log_weights.at[0].set(-jnp.inf), out.log_normalizer, out.info
    )
    estimate = jax.jit(lambda out: smc.expectation(out, jnp.sum))(spoiled)
    assert np.isfinite(estimate.value)
    assert np.isfinite(estimate.standard_error)


def test_equal_weights():
    out = smc.run_smc(KEY, walks.model(), walks.GRID, 64)
    drawn = np.asarray(smc.resample(KEY, out, 6400))
    assert drawn.shape == (6400, 2)
    weights = np.exp(np.asarray(out.log_weights, np.float64))
    weights /= weights.sum()
    counts = np.array([(drawn == row).all(axis=1).sum() for row in np.asarray(out.particles)])
    error = np.abs(counts - 6400 * weights).max()
    assert error <= 1.001
    # In random order: the first half is a sample too.
    assert not (np.diff(drawn[:100, 0]) == 0).all()
    assert abs(drawn[:3200].mean() - drawn.mean()) <= 6 * drawn.std() / np.sqrt(3200)
    with pytest.raises(FkdiffError, match="num=0 must be"):
        smc.resample(KEY, out, 0)


@pytest.fixture(scope="module")
def pooled():
    return smc.replicate(KEY, 12, walks.model(30.0, 0.6), GRID, 256)


def test_replicates_pool_their_evidence(pooled):
    log_z = np.asarray(pooled.runs.log_normalizer, np.float64)
    assert len(np.unique(log_z)) == 12
    relative = np.exp(log_z - log_z.max())
    assert abs(pooled.log_normalizer - np.log(relative.mean()) - log_z.max()) <= 1e-5
    error = relative.std(ddof=1) / relative.mean() / np.sqrt(12)
    assert abs(pooled.evidence.standard_error / error - 1) <= 1e-3
    low, high = pooled.evidence.interval(1 - 1e-6)
    assert low <= truth(0.5) <= high
    weights = np.exp(np.asarray(pooled.runs.log_weights, np.float64))
    firsts = np.asarray(pooled.runs.particles[..., 0], np.float64)
    means = (weights * firsts).sum(axis=1) / weights.sum(axis=1)
    shares = relative / relative.sum()
    estimate = pooled.expectation(lambda x: x[0])
    assert abs(estimate.value - shares @ means) <= 1e-5
    assert abs(estimate.standard_error - np.sqrt(12 / 11 * np.sum((shares * (means - shares @ means)) ** 2))) <= 1e-5


def test_replicates_print_and_check(pooled):
    text = str(pooled)
    for word in ("12 × 256 particles", "log Z", "95 %", "populations", "ESS"):
        assert word in text
    assert pooled.problems()[0] == []
    with pytest.raises(FkdiffError, match="for one population use run_smc"):
        smc.replicate(KEY, 1, walks.model(), GRID)


@pytest.mark.slow
def test_replicates_count_the_extinct_as_zero():
    def initial(key, num_particles, t):
        fate = jnp.where(jax.random.uniform(key) < chance, -jnp.inf, 0.0)
        return jnp.ones(num_particles), jnp.full(num_particles, fate), smc.MoveInfo()

    def move(key, x, log_weights, t0, t1):
        return x, jnp.zeros_like(x), smc.MoveInfo()

    chance = 0.5
    pooled = smc.replicate(KEY, 16, smc.Population(initial, move), GRID, 8)
    alive = int(np.isfinite(pooled.runs.log_normalizer).sum())
    assert 0 < alive < 16
    assert abs(pooled.log_normalizer - np.log(alive / 16)) <= 1e-5
    assert abs(pooled.expectation(lambda x: x).value - 1) <= 1e-6
    with pytest.warns(FkdiffWarning, match=rf"one of {16 - alive} such among 16: the run failed at the initial draw"):
        fk.check(pooled)
    chance = 1.1
    dead = smc.replicate(KEY, 4, smc.Population(lambda *a: initial(*a), move), GRID, 8)
    with pytest.raises(FkdiffError, match="population 0, one of 4 such among 4: the run failed"):
        fk.check(dead)


def persistent(growth):
    """Two kinds of particle, one in fifty of the second, which gains `growth` nats at every step."""
    return smc.FeynmanKac(
        initial=lambda key: ((jax.random.uniform(key) < 0.02).astype(jnp.float32), jnp.array(0.0)),
        propose=lambda key, kind, t0, t1: kind,
        log_potential=lambda before, kind, t0, t1: growth * kind,
    )


def forgetful(width):
    """Potentials that have nothing to do with each other from step to step."""
    return smc.FeynmanKac(
        initial=lambda key: (jax.random.normal(key), jnp.array(0.0)),
        propose=lambda key, x, t0, t1: jax.random.normal(key),
        log_potential=lambda before, x, t0, t1: width * x,
    )


@pytest.mark.slow
def test_lineages_show_growth_that_every_effective_sample_size_hides():
    grid, rule = jnp.arange(21.0), smc.adaptive(smc.systematic, 0.98)
    grown = smc.run_smc(jax.random.key(0), persistent(0.25), grid, 2000, resample=rule, collect=lambda x, w, t: x)
    assert float(grown.info.ess.min()) >= 0.9 * 2000
    assert float(smc.lineage_inflation(grown)) > 5
    # The families that gained started as a share `rare` and ended as `share`.
    rare = float(grown.collected[0].mean())
    share = rare * np.exp(5) / (1 - rare + rare * np.exp(5))
    losses = 2000 / np.asarray(grown.info.ess) - 1
    accounted = 1 + losses[:-1][np.asarray(grown.info.resampled)].sum() + losses[-1]
    expected = (share**2 / rare + (1 - share) ** 2 / (1 - rare)) / accounted
    assert abs(float(smc.lineage_inflation(grown)) / expected - 1) <= 0.1
    with pytest.warns(FkdiffWarning, match="same families"):
        fk.check(grown)
    fresh = smc.run_smc(jax.random.key(0), forgetful(0.3), grid, 2000, resample=rule)
    assert int(fresh.info.resamplings) >= 15
    assert 0.7 <= float(smc.lineage_inflation(fresh)) <= 2  # twenty resamplings add a rounding of their own
