"""Laws on all V^L sequences, as a table: the oracle of every discrete test."""

from __future__ import annotations

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array, Key, PyTree, categorical, concrete, expect, number, one_key, require, whole
from fkdiff.core.choices import TOKENS
from fkdiff.discrete.predictor import DiscretePredictor
from fkdiff.discrete.processes import Process

LARGEST = 2**17


class Enumerated(eqx.Module):
    """A law on sequences of L tokens.

    Attributes:
        sequences: All of them, (V^L, L) int32, the last token fastest.
        log_masses: Normalised, (V^L,).
        vocab_size: V.
    """

    sequences: Array
    log_masses: Array
    vocab_size: int = eqx.field(static=True)

    @property
    def length(self) -> int:
        """L."""
        return self.sequences.shape[1]

    def index(self, tokens: Array) -> Array:
        """Row of a sequence, for tokens (..., L)."""
        places = self.vocab_size ** jnp.arange(self.length - 1, -1, -1, dtype=jnp.int32)
        return jnp.tensordot(tokens, places, axes=1)

    def log_prob(self, tokens: Array) -> Array:
        """log-mass of a sequence, (..., L) -> (...)."""
        return self.log_masses[self.index(tokens)]

    def sample(self, key: Key, num_samples: int) -> Array:
        """Exact draws, (num_samples, L)."""
        rows = categorical(one_key(key), self.log_masses, TOKENS, (whole("num_samples", num_samples),))
        return self.sequences[rows]

    def predictor(self, process: Process) -> DiscretePredictor:
        """The exact denoiser on a process. Cost: O(L V^L) per call."""
        expect("process", process, Process, "pass fkdiff.discrete.masked(vocab_size) or uniform(vocab_size)")
        require(
            process.vocab_size == self.vocab_size,
            f"process has {process.vocab_size} tokens and the law {self.vocab_size}; they must agree.",
        )
        return DiscretePredictor(process, EnumeratedRule(self, process), self.length)


class EnumeratedRule(eqx.Module):
    """Posterior marginals of every clean token, by summing over the table."""

    law: Enumerated
    process: Process

    def __call__(self, tokens: Array, t: Array, cond: PyTree) -> Array:
        sequences = self.law.sequences
        joint = self.law.log_masses + self.process.log_likelihood(sequences, tokens[None, :], t).sum(axis=1)
        weights = jnp.exp(joint - jnp.max(joint))
        same = sequences[:, :, None] == jnp.arange(self.law.vocab_size, dtype=jnp.int32)[None, None, :]
        return jnp.log(jnp.tensordot(weights, same.astype(weights.dtype), axes=1, precision=jax.lax.Precision.HIGHEST))


def enumerated(log_masses, vocab_size: int, length: int) -> Enumerated:
    """A law given by its unnormalised log-masses.

    Args:
        log_masses: Shape (V^L,), in the order of `itertools.product(range(V), repeat=L)`.
        vocab_size: V.
        length: L.
    """
    vocab_size, length = whole("vocab_size", vocab_size, 2), whole("length", length)
    count = vocab_size**length
    require(count <= LARGEST, f"{vocab_size}**{length} sequences are too many for a table of at most {LARGEST}.")
    log_masses = jnp.asarray(log_masses, jnp.result_type(float))
    require(
        log_masses.shape == (count,),
        f"log_masses has shape {log_masses.shape}; pass ({count},), one for each of the {vocab_size}**{length} "
        "sequences.",
    )
    known = concrete(log_masses)
    require(
        known is None or bool(np.isfinite(known.max()) and not np.isnan(known).any()),
        "log_masses must be finite, or −inf for some: a law needs mass somewhere.",
    )
    sequences = np.array(list(itertools.product(range(vocab_size), repeat=length)), np.int32)
    return Enumerated(jnp.asarray(sequences), jax.nn.log_softmax(log_masses), vocab_size)


def ising(inverse_temperature, side: int = 4) -> Enumerated:
    """The periodic Ising model on side × side spins, tokens 0 and 1 for −1 and +1: p ∝ exp(β Σ_{neighbours} s s').

    log Z at side 4 and β_c = log(1 + √2)/2 is 15.5219.

    Args:
        inverse_temperature: β.
        side: At most 4, so that all states can be listed.
    """
    side = whole("side", side, 2)
    spins = 2 * np.array(list(itertools.product((0, 1), repeat=side**2)), np.int8).reshape(-1, side, side) - 1
    bonds = (spins * (np.roll(spins, 1, 1).astype(int) + np.roll(spins, 1, 2))).sum(axis=(1, 2))
    beta = number("inverse_temperature", inverse_temperature)
    return enumerated(beta * jnp.asarray(bonds, beta.dtype), 2, side**2)
