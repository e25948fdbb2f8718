"""A transformer over patches of an image, modulated by time and condition."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fkdiff.core import Array, Key, PyTree, require
from fkdiff.nn.embedding import Conditioning
from fkdiff.nn.layers import attend, dense, dropped, fold, normalised, standard_normal, zeros


class ModulatedBlock(nnx.Module):
    """Attention and a perceptron, each on scale ⊙ norm(x) + shift and let in by a gate, all six read off the condition.

    Gates start at zero: every block is the identity until it has learnt something.
    """

    def __init__(self, width: int, heads: int, condition: int, dropout: float, *, rngs: nnx.Rngs):
        self.heads, self.dropout = heads, dropout
        self.modulate = dense(condition, 6 * width, kernel=zeros, rngs=rngs)
        self.read = dense(width, 3 * width, rngs=rngs)
        self.write = dense(width, width, rngs=rngs)
        self.first = dense(width, 4 * width, rngs=rngs)
        self.second = dense(4 * width, width, rngs=rngs)

    def __call__(self, x: Array, condition: Array, key: Key | None = None) -> Array:
        scale, shift, gate, scale_in, shift_in, gate_in = jnp.split(self.modulate(condition)[None], 6, axis=-1)
        told = (1 + scale) * normalised(x) + shift
        query, keys, value = jnp.moveaxis(self.read(told).reshape(len(x), 3, self.heads, -1), 1, 0)
        x = x + gate * self.write(attend(query, keys, value))
        told = (1 + scale_in) * normalised(x) + shift_in
        return x + gate_in * self.second(dropped(jax.nn.gelu(self.first(told)), self.dropout, key))


class DiT(nnx.Module):
    """Maps one image to one of the same shape: patches are tokens.

    Args:
        shape: (height, width, channels); height and width divisible by `patch`.
        patch: Side of a square patch.
        width: Width of the hidden layers, a multiple of `heads`.
        depth: Number of blocks.
        heads: Attention heads of a block.
        num_classes: Number of classes; 0 for a network that takes none.
        cond_size: Length of a continuous condition; 0 for a network that takes none.
        dropout: Share of hidden units that a call with a key leaves out.
        rngs: Random streams that draw the initial parameters.

    Cost: about depth · (18 · width² + 2 · tokens · width) multiply-adds per token.

    References:
        Peebles and Xie (2023), section 3.2, adaLN-Zero.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        patch: int = 2,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        num_classes: int = 0,
        cond_size: int = 0,
        dropout: float = 0.0,
        *,
        rngs: nnx.Rngs,
    ):
        require(len(shape) == 3, f"shape={shape} has {len(shape)} axes; a DiT takes (height, width, channels).")
        height, across, colours = shape
        require(
            height % patch == 0 and across % patch == 0,
            f"shape={shape} cannot be cut into patches of patch={patch}; choose a divisor of both sides.",
        )
        require(width % heads == 0, f"width={width} is not a multiple of heads={heads}; change one of them.")
        self.shape, self.patch = shape, patch
        tokens = height // patch * (across // patch)
        self.conditioning = Conditioning(width, num_classes, cond_size, rngs=rngs)
        self.enter = dense(patch * patch * colours, width, rngs=rngs)
        self.place = nnx.Param(standard_normal(rngs.params(), (tokens, width)))
        self.blocks = nnx.List([ModulatedBlock(width, heads, width, dropout, rngs=rngs) for _ in range(depth)])
        self.modulate = dense(width, 2 * width, kernel=zeros, rngs=rngs)
        self.leave = dense(width, patch * patch * colours, kernel=zeros, rngs=rngs)

    def __call__(self, x: Array, t: Array, cond: PyTree = None, key: Key | None = None) -> Array:
        condition = self.conditioning(t, cond)
        hidden = self.enter(self._patches(x)) + self.place[...]
        for number, block in enumerate(self.blocks):
            hidden = block(hidden, condition, fold(key, number))
        scale, shift = jnp.split(self.modulate(condition)[None], 2, axis=-1)
        return self._image(self.leave((1 + scale) * normalised(hidden) + shift))

    def _patches(self, x: Array) -> Array:
        """(height, width, channels) to (tokens, patch · patch · channels), row by row."""
        (height, width, colours), side = self.shape, self.patch
        cut = x.reshape(height // side, side, width // side, side, colours)
        return cut.transpose(0, 2, 1, 3, 4).reshape(-1, side * side * colours)

    def _image(self, patches: Array) -> Array:
        """Back."""
        (height, width, colours), side = self.shape, self.patch
        cut = patches.reshape(height // side, width // side, side, side, colours)
        return cut.transpose(0, 2, 1, 3, 4).reshape(height, width, colours)
