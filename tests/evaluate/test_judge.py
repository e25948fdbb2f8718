"""The judge against what it must say of real digits, and the Fréchet distance against its closed form."""

import numpy as np
import pytest

from fkdiff import FkdiffError
from fkdiff.evaluate import digit_judge, digit_reward, frechet
from fkdiff.train import digits


@pytest.fixture(scope="module")
def judge():
    return digit_judge()


def moments(x, mean, cov):
    """`x` moved and stretched so that its sample mean and covariance are exactly these."""
    x = (x - x.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return mean + x @ np.linalg.cholesky(cov).T


def test_frechet_is_its_closed_form_for_commuting_covariances():
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    one, two = np.array([0.5, 2.0, 1.0]), np.array([1.5, 0.3, 4.0])
    first = moments(rng.normal(size=(50, 3)), np.array([1.0, -2.0, 0.5]), turn @ np.diag(one) @ turn.T)
    second = moments(rng.normal(size=(70, 3)), np.array([0.0, 1.0, 2.5]), turn @ np.diag(two) @ turn.T)
    exact = 1 + 9 + 4 + np.sum((np.sqrt(one) - np.sqrt(two)) ** 2)
    assert abs(frechet(first, second) - exact) <= 1e-9
    assert abs(frechet(first, first)) <= 1e-9


def test_weights_count_like_copies():
    rng = np.random.default_rng(1)
    points, other, copies = rng.normal(size=(40, 2)), rng.normal(size=(60, 2)), rng.integers(0, 40, 40)
    repeated = np.repeat(points, copies, axis=0)
    # Copies and weights differ in the unbiased factor of the covariance, and in nothing else.
    gap = frechet(points, other, copies) - frechet(repeated, other)
    assert abs(gap) <= 0.1
    assert abs(frechet(points, other, np.ones(40)) - frechet(points, other)) <= 1e-12


def test_shapes_that_cannot_be_compared_are_refused():
    with pytest.raises(FkdiffError, match="pass"):
        frechet(np.zeros((5, 2)), np.zeros((5, 3)))


def test_the_judge_knows_digits_that_it_has_not_seen(judge):
    unseen = digits("reward")
    verdict = judge(unseen.examples, unseen.labels)
    assert verdict.accuracy >= 0.95
    np.testing.assert_allclose(verdict.balance, np.bincount(unseen.labels) / len(unseen.labels), atol=0.02)
    # Real digits lie at the floor, noise does not.
    noise = np.random.default_rng(0).normal(size=(300, 64))
    assert verdict.frechet <= 3 * verdict.frechet_floor
    assert judge(noise).frechet >= 20 * verdict.frechet_floor


def test_weights_choose_what_is_judged(judge):
    unseen = digits("reward")
    threes = (unseen.labels == 3).astype(float)
    verdict = judge(unseen.examples, 3, [3], threes)
    among = np.bincount(verdict.labels[unseen.labels == 3], minlength=10) / threes.sum()
    np.testing.assert_allclose(verdict.balance, among, atol=1e-12)
    assert verdict.accuracy == pytest.approx(among[3])
    assert among[3] >= 0.9


def test_the_reward_is_the_log_odds_of_its_classifier():
    unseen = digits("judge")
    rewards = {d: np.asarray([float(digit_reward(d)(x)) for x in unseen.examples[:40]]) for d in (1, 8)}
    # log-odds: positive exactly where the class is more probable than all others together.
    for digit, values in rewards.items():
        is_digit = unseen.labels[:40] == digit
        assert np.mean((values > 0) == is_digit) >= 0.9
