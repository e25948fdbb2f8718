"""Chain statistics against autoregressions, whose effective sample size is a fraction."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fkdiff import FkdiffError, diagnostics

STEPS, CHAINS = 4000, 4


def autoregression(rho, steps=STEPS, chains=CHAINS, seed=0):
    """Stationary chains x' = ρx + √(1 − ρ²) ξ, (steps, chains)."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(steps, chains))
    x = np.empty((steps, chains))
    x[0] = noise[0]
    for k in range(1, steps):
        x[k] = rho * x[k - 1] + np.sqrt(1 - rho**2) * noise[k]
    return x


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, -0.5])
def test_the_effective_size_of_an_autoregression_is_a_fraction(rho):
    exact = STEPS * CHAINS * (1 - rho) / (1 + rho)
    draws = autoregression(rho)
    assert abs(diagnostics.mean_ess(draws) / exact - 1) <= 0.2
    assert abs(diagnostics.bulk_ess(draws) / exact - 1) <= 0.2


def test_the_sum_of_pairs_is_that_of_a_plain_loop():
    draws = autoregression(0.6, 60, 3, seed=3)
    halves = np.concatenate([draws[:30], draws[30:]], axis=1)
    n, m = halves.shape
    means = halves.mean(axis=0)
    covariance = [
        np.mean([np.sum((c[: n - lag] - mu) * (c[lag:] - mu)) / n for c, mu in zip(halves.T, means, strict=True)])
        for lag in range(n)
    ]
    within = np.mean([c.var(ddof=1) for c in halves.T])
    pooled = (n - 1) / n * within + means.var(ddof=1)
    rho = [1.0] + [1 - (within - covariance[lag] * n / (n - 1)) / pooled for lag in range(1, n)]
    total, least = 0.0, np.inf
    for k in range(0, n - 1, 2):
        pair = rho[k] + rho[k + 1]
        if pair <= 0:
            break
        least = min(least, pair)
        total += least
    assert np.isclose(diagnostics.mean_ess(draws), m * n / (2 * total - 1), rtol=1e-10)


def test_the_error_of_the_mean_is_the_deviation_of_means():
    replicates = autoregression(0.8, 500, 2000, seed=1).reshape(500, 500, 4)
    draws = np.moveaxis(replicates, 1, 2)  # (steps, chains, problems)
    errors = diagnostics.mcse(draws)
    spread = draws.mean(axis=(0, 1)).std(ddof=1)
    assert errors.shape == (500,)
    assert abs(np.mean(errors) / spread - 1) <= 0.12


def test_tails_of_independent_draws_are_worth_all_of_them():
    draws = np.random.default_rng(2).normal(size=(STEPS, CHAINS))
    assert abs(diagnostics.tail_ess(draws) / draws.size - 1) <= 0.15


def test_tails_that_mix_slowly_are_seen_where_the_bulk_is_not():
    rng = np.random.default_rng(4)
    wide = np.repeat(rng.random((STEPS // 200, CHAINS)) < 0.3, 200, axis=0)  # the scale changes every 200 steps
    draws = rng.normal(size=(STEPS, CHAINS)) * np.where(wide, 5.0, 1.0)
    assert diagnostics.tail_ess(draws) < 0.2 * diagnostics.bulk_ess(draws)


def agreeing():
    return np.random.default_rng(5).normal(size=(1000, 4))


def shifted():
    return agreeing() + np.array([0.0, 0.0, 0.0, 1.0])


def drifting():
    return agreeing() + np.linspace(-1, 1, 1000)[:, None]  # every chain alike: only halves disagree


def scaled():
    return agreeing() * np.array([1.0, 1.0, 1.0, 4.0])  # equal means: only distances from the median disagree


def heavy():
    return np.random.default_rng(6).standard_cauchy(size=(1000, 4))


def test_agreement_is_one():
    assert abs(diagnostics.split_rhat(agreeing()) - 1) < 0.005
    assert abs(diagnostics.split_rhat(heavy()) - 1) < 0.005


@pytest.mark.parametrize("draws", [shifted(), drifting(), scaled()], ids=["shifted", "drifting", "scaled"])
def test_disagreement_is_seen(draws):
    assert diagnostics.split_rhat(draws) > 1.05


def test_without_halves_or_folding_the_bugs_pass(monkeypatch):
    """The mutants that the two tests above are for."""
    from fkdiff.diagnostics import chains

    monkeypatch.setattr(chains, "_halves", lambda draws: draws)
    assert diagnostics.split_rhat(drifting()) < 1.05
    monkeypatch.setattr(np, "fmax", lambda bulk, folded: bulk)
    assert diagnostics.split_rhat(scaled()) < 1.05


def test_ranks_ignore_what_is_monotone():
    draws = autoregression(0.5)
    assert np.isclose(diagnostics.bulk_ess(draws), diagnostics.bulk_ess(np.exp(3 * draws)))


def test_a_chain_that_never_moved_has_shown_nothing():
    summary = diagnostics.summary(np.ones((100, 4, 2)))
    assert np.isnan(summary.rhat).all()
    assert np.isnan(summary.bulk_ess).all()


def test_coordinates_keep_their_shape_and_one_chain_needs_no_axis():
    summary = diagnostics.summary(np.random.default_rng(7).normal(size=(50, 3, 2, 5)))
    assert all(field.shape == (2, 5) for field in summary)
    assert "10 coordinates" in str(summary)
    assert np.shape(diagnostics.split_rhat(np.random.default_rng(8).normal(size=64))) == ()


@pytest.mark.parametrize(
    ("draws", "sentence"),
    [
        (np.zeros((4, 2)), "at least 8 steps"),
        (np.float64(1.0), "num_steps, num_chains"),
        (np.where(np.eye(20) > 0, np.nan, 0.0), "20 of 400 draws are not finite"),
    ],
)
def test_what_is_no_chain_is_refused(draws, sentence):
    with pytest.raises(FkdiffError, match=sentence):
        diagnostics.summary(draws)


def test_a_tree_of_draws_is_summarised_leaf_by_leaf():
    draws = {"a": autoregression(0.5, 400)[..., None] * np.ones(2), "b": autoregression(0.0, 400, seed=1)}
    found = diagnostics.summary(draws)
    for name, leaf in draws.items():
        alone = diagnostics.summary(leaf)
        for field in found._fields:
            np.testing.assert_array_equal(getattr(found, field)[name], getattr(alone, field))
    assert "3 coordinates" in str(found)
    assert set(diagnostics.bulk_ess(draws)) == {"a", "b"}


def test_a_coordinate_that_never_moves_hides_no_other():
    draws = np.stack([autoregression(0.5, 400), np.full((400, CHAINS), 3.0)], axis=2)
    found, alone = diagnostics.summary(draws), diagnostics.summary(draws[..., :1])
    assert np.isnan(found.rhat[1])
    assert np.isnan(found.bulk_ess[1])
    assert found.mean[1] == 3.0
    assert found.sd[1] == 0.0
    np.testing.assert_array_equal(found.rhat[:1], alone.rhat)
    said = str(found)
    assert "nan" not in said
    assert "1 never moved" in said
    assert f"{float(alone.rhat[0]):.4g}" in said
    assert "none of which ever moved" in str(diagnostics.summary(draws[..., 1:]))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int32", "bool"])
def test_any_real_dtype_under_any_guard(dtype):
    draws = jnp.asarray(10 * autoregression(0.3, 40)).astype(dtype)
    rows = draws.reshape(80, 2)
    other = jnp.asarray(np.random.default_rng(0).normal(size=(80, 2)), jnp.float32)
    with jax.transfer_guard("disallow"), jax.numpy_dtype_promotion("strict"):
        assert np.isfinite(diagnostics.summary(draws).mean).all()
        for distance in (diagnostics.energy_distance, diagnostics.mmd, diagnostics.sliced_wasserstein):
            assert np.isfinite(distance(rows, other))


def test_what_is_no_array_of_numbers_is_refused_in_words():
    with pytest.raises(FkdiffError, match="one array of real numbers"):
        diagnostics.energy_distance({"a": np.zeros((4, 2))}, np.zeros((4, 2)))
    with pytest.raises(FkdiffError, match="one array of real numbers"):
        diagnostics.energy_distance(np.zeros((4, 2), complex), np.zeros((4, 2)))
