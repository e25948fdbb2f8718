"""Judges and reward models for digits: different families, trained on different digits."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from fkdiff.evaluate.distances import frechet
from fkdiff.steering import class_log_odds
from fkdiff.steering.rewards import ClassLogOdds
from fkdiff.train.data import digits


class Verdict(NamedTuple):
    """What a judge says of a set of draws.

    Attributes:
        labels: The judge's class of every draw, (n,).
        balance: Share of each class, (C,), by weight.
        accuracy: Share of draws, by weight, judged to be of the class asked for; None where nothing was asked.
        frechet: Distance to the judge's own digits of the classes asked for, in its decision values.
        frechet_floor: The same distance for real digits that the model was trained on, which is what perfect draws
            would score at best.
    """

    labels: np.ndarray
    balance: np.ndarray
    accuracy: float | None
    frechet: float
    frechet_floor: float


class Judge(NamedTuple):
    """A fitted classifier with real digits to compare with.

    Attributes:
        classifier: Gives `predict` and `decision_function`.
        real: The digits that the judge was trained on, features (n, C) and labels (n,).
        training: The digits that the model was trained on, likewise.
    """

    classifier: Any
    real: tuple[np.ndarray, np.ndarray]
    training: tuple[np.ndarray, np.ndarray]

    def __call__(self, draws, asked=None, classes=None, weights=None) -> Verdict:
        """Judges draws.

        Args:
            draws: Shape (n, 64) or (n, 8, 8, 1).
            asked: The class asked of every draw, (n,) or one number; None where nothing was asked.
            classes: Restricts the real digits of the comparison to these classes.
            weights: Of the draws, (n,), non-negative; equal by default.
        """
        flat = np.asarray(draws, np.float64).reshape(len(draws), -1)
        labels = self.classifier.predict(flat)
        features = self.classifier.decision_function(flat)
        real, training = (f if classes is None else f[np.isin(y, classes)] for f, y in (self.real, self.training))
        shares = np.full(len(flat), 1 / len(flat)) if weights is None else np.asarray(weights, np.float64)
        shares = shares / shares.sum()
        accuracy = None if asked is None else float(shares @ (labels == np.asarray(asked)))
        balance = np.bincount(labels, weights=shares, minlength=features.shape[1])
        return Verdict(labels, balance, accuracy, frechet(features, real, shares), frechet(training, real))


def digit_judge() -> Judge:
    """A support vector machine with a Gaussian kernel, trained on the judge's part of the digits."""
    own, model = digits("judge"), digits("model")
    classifier = SVC(C=10.0, gamma="scale").fit(own.examples, own.labels)
    return Judge(
        classifier,
        (classifier.decision_function(own.examples), own.labels),
        (classifier.decision_function(model.examples), model.labels),
    )


def digit_reward(label: int) -> ClassLogOdds:
    """The log-odds of one digit under a linear classifier, trained on the reward part of the digits."""
    own = digits("reward")
    fitted = LogisticRegression(C=0.05, max_iter=2000).fit(own.examples, own.labels)
    return class_log_odds(fitted.coef_, fitted.intercept_, label)
