"""The one door through which every random choice goes: an index, a token, an ancestor, accepted or not.

A choice is a step function of its probabilities: its derivative is 0 wherever it exists, while that of its mean is not.
So a derivative that flows into the probabilities of a choice is refused, with a sentence that names the identity to use
in its place. One that flows only into what is chosen from, such as the particles, is pathwise and right.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fkdiff.core.refusal import refused
from fkdiff.core.types import Array, Key, PyTree, Scalar

IDENTITY = "fkdiff.gradients.expectation, the covariance identity E[∂f] + Cov(f, ∂ log p)"

TOKENS = (
    f"a derivative flows through a draw of tokens, whose choice carries none; use {IDENTITY}, or for a law that is "
    "made in steps fkdiff.gradients.along_paths."
)
COMPONENTS = (
    "a derivative flows through the weights of a mixture into the choice of its components, which carries none; use "
    f"{IDENTITY}, or stop it with jax.lax.stop_gradient."
)


def deciding(values: PyTree, sentence: str) -> PyTree:
    """`values` themselves, of which a choice is to be made; a derivative that flows into them raises `sentence`."""
    return refused(values, sentence)


def categorical(key: Key, logits: Array, sentence: str, shape: tuple[int, ...] | None = None) -> Array:
    """Indices of probability ∝ exp(logits) along the last axis, int32.

    Args:
        key: A typed key.
        logits: Unnormalised, (…, n).
        sentence: What is raised where a derivative flows into them.
        shape: As of `jax.random.categorical`; that of the logits without the last axis by default.

    Gradients: refused.
    """
    return jax.random.categorical(key, deciding(logits, sentence), shape=shape).astype(jnp.int32)


def happens(uniform: Array, probability: Scalar, sentence: str) -> Array:
    """Whether a uniform number lies below a probability: true with that probability. Gradients: refused."""
    return uniform < deciding(probability, sentence)


def bernoulli(key: Key, probability: Scalar, shape: tuple[int, ...], sentence: str) -> Array:
    """True with the given probability, independently. Gradients: refused."""
    return jax.random.bernoulli(key, deciding(probability, sentence), shape)
