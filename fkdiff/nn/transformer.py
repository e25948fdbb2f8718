"""A small bidirectional transformer for sequences of tokens, some of them masked."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fkdiff.core import Array, Key, PyTree, require
from fkdiff.nn.embedding import Conditioning
from fkdiff.nn.layers import attend, dense, normalised, standard_normal, zeros


def neighbours(key: Key, shape: tuple[int, int], dtype=jnp.float32) -> Array:
    """A table of attention biases, (2 · length − 1, heads), in which every head starts out at one neighbour.

    Head h prefers offset +1, −1, +2, −2, …: characters are predicted from the ones beside them, and a network
    that must first discover what "beside" means spends its first thousands of steps on single frequencies.
    """
    size, heads = shape
    offset = np.arange(size)[:, None] - (size - 1) // 2
    preferred = np.array([(h // 2 + 1) * (1 - 2 * (h % 2)) for h in range(heads)])
    return jnp.asarray(-np.minimum(2.0 * np.abs(offset - preferred), 6.0), dtype)


class AttentionBlock(nnx.Module):
    """x + W softmax(q·k/√d + bias[offset]) v of norm(x), then x + W₂ gelu(W₁ norm(x))."""

    def __init__(self, length: int, width: int, heads: int, *, rngs: nnx.Rngs):
        self.heads = heads
        self.read = dense(width, 3 * width, rngs=rngs)
        self.bias = nnx.Param(neighbours(rngs.params(), (2 * length - 1, heads)))
        self.write = dense(width, width, rngs=rngs)
        self.first = dense(width, 4 * width, rngs=rngs)
        self.second = dense(4 * width, width, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        length = x.shape[0]
        query, key, value = jnp.moveaxis(self.read(normalised(x)).reshape(length, 3, self.heads, -1), 1, 0)
        place = np.arange(length)
        bias = self.bias[...][place[None, :] - place[:, None] + length - 1]  # (query, key, head)
        x = x + self.write(attend(query, key, value, bias))
        return x + self.second(jax.nn.gelu(self.first(normalised(x))))


class Transformer(nnx.Module):
    """Maps `length` tokens to the logits of what each of them is, given those that are not masked.

    Tokens run from 0 to `size` − 1, and `size` itself is the mask. Where the law is that of masked diffusion the
    best denoiser does not depend on the time, so by default it is not read.

    Args:
        size: V, the number of tokens beside the mask.
        length: L, the number of places.
        width: Width of the hidden layers, a multiple of `heads`.
        depth: Number of attention blocks.
        heads: Attention heads of a block.
        timed: Whether the network reads the time, and with it the class.
        num_classes: Number of classes; 0 for an unconditional network.
        rngs: Random streams that draw the initial parameters.

    Cost: about depth · (12 · width² + 2 · length · width) multiply-adds per token.

    References:
        Vaswani et al. (2017); Raffel et al. (2020) for biases by offset; Sahoo et al. (2024) for leaving the
        time out.
    """

    def __init__(
        self,
        size: int,
        length: int,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        timed: bool = False,
        num_classes: int = 0,
        *,
        rngs: nnx.Rngs,
    ):
        require(width % heads == 0, f"width={width} is not a multiple of heads={heads}; change one of them.")
        require(timed or num_classes == 0, f"num_classes={num_classes} is read beside the time; pass timed=True.")
        self.size, self.length = size, length
        self.conditioning = Conditioning(width, num_classes, rngs=rngs) if timed else None
        self.table = nnx.Param(standard_normal(rngs.params(), (size + 1, width)))
        self.blocks = nnx.List([AttentionBlock(length, width, heads, rngs=rngs) for _ in range(depth)])
        # Zero: the untrained network knows nothing and says so, log V nats for every token.
        self.leave = dense(width, size, kernel=zeros, rngs=rngs)

    def __call__(self, tokens: Array, t: Array, cond: PyTree = None) -> Array:
        require(
            tokens.shape == (self.length,),
            f"tokens have shape {tokens.shape} and this network reads ({self.length},); vmap over examples.",
        )
        require(jnp.issubdtype(tokens.dtype, jnp.integer), f"tokens have dtype {tokens.dtype}; pass whole numbers.")
        # A token outside the table is NaN, never another token: a negative index would count from the end.
        row = jnp.where(tokens < 0, self.size + 1, tokens)
        hidden = self.table[...].at[row].get(mode="fill", fill_value=jnp.nan)
        if self.conditioning is None:
            require(cond is None, "this network was built with num_classes=0 and takes no cond; pass cond=None.")
        else:
            hidden = hidden + self.conditioning(t, cond)[None, :]
        for block in self.blocks:
            hidden = block(hidden)
        return self.leave(normalised(hidden))
