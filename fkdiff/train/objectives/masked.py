"""The loss and a sampler of masked diffusion over tokens, from t = 0, all masked, to t = 1, data.

Every token is kept with probability α(t), independently, and replaced by the mask otherwise. The loss

L(θ) = ∫ α'(t)/(1 − α(t)) E Σ_{i masked} −log p_θ(x_i | what is kept) dt

is at least −log p_θ(x) for every θ, and its mean is the entropy of the data where p_θ is exact, whatever α.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array, Key, PyTree, Scalar


@dataclasses.dataclass(frozen=True)
class Masking:
    """α(t) = 1 − (1 − t)^power, the probability that a token is kept.

    The power moves no expectation. A token's term in the loss has the second moment power²/(power − 1) times that
    of its cross-entropy: infinite at power 1, where t is the share of tokens kept, and smallest at 2.

    Attributes:
        size: V, the number of tokens; token V is the mask.
        power: At least 1.
    """

    size: int
    power: float = 2.0

    def alpha(self, t: Scalar) -> Array:
        """Probability that a token is kept."""
        return 1 - (1 - jnp.asarray(t)) ** self.power

    def rate(self, t: Scalar) -> Array:
        """α'(t)/(1 − α(t)), at which tokens that are still masked are unmasked."""
        return self.power / (1 - jnp.asarray(t))


def masked_loss(
    masking: Masking,
    apply: Callable[..., Array],
    params: PyTree,
    tokens: Array,
    masked: Array,
    t: Scalar,
    cond: PyTree = None,
) -> Array:
    """The loss of ONE example, mask and time, in nats per token: α'/(1 − α) · Σ_{masked} cross-entropy / L.

    Args:
        masking: α(t) and the number of tokens.
        apply: `apply(params, tokens, t, cond) -> logits (L, V)`.
        params: Parameters.
        tokens: One example, (L,), whole numbers in [0, V).
        masked: Which places are masked, (L,), each with probability 1 − α(t).
        t: Time in [0, 1).
        cond: The condition of this example; None for none.

    Gradients: pathwise in the parameters; unbiased for the loss above where masks and t are drawn as said.

    References:
        Sahoo et al. (2024) and Shi et al. (2024), the continuous-time bound of masked diffusion.
    """
    seen = jnp.where(masked, jnp.asarray(masking.size, tokens.dtype), tokens)
    log_probs = jax.nn.log_softmax(apply(params, seen, t, cond))
    entropies = -jnp.take_along_axis(log_probs, tokens[:, None], axis=1)[:, 0]
    return masking.rate(t).astype(entropies.dtype) * jnp.where(masked, entropies, 0).mean()


def batch_masked_loss(key: Key, masking: Masking, apply: Callable[..., Array], params: PyTree, tokens: Array) -> Array:
    """The masked loss averaged over a batch, in nats per token, with one time in each of `batch` equal slices.

    Args:
        key: Draws times and masks.
        masking: α(t) and the number of tokens.
        apply: `apply(params, tokens, t, cond) -> logits (L, V)` for ONE example.
        params: Parameters.
        tokens: Shape (batch, L).

    References:
        Kingma, Salimans, Poole and Ho (2021), appendix I.1, for stratified times.
    """
    key_time, key_mask = jax.random.split(key)
    num = tokens.shape[0]
    left = (jnp.arange(num, dtype=jnp.result_type(float)) + jax.random.uniform(key_time, (num,))) / num
    # At t = 1 nothing is masked and the rate is infinite: one rounding short of it stands for the limit.
    t = jnp.minimum(left, 1 - jnp.finfo(left.dtype).eps)
    masked = jax.random.uniform(key_mask, tokens.shape) >= masking.alpha(t)[:, None]

    def one(x, hidden, time):
        return masked_loss(masking, apply, params, x, hidden, time)

    return jax.vmap(one)(tokens, masked, t).mean()


def unmask(
    key: Key, masking: Masking, apply: Callable[..., Array], params: PyTree, length: int, num_steps: int
) -> Array:
    """ONE sample by ancestral unmasking: (length,) tokens.

    Over [t0, t1] each masked token is revealed with probability (α(t1) − α(t0))/(1 − α(t0)), and then drawn from
    the denoiser. Tokens revealed in one step are drawn independently of each other, which is the only error:
    it vanishes as the steps grow many.

    Args:
        key: Draws what is revealed, and as what.
        masking: α(t) and the number of tokens.
        apply: `apply(params, tokens, t, cond) -> logits (L, V)`.
        params: Parameters.
        length: L.
        num_steps: Steps; each reveals about length/num_steps tokens.

    Cost: `num_steps` evaluations.

    References:
        Sahoo et al. (2024), the reverse posterior of masked diffusion.
    """
    kept = np.linspace(0, 1, num_steps + 1)
    times = 1 - (1 - kept) ** (1 / masking.power)

    def step(tokens, inputs):
        key, t, before, after = inputs
        key_when, key_what = jax.random.split(key)
        drawn = jax.random.categorical(key_what, apply(params, tokens, t, None)).astype(tokens.dtype)
        reveal = jax.random.uniform(key_when, tokens.shape) * (1 - before) < after - before
        return jnp.where((tokens == masking.size) & reveal, drawn, tokens), None

    start = jnp.full((length,), masking.size, jnp.int32)
    real = jnp.result_type(float)
    inputs = (jnp.asarray(column, real) for column in (times[:-1], kept[:-1], kept[1:]))
    return jax.lax.scan(step, start, (jax.random.split(key, num_steps), *inputs))[0]
