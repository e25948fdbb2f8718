"""One training step: it learns, averages, and steps over gradients that are not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

import fkdiff as fk
from fkdiff.core import FkdiffError
from fkdiff.core.keys import Use, seed_key, stream
from fkdiff.train.averages import ema_decay_at
from fkdiff.train.build import build_form, build_model
from fkdiff.train.config import TrainConfig
from fkdiff.train.data import Batches, Dataset, load_data
from fkdiff.train.step import (
    STOP_AFTER,
    init_state,
    make_evaluation,
    make_gradient,
    make_loss,
    make_optimizer,
    make_step,
)

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
    batches = Batches(load_data(CONFIG), stream(root, Use.DATA), CONFIG.optim.batch_size)
    data = batches.at(0)
    broken = Dataset(data.examples * jnp.nan, data.labels)

    def fresh():
        return init_state(jax.tree.map(jnp.copy, params), optimizer)

    return step, fresh, batches, broken, root


def leaves(tree):
    return [np.array(leaf) for leaf in jax.tree.leaves(tree)]


def test_it_learns_and_the_average_follows_the_recursion(training):
    step, fresh, batches, _, root = training
    state = fresh()
    average, losses = leaves(state.ema), []
    for k in range(150):
        state, metrics = step(state, batches.at(k), root)
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
    step, fresh, batches, broken, root = training
    data = batches.at(0)
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
    step, fresh, batches, _, root = training
    data = batches.at(0)
    twice = [step(fresh(), data, root)[1]["loss"] for _ in range(2)]
    assert float(twice[0]) == float(twice[1])
    later = fresh()._replace(step=jnp.int32(1))
    assert float(step(later, data, root)[1]["loss"]) != float(twice[0])
    assert float(step(fresh(), data, seed_key(1))[1]["loss"]) != float(twice[0])


def changed(**sections):
    """CONFIG with other sections."""
    data = CONFIG.model_dump(mode="json")
    for name, section in sections.items():
        data[name] = {**data[name], **section}
    return TrainConfig.model_validate(data)


def ready(config):
    root = seed_key(config.seed)
    apply, params, form = build_model(config, stream(root, Use.INITIAL))
    batch = Batches(load_data(config), stream(root, Use.DATA), config.optim.batch_size).at(0)
    return apply, params, form, batch


@pytest.mark.parametrize("objective", [{}, {"coupling": "optimal_transport", "label_dropout": 0.0}])
def test_a_batch_in_pieces_has_the_gradient_of_the_whole(objective):
    """Pairs too are drawn of the whole batch: 4 to choose from are farther apart than 32."""
    sections = {"path": {"kind": "linear"}, "objective": objective}
    whole = changed(**sections)
    apply, params, form, batch = ready(whole)
    moved = jax.tree.map(lambda leaf: leaf + 0.1, params)
    key = jax.random.key(3)
    value, gradient = jax.jit(make_gradient(whole, form, apply))(moved, key, batch)
    for pieces in (4, 8):
        cut = changed(optim={"accumulate": pieces}, **sections)
        again, in_pieces = jax.jit(make_gradient(cut, form, apply))(moved, key, batch)
        assert abs(float(value) - float(again)) <= 1e-5
        for ours, theirs in zip(jax.tree.leaves(gradient), jax.tree.leaves(in_pieces), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


def still(params, x, t, cond=None, **options):
    """A model that says 0, so that its loss is the mean squared length of the paths."""
    return params * jnp.ones_like(x)


@pytest.mark.slow
def test_held_out_pairs_are_chosen_from_as_many_as_in_training():
    """The squared length of paths, whatever the number of held-out rows; SciPy's assignment is the oracle."""
    config = changed(
        path={"kind": "linear"},
        objective={"coupling": "optimal_transport", "weighting": "plain"},
        optim={"batch_size": 32},
    )
    form = build_form(config)
    zero, root = jnp.zeros(()), seed_key(0)
    examples = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    rng = np.random.default_rng(1)

    def expected(count):
        lengths = []
        for _ in range(200):
            rows, noise = examples[np.resize(rng.permutation(count), 32)], rng.normal(size=(32, 2))
            cost = ((rows[:, None] - noise[None]) ** 2).sum(-1)
            lengths.append(cost[linear_sum_assignment(cost)].mean() / 2)
        return np.mean(lengths)

    for count, repeats in ((500, 16), (320, 16), (20, 256)):  # the last batch is filled up, or there is less than one
        evaluate = make_evaluation(config, form, still, repeats)
        data, truth = Dataset(examples[:count], np.zeros(count, np.int32)), expected(count)
        assert abs(float(evaluate(zero, data, root)) - truth) <= 0.12 * truth, count
    truth = expected(500)
    # Planted: one assignment among all 500, as it was, is far shorter.
    all_at_once = make_loss(config, form, still)(zero, root, jnp.asarray(examples), jnp.zeros(500, jnp.int32))
    assert float(all_at_once) <= 0.8 * truth


def test_no_held_out_row_is_tied_to_its_time():
    """Rows of two kinds, one after the other as in a sorted file, on stratified times."""
    config = changed(path={"kind": "linear"}, objective={"kind": "noise", "weighting": "plain"})
    form = build_form(config)
    small, large = (fk.targets.gaussian([0.0, 0.0], s**2).predictor(form.path) for s in (0.05, 1.0))

    def exact(params, x, t, cond=None, **options):
        return jnp.where(cond == 0, small(x, t).noise, large(x, t).noise)

    labels = np.repeat([0, 1], 1000).astype(np.int32)
    examples = (np.where(labels, 1.0, 0.05)[:, None] * np.random.default_rng(0).normal(size=(2000, 2))).astype(
        np.float32
    )
    found = float(make_evaluation(config, form, exact)(jnp.zeros(()), Dataset(examples, labels), seed_key(0)))
    t = np.linspace(float(form.path.t_min), float(form.path.t_max), 20001)
    truth = np.mean([np.mean(t**2 * s**2 / (t**2 * s**2 + (1 - t) ** 2)) for s in (0.05, 1.0)])
    assert abs(found - truth) <= 0.02  # tied to their times they score 0.42


@pytest.mark.slow
def test_averages_of_every_length_follow_their_recursions():
    config = changed(optim={"more_ema_decays": [0.5, 0.99]})
    apply, params, form, batch = ready(config)
    optimizer = make_optimizer(config)
    step = make_step(config, form, apply, optimizer)
    state = init_state(params, optimizer, 2)
    wanted = [leaves(state.params) for _ in range(3)]
    for k in range(6):
        state, _ = step(state, batch, seed_key(0))
        now = leaves(state.params)
        for number, decay in enumerate((0.9, 0.5, 0.99)):
            share = min(decay, (1 + k) / (10 + k))
            wanted[number] = [share * a + (1 - share) * p for a, p in zip(wanted[number], now, strict=True)]
    for average, tree in zip(wanted, (state.ema, *state.more_emas), strict=True):
        for a, b in zip(average, leaves(tree), strict=True):
            assert np.abs(a - b).max() <= 1e-5


@pytest.mark.slow
def test_half_precision_is_for_training_and_leaves_parameters_whole():
    config = changed(optim={"precision": "bfloat16"})
    apply, params, form, batch = ready(config)
    key = jax.random.key(3)
    rough, gradient = jax.jit(make_gradient(config, form, apply))(params, key, batch)
    exact, _ = jax.jit(make_gradient(CONFIG, form, apply))(params, key, batch)
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype("float32")}
    assert "bf16" in str(jax.make_jaxpr(make_gradient(config, form, apply))(params, key, batch))
    assert abs(float(rough) - float(exact)) <= 0.02 * float(exact)
    evaluation = jax.make_jaxpr(make_evaluation(config, form, apply))(params, batch, seed_key(0))
    assert "bf16" not in str(evaluation)


def test_dropout_and_spreading_belong_to_training():
    config = changed(model={"dropout": 0.5})
    apply, params, form, batch = ready(config)
    key = jax.random.key(3)
    moved = jax.tree.map(lambda leaf: leaf + 0.1, params)
    losses = {
        (rate, training): float(make_loss(c, form, apply, training)(moved, key, *batch))
        for rate, c in ((0.5, config), (0.0, CONFIG))
        for training in (True, False)
    }
    assert losses[0.5, True] != losses[0.0, True]
    assert losses[0.5, False] == losses[0.0, False]
    digits = TrainConfig.model_validate({"data": {"kind": "digits", "dequantize": True}})
    assert digits.data.noise_width == 1 / 6
    assert TrainConfig.model_validate({"data": {"kind": "digits"}}).data.noise_width == 0


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(FkdiffError, match=r"batch_size=512 is larger than the 256 training examples"):
        Batches(load_data(CONFIG), seed_key(0), 512)
