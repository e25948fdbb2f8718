"""One training step, pure: (state, data) -> (state, metrics)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from fkdiff.core import Array, Key, PyTree
from fkdiff.core.keys import Use, stream
from fkdiff.discrete import Masked
from fkdiff.train import config as schema
from fkdiff.train.averages import averaged
from fkdiff.train.build import Form, build_times, build_weighting
from fkdiff.train.config import TrainConfig
from fkdiff.train.data.dataset import Dataset
from fkdiff.train.objectives.masked import draw_masks, masked_losses
from fkdiff.train.objectives.matching import Drawn, draw, losses

STOP_AFTER = 10  # gradients in a row that are not finite


class TrainState(NamedTuple):
    """All that the next step needs, but for the data and the root key.

    Attributes:
        step: Steps taken, int32.
        params: Parameters.
        ema: Their exponential moving average, which samplers use.
        more_emas: Averages of other lengths, in the order of `optim.more_ema_decays`.
        opt_state: The optimiser's state.
        skipped: Steps whose gradient was not finite, in total, int32.
        streak: The same, in a row; at `STOP_AFTER` nothing moves any more.
    """

    step: Array
    params: PyTree
    ema: PyTree
    more_emas: tuple[PyTree, ...]
    opt_state: PyTree
    skipped: Array
    streak: Array


def make_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """Clipping by global norm, then Adam with decoupled weight decay on matrices, warm-up and cosine decay."""
    optim = config.optim
    warmup = min(optim.warmup, optim.steps // 2)
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=0.0 if warmup else optim.learning_rate,
        peak_value=optim.learning_rate,
        warmup_steps=warmup,
        decay_steps=max(optim.steps, 1),
    )
    # Biases are not decayed: they hold means, which have no reason to be small.
    decayed = optax.adamw(
        schedule, weight_decay=optim.weight_decay, mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params)
    )
    return optax.chain(optax.clip_by_global_norm(optim.clip), decayed)


def init_state(params: PyTree, optimizer: optax.GradientTransformation, num_more: int = 0) -> TrainState:
    """The state before the first step, with `num_more` further averages."""
    # Nothing is shared, since every buffer of the state is donated to the next step.
    step, skipped, streak = (jnp.zeros((), jnp.int32) for _ in range(3))
    ema, *more = (jax.tree.map(jnp.copy, params) for _ in range(1 + num_more))
    return TrainState(step, params, ema, tuple(more), optimizer.init(params), skipped, streak)


class Loss(NamedTuple):
    """The loss of a batch in two halves: what is random is drawn of the whole batch, and then it may be cut.

    Attributes:
        draw: `draw(key, examples, labels) -> drawn`, a pytree whose leaves have the batch as leading axis.
        each: `each(params, drawn) -> (batch,)`, the loss of every example.
    """

    draw: Callable[[Key, Any, Any], PyTree]
    each: Callable[[PyTree, PyTree], Array]

    def __call__(self, params: PyTree, key: Key, examples: Array, labels: Array) -> Array:
        """The mean over a batch."""
        return self.each(params, self.draw(key, examples, labels)).mean()


def make_loss(config: TrainConfig, form: Form, apply: Callable[..., Array], training: bool = False) -> Loss:
    """`loss(params, key, examples, labels)`, the mean over a batch, for the model that a config describes.

    In training labels are hidden and hidden units left out; whole numbers are spread out by noise; each where the
    config asks for it.
    """
    data, objective = config.data, config.objective
    if isinstance(form, Masked):
        assert isinstance(config.path, schema.Masked), "a masked form comes from a masked path"
        power = config.path.power
        return Loss(
            lambda key, examples, labels: draw_masks(key, form, examples, power),
            lambda params, drawn: masked_losses(form, apply, params, drawn),
        )
    told = data.num_classes > 0 or data.cond_length > 0
    width, weighting = data.noise_width, build_weighting(objective)

    def drawn(key: Key, examples: Array, labels: Array) -> Drawn:
        if width > 0:
            spread = jax.random.uniform(stream(key, Use.DATA), examples.shape, examples.dtype, -0.5, 0.5)
            examples = examples + width * spread
        return draw(
            key,
            form,
            examples,
            labels if told else None,
            num_classes=data.num_classes,
            label_dropout=objective.label_dropout if training else 0.0,
            times=build_times(objective),
            stratified=objective.times.stratified,
            coupling=objective.coupling,
            dropout=training and getattr(config.model, "dropout", 0.0) > 0,
        )

    return Loss(drawn, lambda params, drawn: losses(form, apply, params, drawn, weighting))


def make_gradient(
    config: TrainConfig, form: Form, apply: Callable[..., Array]
) -> Callable[[PyTree, Key, Dataset], tuple[Array, PyTree]]:
    """`gradient(params, key, batch) -> (loss, gradient)`, piece by piece where the config cuts batches.

    Times, noise and pairs are drawn of the whole batch and cut with it: the number of pieces changes no more than
    rounding, with optimal transport too, whose pairs depend on how many there are to choose from.
    """
    optim = config.optim
    in_training = apply if optim.precision == "float32" else apply.computing_in(optim.precision)  # type: ignore[attr-defined]
    loss = make_loss(config, form, in_training, training=True)
    of_drawn = jax.value_and_grad(lambda params, drawn: loss.each(params, drawn).mean())
    pieces = optim.accumulate
    if pieces == 1:
        return lambda params, key, batch: of_drawn(params, loss.draw(key, *batch))

    def in_pieces(params: PyTree, key: Key, batch: Dataset) -> tuple[Array, PyTree]:
        drawn = loss.draw(key, *batch)
        # A piece takes every so many examples, and not neighbours: each device has its share of each.
        cut = jax.tree.map(lambda part: part.reshape(-1, pieces, *part.shape[1:]).swapaxes(0, 1), drawn)

        def add(total, piece):
            return jax.tree.map(lambda a, b: a + b / pieces, total, of_drawn(params, piece)), None

        first = jax.tree.map(lambda part: part[0], cut)
        zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(of_drawn, params, first))
        return jax.lax.scan(add, zeros, cut)[0]

    return in_pieces


def make_step(
    config: TrainConfig,
    form: Form,
    apply: Callable[..., Array],
    optimizer: optax.GradientTransformation,
) -> Callable[[TrainState, Dataset, Key], tuple[TrainState, dict[str, Array]]]:
    """`step(state, batch, root) -> (state, metrics)`, compiled; the old state is given up to the new one.

    The key of step k is `fold_in(root, k)` and `Batches` is a pure function of the root and k, so a run that is resumed
    at any step repeats the uninterrupted run bit for bit. A gradient that is not finite changes nothing and is counted.
    """
    optim = config.optim
    gradient_of = make_gradient(config, form, apply)

    def step(state: TrainState, batch: Dataset, root: Key) -> tuple[TrainState, dict[str, Array]]:
        key = jax.random.fold_in(stream(root, Use.MODEL), state.step)
        value, gradient = gradient_of(state.params, key, batch)
        norm = optax.tree.norm(gradient)
        sound = jnp.isfinite(norm) & (state.streak < STOP_AFTER)

        def move() -> tuple[PyTree, ...]:
            # optax counts in int32 and multiplies by floats, which strict promotion refuses.
            with jax.numpy_dtype_promotion("standard"):
                updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
            others = zip(state.more_emas, optim.more_ema_decays, strict=True)
            more = tuple(averaged(ema, params, state.step, decay) for ema, decay in others)
            return params, averaged(state.ema, params, state.step, optim.ema_decay), more, opt_state

        still = (state.params, state.ema, state.more_emas, state.opt_state)
        params, ema, more, opt_state = jax.lax.cond(sound, move, lambda: still)
        bad = 1 - sound.astype(jnp.int32)
        streak = jnp.where(sound, jnp.zeros_like(state.streak), state.streak + 1)
        new = TrainState(state.step + 1, params, ema, more, opt_state, state.skipped + bad, streak)
        return new, {"loss": value, "gradient_norm": norm}

    return jax.jit(step, donate_argnums=0)


def make_evaluation(
    config: TrainConfig, form: Form, apply: Callable[..., Array], repeats: int = 8
) -> Callable[[PyTree, Dataset, Key], Array]:
    """`evaluate(params, data, root) -> loss`, compiled: the same times and noise at every call.

    Labels are never dropped, so the figure is the conditional model's; `repeats` draws per example tame its noise.
    Every repeat takes the rows in another order, so that no row is tied to its time.

    A coupled objective depends on how many pairs there are to choose from: data are then coupled in batches of the size
    that the run trains with, and rows that fill up the last one are paired and not counted.

    Cost: `repeats` evaluations of the network a row; with optimal transport O(batch²) more a row.
    """
    loss = make_loss(config, form, apply)
    coupled, size = getattr(form, "coupled", False), config.optim.batch_size

    def in_batches(params: PyTree, key: Key, examples: Array, labels: Array, order: Array) -> Array:
        number = -(-len(order) // size)
        rows = jnp.resize(order, (number, size))
        counted = (jnp.arange(number * size) < len(order)).reshape(number, size)

        def one(batch):
            k, rows, counted = batch
            drawn = loss.draw(jax.random.fold_in(key, k), examples[rows], labels[rows])
            return jnp.where(counted, loss.each(params, drawn), 0.0).sum()

        return jax.lax.map(one, (jnp.arange(number), rows, counted)).sum() / len(order)

    def evaluate(params: PyTree, data: Dataset, root: Key) -> Array:
        examples, labels = jnp.asarray(data.examples), jnp.asarray(data.labels)

        def once(key: Key) -> Array:
            order = jax.random.permutation(stream(key, Use.DATA), len(examples))
            if coupled:
                return in_batches(params, key, examples, labels, order)
            return loss(params, key, examples[order], labels[order])

        return jax.lax.map(once, jax.random.split(stream(root, Use.PROBE), repeats)).mean()

    return jax.jit(evaluate)
