"""The shipped digits config draws digits that a stranger's classifier recognises, and has not learnt them by heart."""

from pathlib import Path

import numpy as np
import pytest

from fkdiff.core.keys import seed_key
from fkdiff.train import digits, load_run
from fkdiff.train.config import load_config
from fkdiff.train.loop import train
from fkdiff.train.pictures import sample_classes


@pytest.mark.slow
def test_digits_are_recognised_varied_and_new(tmp_path):
    from sklearn.svm import SVC

    config = load_config(Path(__file__).parents[2] / "configs" / "digits.yaml")
    result = train(config, tmp_path / "digits", picture=False)
    assert result.held_out <= 0.345
    run = load_run(tmp_path / "digits")
    plain = config.model_copy(update={"sampling": config.sampling.model_copy(update={"guidance": 1.0})})
    samples = sample_classes(seed_key(5), run._replace(config=plain), list(range(10)), 40)
    labels = np.repeat(np.arange(10), 40)
    samples = samples.reshape(400, 64)
    judge, unseen, known = digits("judge"), digits("reward"), digits("model")
    classifier = SVC(gamma=0.02, C=10).fit(judge.examples, judge.labels)
    floor = classifier.score(unseen.examples, unseen.labels)
    accuracy = classifier.score(samples, labels)
    print(f"accuracy {accuracy:.3f}, of real unseen digits {floor:.3f}")
    assert accuracy >= 0.92

    # Samples lie no nearer to the training images than unseen real digits do, and are as spread out as those.
    def nearest(x):
        return np.median(np.sqrt(((x[:, None] - known.examples[None]) ** 2).sum(-1).min(1)))

    assert nearest(samples) >= 0.9 * nearest(unseen.examples)
    for digit in range(10):
        spread = samples[labels == digit].std(0).mean()
        assert 0.75 <= spread / unseen.examples[unseen.labels == digit].std(0).mean() <= 1.3
