"""One training step, pure: (state, data) -> (state, metrics)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from fkdiff.core import Array, Key, PyTree
from fkdiff.core.keys import Use, stream
from fkdiff.train.build import Form, build_times, build_weighting
from fkdiff.train.config import TrainConfig
from fkdiff.train.data import Dataset, batch_indices, num_classes
from fkdiff.train.objectives.masked import Masking, batch_masked_loss
from fkdiff.train.objectives.matching import batch_loss

STOP_AFTER = 10  # gradients in a row that are not finite


class TrainState(NamedTuple):
    """All that the next step needs, but for the data and the root key.

    Attributes:
        step: Steps taken, int32.
        params: Parameters.
        ema: Their exponential moving average, which samplers use.
        opt_state: The optimiser's state.
        skipped: Steps whose gradient was not finite, in total, int32.
        streak: The same, in a row; at `STOP_AFTER` nothing moves any more.
    """

    step: Array
    params: PyTree
    ema: PyTree
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


def init_state(params: PyTree, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    # Nothing is shared, since every buffer of the state is donated to the next step.
    step, skipped, streak = (jnp.zeros((), jnp.int32) for _ in range(3))
    return TrainState(step, params, jax.tree.map(jnp.copy, params), optimizer.init(params), skipped, streak)


def ema_decay_at(step: Array, decay: float) -> Array:
    """min(decay, (1 + k)/(10 + k)): early averages forget the random start."""
    k = step.astype(jnp.float32)
    return jnp.minimum(decay, (1 + k) / (10 + k))


def make_loss(
    config: TrainConfig, form: Form, apply: Callable[..., Array], label_dropout: float = 0.0
) -> Callable[[PyTree, Key, Array, Array], Array]:
    """`loss(params, key, examples, labels)`, the mean over a batch, for the model that a config describes."""
    classes, objective = num_classes(config.data), config.objective
    if isinstance(form, Masking):
        return lambda params, key, examples, labels: batch_masked_loss(key, form, apply, params, examples)
    return lambda params, key, examples, labels: batch_loss(
        key,
        form,
        apply,
        params,
        examples,
        labels if classes else None,
        num_classes=classes,
        label_dropout=label_dropout,
        weighting=build_weighting(objective),
        times=build_times(objective),
        stratified=objective.times.stratified,
        coupling=objective.coupling,
    )


def make_step(
    config: TrainConfig,
    form: Form,
    apply: Callable[..., Array],
    optimizer: optax.GradientTransformation,
) -> Callable[[TrainState, Dataset, Key], tuple[TrainState, dict[str, Array]]]:
    """`step(state, data, root) -> (state, metrics)`, compiled; the old state is given up to the new one.

    The key of step k is `fold_in(root, k)` and the batch is a pure function of the root and k, so a run that is
    resumed at any step repeats the uninterrupted run bit for bit. A gradient that is not finite changes nothing
    and is counted.
    """
    optim = config.optim
    loss = make_loss(config, form, apply, config.objective.label_dropout)

    def step(state: TrainState, data: Dataset, root: Key) -> tuple[TrainState, dict[str, Array]]:
        examples, labels = jnp.asarray(data.examples), jnp.asarray(data.labels)
        rows = batch_indices(stream(root, Use.DATA), state.step, examples.shape[0], optim.batch_size)
        key = jax.random.fold_in(stream(root, Use.MODEL), state.step)
        value, gradient = jax.value_and_grad(loss)(state.params, key, examples[rows], labels[rows])
        norm = optax.tree.norm(gradient)
        sound = jnp.isfinite(norm) & (state.streak < STOP_AFTER)

        def move() -> tuple[PyTree, PyTree, PyTree]:
            # optax counts in int32 and multiplies by floats, which strict promotion refuses.
            with jax.numpy_dtype_promotion("standard"):
                updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
            decay = ema_decay_at(state.step, optim.ema_decay)
            return params, jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, state.ema, params), opt_state

        params, ema, opt_state = jax.lax.cond(sound, move, lambda: (state.params, state.ema, state.opt_state))
        bad = 1 - sound.astype(jnp.int32)
        streak = jnp.where(sound, jnp.zeros_like(state.streak), state.streak + 1)
        new = TrainState(state.step + 1, params, ema, opt_state, state.skipped + bad, streak)
        return new, {"loss": value, "gradient_norm": norm}

    return jax.jit(step, donate_argnums=0)


def make_evaluation(
    config: TrainConfig, form: Form, apply: Callable[..., Array], repeats: int = 8
) -> Callable[[PyTree, Dataset, Key], Array]:
    """`evaluate(params, data, root) -> loss`, compiled: the same times and noise at every call.

    Labels are never dropped, so the figure is the conditional model's; `repeats` draws per example tame its noise.
    """
    loss = make_loss(config, form, apply)

    def evaluate(params: PyTree, data: Dataset, root: Key) -> Array:
        examples, labels = jnp.asarray(data.examples), jnp.asarray(data.labels)
        keys = jax.random.split(stream(root, Use.PROBE), repeats)
        return jax.lax.map(lambda key: loss(params, key, examples, labels), keys).mean()

    return jax.jit(evaluate)
