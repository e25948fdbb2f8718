"""One training step: it learns, averages, and steps over gradients that are not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fkdiff.core.keys import Use, seed_key, stream
from fkdiff.train.build import build_model
from fkdiff.train.config import TrainConfig
from fkdiff.train.data import Dataset, load_data
from fkdiff.train.step import STOP_AFTER, ema_decay_at, init_state, make_optimizer, make_step

CONFIG = TrainConfig.model_validate(
    {
        "data": {"kind": "gaussians", "num_points": 256},
        "model": {"kind": "mlp", "width": 16, "depth": 1},
        "optim": {"steps": 200, "batch_size": 32, "learning_rate": 3e-2, "warmup": 2, "ema_decay": 0.9},
    }
)


@pytest.fixture(scope="module")
def training():
    root = seed_key(CONFIG.seed)
    apply, params, form = build_model(CONFIG, stream(root, Use.INITIAL))
    optimizer = make_optimizer(CONFIG)
    step = make_step(CONFIG, form, apply, optimizer)
    data = jax.tree.map(jnp.asarray, load_data(CONFIG))
    broken = Dataset(data.examples * jnp.nan, data.labels)

    def fresh():
        return init_state(jax.tree.map(jnp.copy, params), optimizer)

    return step, fresh, data, broken, root


def leaves(tree):
    return [np.array(leaf) for leaf in jax.tree.leaves(tree)]


def test_it_learns_and_the_average_follows_the_recursion(training):
    step, fresh, data, _, root = training
    state = fresh()
    average, losses = leaves(state.ema), []
    for k in range(150):
        state, metrics = step(state, data, root)
        losses.append(float(metrics["loss"]))
        decay = min(0.9, (1 + k) / (10 + k))
        average = [decay * a + (1 - decay) * p for a, p in zip(average, leaves(state.params), strict=True)]
    assert np.mean(losses[-50:]) <= 0.6 * np.mean(losses[:5])
    for ours, theirs in zip(average, leaves(state.ema), strict=True):
        assert np.abs(ours - theirs).max() <= 1e-5
    assert abs(float(ema_decay_at(jnp.int32(10**6), 0.9)) - 0.9) <= 1e-7
    assert int(state.step) == 150
    assert int(state.skipped) == 0


def test_a_bad_gradient_changes_nothing_and_ten_in_a_row_stop_everything(training):
    step, fresh, data, broken, root = training
    state, _ = step(fresh(), data, root)
    before = leaves((state.params, state.ema, state.opt_state))
    for _ in range(3):
        state, _ = step(state, broken, root)
    for a, b in zip(before, leaves((state.params, state.ema, state.opt_state)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (int(state.skipped), int(state.streak), int(state.step)) == (3, 3, 4)
    state, _ = step(state, data, root)
    assert (int(state.skipped), int(state.streak)) == (3, 0)
    assert any((a != b).any() for a, b in zip(before, leaves((state.params, state.ema, state.opt_state)), strict=True))
    for _ in range(STOP_AFTER):
        state, _ = step(state, broken, root)
    held = leaves(state.params)
    state, _ = step(state, data, root)
    assert int(state.streak) == STOP_AFTER + 1
    for a, b in zip(held, leaves(state.params), strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_step_draws_anew_and_the_same_step_draws_the_same(training):
    step, fresh, data, _, root = training
    twice = [step(fresh(), data, root)[1]["loss"] for _ in range(2)]
    assert float(twice[0]) == float(twice[1])
    later = fresh()._replace(step=jnp.int32(1))
    assert float(step(later, data, root)[1]["loss"]) != float(twice[0])
    assert float(step(fresh(), data, seed_key(1))[1]["loss"]) != float(twice[0])
