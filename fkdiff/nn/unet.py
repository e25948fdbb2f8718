"""A small U-Net for signals of shape (length, channels) and images of shape (height, width, channels)."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from fkdiff.core import Array, Key, PyTree, require
from fkdiff.nn.embedding import Conditioning
from fkdiff.nn.layers import convolution, dense, dropped, fold, normalised, zeros


class ConvolutionBlock(nnx.Module):
    """skip(x) + conv(silu(scale ⊙ norm(conv(silu(norm x))) + shift)); the norm acts on each place's channels."""

    def __init__(
        self, inside: int, outside: int, condition: int, axes: int = 2, dropout: float = 0.0, *, rngs: nnx.Rngs
    ):
        self.dropout = dropout
        self.first = convolution(inside, outside, axes=axes, rngs=rngs)
        self.modulate = dense(condition, 2 * outside, kernel=zeros, rngs=rngs)
        self.second = convolution(outside, outside, axes=axes, rngs=rngs)
        self.skip = convolution(inside, outside, size=1, axes=axes, rngs=rngs) if inside != outside else None

    def __call__(self, x: Array, condition: Array, key: Key | None = None) -> Array:
        told = self.modulate(condition).reshape((1,) * (x.ndim - 1) + (-1,))
        scale, shift = jnp.split(told, 2, axis=-1)
        hidden = self.first(nnx.silu(normalised(x)))
        hidden = dropped(nnx.silu((1 + scale) * normalised(hidden) + shift), self.dropout, key)
        return self.second(hidden) + (x if self.skip is None else self.skip(x))


def _halve(x: Array) -> Array:
    """Mean over pairs of neighbours along every axis but the last."""
    *lengths, channels = x.shape
    pairs = [size for length in lengths for size in (length // 2, 2)]
    return x.reshape(*pairs, channels).mean(tuple(range(1, 2 * len(lengths), 2)))


def _double(x: Array) -> Array:
    """Each place twice along every axis but the last."""
    for axis in range(x.ndim - 1):
        x = jnp.repeat(x, 2, axis=axis)
    return x


class UNet(nnx.Module):
    """Maps one signal or image to one of the same shape, given time and condition.

    Args:
        shape: (length, channels) or (height, width, channels); lengths divisible by 2^(levels − 1).
        channels: Channels at full resolution; doubled once, on every coarser level.
        levels: Number of resolutions.
        num_classes: Number of classes; 0 for a network that takes none.
        cond_size: Length of a continuous condition; 0 for a network that takes none.
        dropout: Share of hidden channels that a call with a key leaves out.
        rngs: Random streams that draw the initial parameters.

    References:
        Ho, Jain and Abbeel (2020), appendix B, for the layout.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        channels: int = 32,
        levels: int = 2,
        num_classes: int = 0,
        cond_size: int = 0,
        dropout: float = 0.0,
        *,
        rngs: nnx.Rngs,
    ):
        *lengths, colours = shape
        divisor = 2 ** (levels - 1)
        require(
            len(lengths) in (1, 2),
            f"shape={shape} has {len(shape)} axes; a U-Net takes (length, channels) or (height, width, channels).",
        )
        require(
            all(length % divisor == 0 for length in lengths),
            f"shape={shape} cannot be halved {levels - 1} times; use fewer levels, or pad the examples to a "
            f"multiple of {divisor}.",
        )
        condition, axes = 4 * channels, len(lengths)

        def block(inside: int, outside: int) -> ConvolutionBlock:
            return ConvolutionBlock(inside, outside, condition, axes, dropout, rngs=rngs)

        widths = [channels] + [2 * channels] * (levels - 1)
        self.conditioning = Conditioning(condition, num_classes, cond_size, rngs=rngs)
        self.enter = convolution(colours, channels, axes=axes, rngs=rngs)
        fine = [channels, *widths[:-1]]
        self.down = nnx.List([block(a, b) for a, b in zip(fine, widths, strict=True)])
        self.middle = block(widths[-1], widths[-1])
        coarse = [widths[-1], *widths[:0:-1]]
        self.up = nnx.List([block(below + across, across) for below, across in zip(coarse, widths[::-1], strict=True)])
        self.leave = convolution(channels, colours, axes=axes, kernel=zeros, rngs=rngs)

    def __call__(self, x: Array, t: Array, cond: PyTree = None, key: Key | None = None) -> Array:
        condition = self.conditioning(t, cond)
        hidden = self.enter(x)
        kept = []
        for level, block in enumerate(self.down):
            hidden = block(hidden if level == 0 else _halve(hidden), condition, fold(key, level))
            kept.append(hidden)
        hidden = self.middle(hidden, condition, fold(key, len(self.down)))
        for level, block in enumerate(self.up):
            hidden = hidden if level == 0 else _double(hidden)
            joined = jnp.concatenate([hidden, kept.pop()], axis=-1)
            hidden = block(joined, condition, fold(key, len(self.down) + 1 + level))
        return self.leave(nnx.silu(normalised(hidden)))
