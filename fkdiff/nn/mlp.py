"""A residual multilayer perceptron for vectors."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from fkdiff.core import Array, Key, PyTree
from fkdiff.nn.embedding import Conditioning
from fkdiff.nn.layers import dense, dropped, fold, normalised, zeros

CONDITION = 128  # width of the conditioning vector: narrow, since every block reads it through its own matrix


class MLPBlock(nnx.Module):
    """x + gate ⊙ W₂ silu(W₁ (scale ⊙ norm(x) + shift)), with scale, shift and gate read off the condition."""

    def __init__(self, width: int, condition: int, dropout: float = 0.0, *, rngs: nnx.Rngs):
        self.dropout = dropout
        self.modulate = dense(condition, 3 * width, kernel=zeros, rngs=rngs)
        self.first = dense(width, width, rngs=rngs)
        self.second = dense(width, width, rngs=rngs)

    def __call__(self, x: Array, condition: Array, key: Key | None = None) -> Array:
        scale, shift, gate = jnp.split(self.modulate(condition), 3)
        hidden = (1 + scale) * normalised(x) + shift
        # The gate starts at one: the block acts from the first step, and the condition may shut it.
        return x + (1 + gate) * self.second(dropped(nnx.silu(self.first(hidden)), self.dropout, key))


class MLP(nnx.Module):
    """Maps one vector of length `size` to one of the same length, given time and class.

    Args:
        size: Length of x.
        width: Width of the hidden layers.
        depth: Number of residual blocks.
        num_classes: Number of classes; 0 for a network that takes none.
        cond_size: Length of a continuous condition; 0 for a network that takes none.
        dropout: Share of hidden units that a call with a key leaves out.
        out: Length of the output; that of x by default.
        rngs: Random streams that draw the initial parameters.

    Cost: about (2 · size + depth · (2 · width + 384)) · width multiply-adds per example.

    References:
        Peebles and Xie (2023) for modulation of a normalised residual block.
    """

    def __init__(
        self,
        size: int,
        width: int = 256,
        depth: int = 3,
        num_classes: int = 0,
        out: int | None = None,
        cond_size: int = 0,
        dropout: float = 0.0,
        *,
        rngs: nnx.Rngs,
    ):
        self.conditioning = Conditioning(CONDITION, num_classes, cond_size, rngs=rngs)
        self.enter = dense(size, width, rngs=rngs)
        self.blocks = nnx.List([MLPBlock(width, CONDITION, dropout, rngs=rngs) for _ in range(depth)])
        # Zero: the untrained network predicts the mean, and the first steps are not spent on unlearning noise.
        self.leave = dense(width, size if out is None else out, kernel=zeros, rngs=rngs)

    def __call__(self, x: Array, t: Array, cond: PyTree = None, key: Key | None = None) -> Array:
        condition = self.conditioning(t, cond)
        hidden = self.enter(x)
        for number, block in enumerate(self.blocks):
            hidden = block(hidden, condition, fold(key, number))
        return self.leave(nnx.silu(normalised(hidden)))
