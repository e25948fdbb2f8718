"""Distances against closed forms of normal laws, brute force, and weights as repeated rows."""

from itertools import permutations

import jax
import numpy as np
import pytest
from scipy.stats import norm

import fkdiff as fk
from fkdiff import FkdiffError, diagnostics

RNG = np.random.default_rng(0)


def quantiles(mean, sd, count=4000):
    """A sample of N(mean, sd²) without noise: its quantiles at the middle of equal shares, (count, 1)."""
    return norm(mean, sd).ppf((np.arange(count) + 0.5) / count)[:, None]


def absolute(mean, sd):
    """E|N(mean, sd²)|."""
    return sd * np.sqrt(2 / np.pi) * np.exp(-0.5 * (mean / sd) ** 2) + mean * (1 - 2 * norm.cdf(-mean / sd))


def test_the_energy_distance_of_normals():
    first, second = quantiles(0.7, 1.3), quantiles(-0.2, 0.6)
    exact = 2 * absolute(0.9, np.hypot(1.3, 0.6)) - absolute(0, 1.3 * np.sqrt(2)) - absolute(0, 0.6 * np.sqrt(2))
    assert np.isclose(diagnostics.energy_distance(first, second), np.sqrt(exact), rtol=2e-3)


def test_the_discrepancy_of_normals():
    length = 0.8

    def mean_kernel(gap, variance):  # E exp(−(gap + √variance ξ)²/2ℓ²)
        return length / np.sqrt(length**2 + variance) * np.exp(-0.5 * gap**2 / (length**2 + variance))

    exact = mean_kernel(0, 2 * 1.3**2) + mean_kernel(0, 2 * 0.6**2) - 2 * mean_kernel(0.9, 1.3**2 + 0.6**2)
    found = diagnostics.mmd(quantiles(0.7, 1.3), quantiles(-0.2, 0.6), scale=length)
    assert np.isclose(found, np.sqrt(exact), rtol=2e-3)


@pytest.mark.parametrize("distance", [diagnostics.wasserstein, diagnostics.sliced_wasserstein])
def test_the_transport_distance_of_normals(distance):
    first, second = quantiles(0.7, 1.3, 1000), quantiles(-0.2, 0.6, 1000)
    assert np.isclose(distance(first, second), np.hypot(0.9, 0.7), rtol=1e-2)
    assert np.isclose(distance(first + 3.0, first, order=1), 3.0)


def test_a_shift_in_many_dimensions_is_seen_by_its_share_of_directions():
    draws, shift = RNG.normal(size=(300, 5)), np.array([1.0, -2.0, 0.5, 0.0, 1.5])
    assert np.isclose(diagnostics.wasserstein(draws + shift, draws), np.linalg.norm(shift))
    sliced = diagnostics.sliced_wasserstein(draws + shift, draws, num_directions=20_000)
    assert np.isclose(sliced, np.linalg.norm(shift) / np.sqrt(5), rtol=2e-2)


def test_the_exact_distance_is_the_best_of_all_pairings():
    first, second = RNG.normal(size=(6, 3)), RNG.normal(size=(6, 3))
    best = min(np.mean([np.sum((first[i] - second[j]) ** 2) for i, j in enumerate(p)]) for p in permutations(range(6)))
    assert np.isclose(diagnostics.wasserstein(first, second), np.sqrt(best))


DISTANCES = (diagnostics.energy_distance, diagnostics.mmd, diagnostics.sliced_wasserstein)


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_weight_is_a_repeated_row(distance):
    first, second, copies = RNG.normal(size=(40, 3)), RNG.normal(size=(57, 3)), RNG.integers(0, 4, size=40)
    weighted = distance(first, second, weights=2.5 * copies)
    assert np.isclose(weighted, distance(np.repeat(first, copies, axis=0), second), rtol=1e-10)
    assert not np.isclose(weighted, distance(first, second), rtol=1e-3)


@pytest.mark.parametrize("distance", [*DISTANCES, diagnostics.wasserstein])
def test_a_sample_is_at_no_distance_from_itself(distance):
    draws = RNG.normal(size=(64, 4))
    assert distance(draws, draws[RNG.permutation(64)]) < 1e-6


def test_blocks_change_nothing(monkeypatch):
    first, second = RNG.normal(size=(100, 2)), RNG.normal(size=(90, 2))
    plain = diagnostics.energy_distance(first, second)
    monkeypatch.setattr("fkdiff.diagnostics.discrepancy.BLOCK", 7)
    assert np.isclose(diagnostics.energy_distance(first, second), plain, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda a: diagnostics.energy_distance(a, a[:, :1]), "draws of one space"),
        (lambda a: diagnostics.energy_distance(a * np.nan, a), "not finite"),
        (lambda a: diagnostics.energy_distance(a, a, weights=-np.ones(len(a))), "non-negative"),
        (lambda a: diagnostics.energy_distance(a, a, weights=np.ones(3)), "weights have shape"),
        (lambda a: diagnostics.wasserstein(a, a[:-1]), "equally many"),
        (lambda a: diagnostics.sliced_wasserstein(a, a, order=3), "order=3 must be 1 or 2"),
        (lambda a: diagnostics.mmd(a, a, kernel="gausian"), 'did you mean "gaussian"'),
        (lambda a: diagnostics.mmd(a, a, scale=0.0), "must be positive"),
        (lambda a: diagnostics.mmd(a[:1], a), "at least two draws"),
    ],
)
def test_what_is_no_sample_is_refused(call, sentence):
    with pytest.raises(FkdiffError, match=sentence):
        call(RNG.normal(size=(10, 2)))


MIXTURE = fk.targets.gaussian_mixture([[-2.0, 0.0], [1.5, 1.0]], [0.25, 0.64], [0.3, 0.7])


@pytest.mark.parametrize("distance", DISTANCES)
def test_exact_draws_lie_on_the_floor_and_wrong_ones_do_not(distance):
    draws = MIXTURE.sample(jax.random.key(1), 300)
    right = diagnostics.floored(jax.random.key(2), distance, draws, MIXTURE.sample)
    wrong = diagnostics.floored(jax.random.key(2), distance, draws + 1.0, MIXTURE.sample)
    assert abs(right.excess) < 4
    assert 0.3 < right.ratio < 3
    assert wrong.excess > 8
    assert "exact draws" in str(wrong)


def test_weights_that_make_draws_exact_bring_them_to_the_floor():
    proposal = fk.targets.gaussian_mixture([[-2.0, 0.0], [1.5, 1.0]], [0.25, 0.64], [0.6, 0.4])
    draws = proposal.sample(jax.random.key(3), 600)
    log_ratio = jax.vmap(MIXTURE.log_prob)(draws) - jax.vmap(proposal.log_prob)(draws)
    key = jax.random.key(4)
    weights = jax.nn.softmax(log_ratio)
    weighted = diagnostics.floored(key, diagnostics.energy_distance, draws, MIXTURE.sample, weights=weights)
    plain = diagnostics.floored(key, diagnostics.energy_distance, draws, MIXTURE.sample)
    assert weighted.excess < 5 < plain.excess


def test_masses_of_modes_and_their_floor():
    draws = np.array([[0.1, 0.0], [0.9, 1.1], [1.2, 1.0], [-0.3, 0.2]])
    modes = diagnostics.nearest(draws, [[0.0, 0.0], [1.0, 1.0]])
    assert modes.tolist() == [0, 1, 1, 0]
    masses = diagnostics.mode_masses(modes, 2, [1.0, 2.0, 4.0, 1.0])
    assert masses.tolist() == [0.25, 0.75]
    error = diagnostics.mode_error(masses, [0.5, 0.5], 1000)
    assert error.value == 0.25
    # E ½Σ|p̂ − p| → Σ√(p(1 − p)/(2πN)), the mean of folded normals
    assert np.isclose(error.floor, 2 * np.sqrt(0.25 / (2 * np.pi * 1000)), rtol=0.05)
    assert error.excess > 10


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: diagnostics.nearest(np.zeros((3, 2)), np.zeros((2, 3))), "pass .n, d. and .K, d."),
        (lambda: diagnostics.mode_masses(np.array([0, 5]), 2), r"must lie in \[0, 2\)"),
        (lambda: diagnostics.mode_masses(np.array([0.0, 1.0]), 2), "one index and one weight"),
        (lambda: diagnostics.mode_error([0.5, 0.5], [0.5, 0.6], 10), "sums to 1"),
        (lambda: diagnostics.floored(jax.random.key(0), diagnostics.mmd, np.zeros((3, 2)), None), "not a function"),
    ],
)
def test_what_has_no_floor_is_refused(call, sentence):
    with pytest.raises(FkdiffError, match=sentence):
        call()
