"""Data: disjoint parts, laws in the plane, and batches that depend on the step alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from fkdiff.core import FkdiffError
from fkdiff.core.keys import seed_key
from fkdiff.train.data import batch_indices, digits, pixels, toy2d
from fkdiff.train.data.handwriting import SPLITS


def test_the_three_parts_hold_every_digit_once_with_all_classes_in_proportion():
    raw = load_digits()
    parts = {name: digits(name) for name in SPLITS}
    sizes = np.array([len(part.labels) for part in parts.values()])
    assert sizes.sum() == 1797
    assert np.abs(sizes / 1797 - [0.6, 0.2, 0.2]).max() <= 0.005
    # No image appears twice in the source, so equal sorted lists mean disjoint parts.
    grey = np.concatenate([np.round(pixels(part.examples).reshape(-1, 64) * 16) for part in parts.values()])
    labels = np.concatenate([part.labels for part in parts.values()])
    together = np.column_stack([grey, labels])
    whole = np.column_stack([raw.data, raw.target])
    assert len(np.unique(whole, axis=0)) == 1797
    np.testing.assert_array_equal(together[np.lexsort(together.T)], whole[np.lexsort(whole.T)])
    counts = np.bincount(raw.target)
    for part, share in zip(parts.values(), [0.6, 0.2, 0.2], strict=True):
        assert np.abs(np.bincount(part.labels) - share * counts).max() <= 1
        assert part.examples.dtype == np.float32
    assert abs(parts["model"].examples.mean()) <= 0.02
    assert abs(parts["model"].examples.std() - 1) <= 0.02


def test_the_parts_never_change_and_the_seed_of_numpy_has_no_say():
    first = digits("judge")
    np.random.default_rng(1).normal()
    np.testing.assert_array_equal(first.examples, digits("judge").examples)
    with pytest.raises(FkdiffError, match='did you mean "judge"'):
        digits("juge")


def test_the_toys_are_their_laws():
    key = seed_key(4)
    board = toy2d(key, "checkerboard", 4000)
    cell = np.floor(board.examples * 1.15 + 2).astype(int)
    assert ((cell >= 0) & (cell <= 3)).all()
    assert (cell.sum(1) % 2 == 0).all()
    assert len(np.unique(cell, axis=0)) == 8
    rings = toy2d(key, "rings", 3000)
    radius = np.linalg.norm(rings.examples, axis=1)
    for label in range(3):
        assert abs(np.median(radius[rings.labels == label]) - 0.6 * (label + 1)) <= 0.02
    mixture = toy2d(key, "gaussians", 36_000)
    share = np.bincount(mixture.labels) / 36_000
    assert np.abs(share - np.arange(1, 9) / 36).max() <= 6 * 0.5 / np.sqrt(36_000)
    moons = toy2d(key, "moons", 2000)
    assert set(moons.labels) == {0, 1}
    upper = moons.examples[moons.labels == 0]
    assert upper[:, 1].mean() >= moons.examples[moons.labels == 1][:, 1].mean() + 0.3
    for data in (board, rings, mixture, moons):
        assert data.examples.dtype == np.float32
        assert 0.6 <= data.examples.std() <= 1.4


def test_an_epoch_is_a_permutation_and_a_batch_a_function_of_its_step():
    key = seed_key(0)
    rows = jax.jit(lambda step: batch_indices(key, step, 50, 8))
    epoch = np.concatenate([rows(jnp.int32(k)) for k in range(6)])
    assert len(set(epoch.tolist())) == 48
    later = np.concatenate([rows(jnp.int32(k)) for k in range(6, 12)])
    assert len(set(later.tolist())) == 48
    assert (epoch != later).any()
    np.testing.assert_array_equal(rows(jnp.int32(9)), later[24:32])
    tiny = np.asarray(batch_indices(key, jnp.int32(0), 3, 8))
    assert tiny.shape == (8,)
    assert set(tiny.tolist()) <= {0, 1, 2}
    large = np.asarray(batch_indices(key, jnp.int32(0), 10**6, 4096))
    assert large.max() >= 0.99 * 10**6
    assert len(set(large.tolist())) >= 4000
