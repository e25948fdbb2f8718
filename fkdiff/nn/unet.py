"""A small U-Net for images of shape (height, width, channels)."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from fkdiff.core import Array, PyTree, require
from fkdiff.nn.embedding import Conditioning
from fkdiff.nn.layers import convolution, dense, normalised, zeros


class ConvolutionBlock(nnx.Module):
    """skip(x) + conv(silu(scale ⊙ norm(conv(silu(norm x))) + shift)); the norm acts on each pixel's channels."""

    def __init__(self, inside: int, outside: int, condition: int, *, rngs: nnx.Rngs):
        self.first = convolution(inside, outside, rngs=rngs)
        self.modulate = dense(condition, 2 * outside, kernel=zeros, rngs=rngs)
        self.second = convolution(outside, outside, rngs=rngs)
        self.skip = convolution(inside, outside, size=1, rngs=rngs) if inside != outside else None

    def __call__(self, x: Array, condition: Array) -> Array:
        scale, shift = jnp.split(self.modulate(condition)[None, None, :], 2, axis=-1)
        hidden = self.first(nnx.silu(normalised(x)))
        hidden = self.second(nnx.silu((1 + scale) * normalised(hidden) + shift))
        return hidden + (x if self.skip is None else self.skip(x))


def _halve(x: Array) -> Array:
    """Mean over 2 × 2 pixels."""
    height, width, channels = x.shape
    return x.reshape(height // 2, 2, width // 2, 2, channels).mean((1, 3))


def _double(x: Array) -> Array:
    """Each pixel four times."""
    return jnp.repeat(jnp.repeat(x, 2, axis=0), 2, axis=1)


class UNet(nnx.Module):
    """Maps one image to one of the same shape, given time and class.

    Args:
        shape: (height, width, channels); height and width divisible by 2^(levels − 1).
        channels: Channels at full resolution; doubled once, on every coarser level.
        levels: Number of resolutions.
        num_classes: Number of classes; 0 for an unconditional network.
        rngs: Random streams that draw the initial parameters.

    References:
        Ho, Jain and Abbeel (2020), appendix B, for the layout.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        channels: int = 32,
        levels: int = 2,
        num_classes: int = 0,
        *,
        rngs: nnx.Rngs,
    ):
        height, width, colours = shape
        divisor = 2 ** (levels - 1)
        require(
            height % divisor == 0 and width % divisor == 0,
            f"shape={shape} cannot be halved {levels - 1} times; use fewer levels, or pad the images to a "
            f"multiple of {divisor}.",
        )
        condition = 4 * channels
        widths = [channels] + [2 * channels] * (levels - 1)
        self.conditioning = Conditioning(condition, num_classes, rngs=rngs)
        self.enter = convolution(colours, channels, rngs=rngs)
        fine = [channels, *widths[:-1]]
        self.down = nnx.List([ConvolutionBlock(a, b, condition, rngs=rngs) for a, b in zip(fine, widths, strict=True)])
        self.middle = ConvolutionBlock(widths[-1], widths[-1], condition, rngs=rngs)
        coarse = [widths[-1], *widths[:0:-1]]
        self.up = nnx.List(
            [
                ConvolutionBlock(below + across, across, condition, rngs=rngs)
                for below, across in zip(coarse, widths[::-1], strict=True)
            ]
        )
        self.leave = convolution(channels, colours, kernel=zeros, rngs=rngs)

    def __call__(self, x: Array, t: Array, cond: PyTree = None) -> Array:
        condition = self.conditioning(t, cond)
        hidden = self.enter(x)
        kept = []
        for level, block in enumerate(self.down):
            hidden = block(hidden if level == 0 else _halve(hidden), condition)
            kept.append(hidden)
        hidden = self.middle(hidden, condition)
        for level, block in enumerate(self.up):
            hidden = hidden if level == 0 else _double(hidden)
            hidden = block(jnp.concatenate([hidden, kept.pop()], axis=-1), condition)
        return self.leave(nnx.silu(normalised(hidden)))
