"""How tokens turn into noise: independently of each other, each is kept with probability α(t) or else replaced.

t = 0 is noise (α = 0) and t = 1 is data (α = 1), as for Gaussian paths. Tokens are int32 in [0, V); the masked process
replaces them by the mask, which is V.
"""

from __future__ import annotations

import abc

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, Scalar, bernoulli, whole
from fkdiff.core.choices import TOKENS


class Process(eqx.Module):
    """A noising process of tokens.

    Attributes:
        vocab_size: V.
    """

    vocab_size: eqx.AbstractVar[int]

    def kept(self, t: Scalar) -> Array:
        """α(t) = t: the probability that a token is still what it was."""
        return jnp.asarray(t, jnp.result_type(float))

    @abc.abstractmethod
    def noised(self, key: Key, tokens: Array, t: Scalar) -> Array:
        """Draws x_t given clean tokens of any shape."""

    @abc.abstractmethod
    def log_likelihood(self, clean: Array, tokens: Array, t: Scalar) -> Array:
        """log q_t(tokens | clean) of each token, up to what does not depend on `clean`; shapes broadcast."""

    @abc.abstractmethod
    def posterior(self, clean_log_probs: Array, tokens: Array, t0: Scalar, t1: Scalar) -> Array:
        """log p(x_{t1} = · | x_{t0}) of each token when clean has the given law: (L, V) -> (L, V + 1).

        The last column is the mask.
        """

    @abc.abstractmethod
    def noising(self, tokens: Array, t0: Scalar, t1: Scalar) -> Array:
        """log q(x_{t0} = tokens | x_{t1} = ·) of each token, (L, V + 1); t0 < t1. The last column is the mask."""

    @abc.abstractmethod
    def start(self, key: Key, length: int) -> Array:
        """Pure noise, (length,)."""


class Masked(Process):
    """See `masked`."""

    vocab_size: int = eqx.field(static=True)

    @property
    def mask(self) -> int:
        """The mask, V."""
        return self.vocab_size

    def noised(self, key: Key, tokens: Array, t: Scalar) -> Array:
        """Masks each token with probability 1 − α(t)."""
        keep = bernoulli(key, self.kept(t), tokens.shape, TOKENS)
        return jnp.where(keep, tokens, jnp.asarray(self.mask, tokens.dtype))

    def log_likelihood(self, clean: Array, tokens: Array, t: Scalar) -> Array:
        """0 where the token agrees or is hidden, −∞ where it contradicts: the time does not matter."""
        fits = (tokens == self.mask) | (tokens == clean)
        return jnp.where(fits, 0.0, -jnp.inf).astype(jnp.result_type(float))

    def posterior(self, clean_log_probs: Array, tokens: Array, t0: Scalar, t1: Scalar) -> Array:
        """A masked token is revealed with probability (α₁ − α₀)/(1 − α₀); others stay."""
        a0, a1 = self.kept(t0), self.kept(t1)
        stay, go = jnp.log1p(-a1) - jnp.log1p(-a0), jnp.log(a1 - a0) - jnp.log1p(-a0)
        revealed = jnp.concatenate(
            [clean_log_probs + go, jnp.broadcast_to(stay, (tokens.shape[0], 1)).astype(clean_log_probs.dtype)], axis=1
        )
        fixed = jnp.where(jnp.arange(self.vocab_size + 1, dtype=jnp.int32)[None, :] == tokens[:, None], 0.0, -jnp.inf)
        return jnp.where((tokens == self.mask)[:, None], revealed, fixed.astype(revealed.dtype))

    def noising(self, tokens: Array, t0: Scalar, t1: Scalar) -> Array:
        """A token is hidden with probability 1 − α₀/α₁, and stays so."""
        kept = self.kept(t0) / self.kept(t1)
        values = jnp.arange(self.vocab_size + 1, dtype=jnp.int32)[None, :]
        hidden = jnp.where(values == self.mask, 0.0, jnp.log1p(-kept))
        seen = jnp.where(values == tokens[:, None], jnp.log(kept), -jnp.inf)
        return jnp.where((tokens == self.mask)[:, None], hidden, seen)

    def start(self, key: Key, length: int) -> Array:
        """All masked."""
        return jnp.full((length,), self.mask, jnp.int32)


class Uniform(Process):
    """See `uniform`."""

    vocab_size: int = eqx.field(static=True)

    def noised(self, key: Key, tokens: Array, t: Scalar) -> Array:
        """Replaces each token by a uniform one with probability 1 − α(t)."""
        key_keep, key_new = jax.random.split(key)
        keep = bernoulli(key_keep, self.kept(t), tokens.shape, TOKENS)
        return jnp.where(keep, tokens, jax.random.randint(key_new, tokens.shape, 0, self.vocab_size, jnp.int32))

    def log_likelihood(self, clean: Array, tokens: Array, t: Scalar) -> Array:
        """log [α 1{same} + (1 − α)/V]."""
        a = self.kept(t)
        return jnp.log(jnp.where(tokens == clean, a, 0.0) + (1 - a) / self.vocab_size)

    def posterior(self, clean_log_probs: Array, tokens: Array, t0: Scalar, t1: Scalar) -> Array:
        """Bayes: q(x₁ | clean) q(x₀ | x₁) / q(x₀ | clean), averaged over clean."""
        a0, a1, count = self.kept(t0), self.kept(t1), self.vocab_size
        same = jnp.eye(count, dtype=clean_log_probs.dtype)
        forward = a1 * same + (1 - a1) / count  # [clean, x₁]
        here = jnp.take(same, tokens, axis=0)  # [position, x₁]
        back = (a0 / a1) * here + (1 - a0 / a1) / count  # q(x₀ | x₁)
        evidence = a0 * here + (1 - a0) / count  # q(x₀ | clean), [position, clean]
        share = jnp.exp(clean_log_probs) / evidence
        law = back * jnp.matmul(share, forward, precision=jax.lax.Precision.HIGHEST)
        never = jnp.full((tokens.shape[0], 1), -jnp.inf, clean_log_probs.dtype)
        return jnp.concatenate([jnp.log(law), never], axis=1)

    def noising(self, tokens: Array, t0: Scalar, t1: Scalar) -> Array:
        """log [α₀/α₁ 1{same} + (1 − α₀/α₁)/V]."""
        kept = self.kept(t0) / self.kept(t1)
        same = jnp.arange(self.vocab_size, dtype=jnp.int32)[None, :] == tokens[:, None]
        law = jnp.log(jnp.where(same, kept, 0.0) + (1 - kept) / self.vocab_size)
        return jnp.concatenate([law, jnp.full((tokens.shape[0], 1), -jnp.inf, law.dtype)], axis=1)

    def start(self, key: Key, length: int) -> Array:
        """Uniform tokens."""
        return jax.random.randint(key, (length,), 0, self.vocab_size, jnp.int32)


def masked(vocab_size: int) -> Masked:
    """Tokens are hidden one by one: kept with probability α(t) = t, else the mask V. Revealed tokens never change.

    References: Austin et al. (2021), absorbing state; Sahoo et al. (2024); Shi et al. (2024).
    """
    return Masked(whole("vocab_size", vocab_size, 2))


def uniform(vocab_size: int) -> Uniform:
    """Tokens are replaced by uniform ones: kept with probability α(t) = t.

    References: Hoogeboom et al. (2021); Austin et al. (2021); Schiff et al. (2025).
    """
    return Uniform(whole("vocab_size", vocab_size, 2))
