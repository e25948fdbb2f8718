"""A loss of one's own, minimised in one compiled scan: for notebooks, where a run folder would be too much."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from fkdiff.core import Array, Key, PyTree, number, one_key, require, whole
from fkdiff.core.keys import Use, stream
from fkdiff.train.averages import averaged
from fkdiff.train.data.batches import batch_indices


class Fitted(NamedTuple):
    """What was learned.

    Attributes:
        params: The last parameters.
        ema: Their exponential moving average, which samplers should use; it has forgotten the start.
        losses: Of every step, (num_steps,).
    """

    params: PyTree
    ema: PyTree
    losses: Array


def fit(
    key: Key,
    loss: Callable[[PyTree, Key, PyTree], Array],
    params: PyTree,
    data: PyTree,
    *,
    num_steps: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    ema_decay: float = 0.99,
    clip: float = 1.0,
) -> Fitted:
    """Adam with cosine decay on batches of `data`.

        def loss(params, key, batch):
            return fk.train.batch_loss(key, form, apply, params, batch, None)

        fitted = fk.train.fit(key, loss, params, examples, num_steps=2000)
        pred = form.predictor(apply, fitted.ema, shape)

    Args:
        key: Draws batches, and a fresh key for the loss at every step.
        loss: `loss(params, key, batch) -> scalar`. Keep one function object: a fresh lambda compiles again.
        params: Initial parameters, a pytree of arrays.
        data: A pytree of arrays whose leading axes run over examples, such as (starts, ends) for a bridge.
        num_steps: Updates.
        batch_size: Examples per update.
        learning_rate: At the start.
        ema_decay: Of the average in the long run; after k steps it keeps at most (1 + k)/(10 + k) of itself.
        clip: Largest norm of a gradient.

    Returns:
        `Fitted`. Losses that are not finite stay visible in `losses`; nothing is skipped.

    Raises:
        FkdiffError: Axes disagree, or a number makes no sense.

    Cost: num_steps gradients.
    """
    key, num_steps, batch_size = one_key(key), whole("num_steps", num_steps), whole("batch_size", batch_size)
    data = jax.tree.map(jnp.asarray, data)
    counts = {leaf.shape[:1] for leaf in jax.tree.leaves(data)}
    require(
        len(counts) == 1 and counts != {()} and counts != {(0,)},
        f"data has leading axes {sorted(counts)}; pass arrays of as many examples each.",
    )
    rate, decay = number("learning_rate", learning_rate, 0.0), number("ema_decay", ema_decay, 0.0, 1.0)
    return _fit(key, loss, params, data, rate, decay, number("clip", clip, 0.0), num_steps, batch_size)


@eqx.filter_jit
def _fit(key, loss, params, data, rate, decay, clip, num_steps, batch_size) -> Fitted:
    count = jax.tree.leaves(data)[0].shape[0]
    optimizer = optax.chain(optax.clip_by_global_norm(clip), optax.scale_by_adam())

    def step(carry, k):
        params, ema, state = carry
        rows = batch_indices(stream(key, Use.DATA), k, count, batch_size)
        batch = jax.tree.map(lambda leaf: leaf[rows], data)
        fresh = jax.random.fold_in(stream(key, Use.MODEL), k)
        value, gradient = jax.value_and_grad(loss)(params, fresh, batch)
        share = k.astype(rate.dtype) / num_steps
        # optax counts in int32 and multiplies by floats, which strict promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(gradient, state)
        length = -0.5 * rate * (1 + jnp.cos(jnp.pi * share))
        params = jax.tree.map(lambda p, u: p + length.astype(p.dtype) * u, params, updates)
        return (params, averaged(ema, params, k, decay), state), value

    start = (params, params, optimizer.init(params))
    (params, ema, _), losses = jax.lax.scan(step, start, jnp.arange(num_steps))
    return Fitted(params, ema, losses)
