"""The loss of masked diffusion over tokens, on the masked process of `fkdiff.discrete`.

Every token is kept with probability t, independently, and replaced by the mask otherwise. The loss

L(θ) = ∫ dt/(1 − t) E Σ_{i masked} −log p_θ(x_i | what is kept)

is at least −log p_θ(x) for every θ, and its mean is the entropy of the data where p_θ is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, PyTree, Scalar, particle_keys
from fkdiff.discrete import Masked
from fkdiff.train.objectives.times import shares


def masked_loss(
    process: Masked,
    apply: Callable[..., Array],
    params: PyTree,
    tokens: Array,
    masked: Array,
    t: Scalar,
    cond: PyTree = None,
) -> Array:
    """The loss of ONE example, mask and time, in nats per token: Σ_{masked} cross-entropy / (L (1 − t)).

    Args:
        process: Where the mask comes from.
        apply: `apply(params, tokens, t, cond) -> logits (L, V)`.
        params: Parameters.
        tokens: One example, (L,), whole numbers in [0, V).
        masked: Which places are masked, (L,), each with probability 1 − t.
        t: Time in [0, 1).
        cond: The condition of this example; None for none.

    Gradients: pathwise in the parameters; unbiased for the loss above where masks and t are drawn as said.

    References:
        Sahoo et al. (2024) and Shi et al. (2024), the continuous-time bound of masked diffusion.
    """
    seen = jnp.where(masked, jnp.asarray(process.mask, tokens.dtype), tokens)
    log_probs = jax.nn.log_softmax(apply(params, seen, t, cond))
    entropies = -jnp.take_along_axis(log_probs, tokens[:, None], axis=1)[:, 0]
    return jnp.where(masked, entropies, 0).mean() / (1 - jnp.asarray(t, entropies.dtype))


class DrawnMasks(NamedTuple):
    """A batch of texts and all that is random in its loss; every leaf has the batch as leading axis.

    Attributes:
        tokens: (batch, L).
        masked: Which places are masked, (batch, L).
        t: Times, (batch,).
        slopes: dt/du, by which each is weighted, (batch,).
    """

    tokens: Array
    masked: Array
    t: Array
    slopes: Array


def draw_masks(key: Key, process: Masked, tokens: Array, power: float = 2.0) -> DrawnMasks:
    """Times and masks of a whole batch: see `batch_masked_loss`."""
    key_time, key_mask = jax.random.split(key)
    num = tokens.shape[0]
    left = 1 - shares(key_time, num)
    # At t = 1 nothing is masked and the weight is infinite: one rounding short of it stands for the limit.
    t = 1 - jnp.maximum(left**power, jnp.finfo(left.dtype).eps)
    noised = jax.vmap(process.noised)(particle_keys(key_mask, num), tokens, t)
    return DrawnMasks(tokens, noised == process.mask, t, power * left ** (power - 1))


def masked_losses(process: Masked, apply: Callable[..., Array], params: PyTree, drawn: DrawnMasks) -> Array:
    """The masked loss of every text of what was drawn, weighted by dt/du, (batch,)."""

    def one(tokens, masked, time):
        return masked_loss(process, apply, params, tokens, masked, time)

    return jax.vmap(one)(drawn.tokens, drawn.masked, drawn.t) * drawn.slopes


def batch_masked_loss(
    key: Key, process: Masked, apply: Callable[..., Array], params: PyTree, tokens: Array, power: float = 2.0
) -> Array:
    """The masked loss averaged over a batch, in nats per token, with times t = 1 − (1 − u)^power.

    One u falls in each of `batch` equal slices of [0, 1], in an order drawn anew, and the loss is weighted by dt/du.
    The power moves no expectation. A token's term has the second moment power²/(power − 1) times that of its
    cross-entropy: infinite at power 1, and smallest at 2.

    Args:
        key: Draws times and masks.
        process: The masked process.
        apply: `apply(params, tokens, t, cond) -> logits (L, V)` for ONE example.
        params: Parameters.
        tokens: Shape (batch, L).
        power: At least 1.

    References:
        Kingma, Salimans, Poole and Ho (2021), appendix I.1, for stratified times.
    """
    return masked_losses(process, apply, params, draw_masks(key, process, tokens, power)).mean()
