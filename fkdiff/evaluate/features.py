"""Features in which pictures and rows are compared, of a classifier that is trained here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fkdiff.evaluate.judge import digit_judge
from fkdiff.train.data import Dataset
from fkdiff.train.data.dataset import shuffled

Features = Callable[[np.ndarray], np.ndarray]


def features_of(kind: str, training: Dataset, num_classes: int, seed: int = 0) -> tuple[Features, str]:
    """`features(x) -> (n, k)`, and what they are.

    Digits: decision values of a support vector machine that was trained on digits nothing else has seen. Other data
    with classes: hidden units of a small perceptron that tells the classes of the training set apart. Without classes:
    the examples themselves, on their 32 largest principal components.

    Args:
        kind: Of the data section.
        training: The training set.
        num_classes: Its classes; 0 for none.
        seed: Of the perceptron.
    """
    if kind == "digits":
        judge = digit_judge()
        return lambda x: judge.classifier.decision_function(_flat(x)), "decision values of a judge of digits"
    some = np.sort(shuffled(len(training.examples))[:4096])  # of all kinds: data may lie class by class
    rows = _flat(training.examples[some])
    if num_classes > 1:
        return _hidden_units(rows, np.asarray(training.labels)[some], seed), "hidden units of a classifier"
    centre = rows.mean(0)
    axes = np.linalg.svd(rows - centre, full_matrices=False)[2][:32]
    return lambda x: (_flat(x) - centre) @ axes.T, "principal components"


def _hidden_units(rows: np.ndarray, labels: np.ndarray, seed: int) -> Features:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    network = MLPClassifier((64, 32), early_stopping=len(rows) >= 200, max_iter=60, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # features need not be the best ones
        network.fit(rows, labels)

    def hidden(x: np.ndarray) -> np.ndarray:
        values = _flat(x)
        for weights, shift in zip(network.coefs_[:-1], network.intercepts_[:-1], strict=True):
            values = np.maximum(values @ weights + shift, 0)
        return values

    return hidden


def _flat(x) -> np.ndarray:
    rows = np.asarray(x, np.float64)
    return rows.reshape(len(rows), -1)
