"""A denoiser of tokens: the law of each clean token, given the noised sequence."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, PyTree, Scalar, expect, require, whole
from fkdiff.discrete.processes import Masked, Process


class DiscretePredictor(eqx.Module):
    """A trained or exact denoiser: `pred(tokens, t) -> log-probabilities (L, V)` for ONE sequence.

    Attributes:
        process: The noising process.
        rule: `rule(tokens, t, cond) -> logits (L, V)`, itself a pytree.
        length: L.
        cond: The bound condition, any pytree.
    """

    process: Process
    rule: Callable[[Array, Array, PyTree], Array]
    length: int = eqx.field(static=True)
    cond: PyTree = None

    def __call__(self, tokens: Array, t: Scalar) -> Array:
        """log p(clean_l = v | tokens), (L, V). A revealed token is what it is: of the masked process, or at t = 1."""
        require(
            jnp.shape(tokens) == (self.length,) and jnp.issubdtype(tokens.dtype, jnp.integer),
            f"tokens has shape {jnp.shape(tokens)} and dtype {tokens.dtype}; pass ONE sequence of {self.length} int32 "
            "tokens, or jax.vmap over many.",
        )
        count = self.process.vocab_size
        logits = jnp.asarray(self.rule(tokens, jnp.asarray(t, jnp.result_type(float)), self.cond))
        require(
            logits.shape == (self.length, count),
            f"the denoiser returned shape {logits.shape}; it must return one logit per position and token, "
            f"({self.length}, {count}), without the mask.",
        )
        log_probs = jax.nn.log_softmax(logits.astype(jnp.result_type(float)), axis=-1)
        known = jnp.where(jnp.arange(count, dtype=jnp.int32)[None, :] == tokens[:, None], 0.0, -jnp.inf).astype(
            log_probs.dtype
        )
        if not isinstance(self.process, Masked):
            return jnp.where(self.process.kept(t) >= 1, known, log_probs)
        return jnp.where((tokens == self.process.mask)[:, None], log_probs, known)

    def given(self, cond: PyTree) -> DiscretePredictor:
        """The same denoiser with a condition bound (any pytree; None = unconditional)."""
        cond = None if cond is None else jax.tree.map(jnp.asarray, cond)
        return eqx.tree_at(lambda p: p.cond, self, cond, is_leaf=lambda leaf: leaf is None)


class NetworkRule(eqx.Module):
    """A network's logits."""

    apply: Callable[..., Array] = eqx.field(static=True)
    params: PyTree

    def __call__(self, tokens: Array, t: Array, cond: PyTree) -> Array:
        return self.apply(self.params, tokens, t, cond)


def denoiser(process: Process, apply: Callable[..., Array], params: PyTree, length: int) -> DiscretePredictor:
    """Wraps a network as a `DiscretePredictor`.

    Args:
        process: `masked(V)` or `uniform(V)`.
        apply: `apply(params, tokens, t, cond) -> logits` for ONE sequence: tokens (L,) int32, logits (L, V). Keep one
            function object: a fresh lambda compiles again.
        params: The parameters, a pytree of arrays.
        length: L.
    """
    expect("process", process, Process, "pass fkdiff.discrete.masked(vocab_size) or uniform(vocab_size)")
    require(callable(apply), f"apply={apply!r} is not a function; pass apply(params, tokens, t, cond) -> logits.")
    return DiscretePredictor(process, NetworkRule(apply, params), whole("length", length))
