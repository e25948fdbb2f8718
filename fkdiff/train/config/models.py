"""The `model:` section: the network. Free of JAX."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fkdiff.train.schema import Fraction, Named, Section

Width = Annotated[int, Field(ge=1, le=4096)]
Depth = Annotated[int, Field(ge=1, le=64)]


class _Headed(Section):
    """Attention heads share the width."""

    @property
    def rough_size(self) -> int:
        return 12 * self.depth * self.width**2

    width: Width = 128
    depth: Depth = 4
    heads: Depth = 4

    @model_validator(mode="after")
    def _shared(self):
        if self.width % self.heads:
            raise ValueError(f"model.width={self.width} must be a multiple of model.heads={self.heads}")
        return self


class Mlp(Section):
    """Residual multilayer perceptron on the flattened example."""

    @property
    def rough_size(self) -> int:
        """About how many parameters, from below."""
        return 2 * self.depth * self.width**2

    kind: Literal["mlp"] = "mlp"
    width: Width = 256
    depth: Depth = 3
    dropout: Fraction = 0.0


class Unet(Section):
    """Small U-Net on (height, width, channels) or (length, channels)."""

    @property
    def rough_size(self) -> int:
        return 12 * (2 * self.levels) * self.channels**2

    kind: Literal["unet"] = "unet"
    channels: Annotated[int, Field(ge=1, le=1024)] = 32
    levels: Annotated[int, Field(ge=1, le=4)] = 2
    dropout: Fraction = 0.0


class Dit(_Headed):
    """Transformer over square patches of (height, width, channels)."""

    kind: Literal["dit"] = "dit"
    patch: Annotated[int, Field(ge=1, le=64)] = 2
    dropout: Fraction = 0.0


class Transformer(_Headed):
    """Bidirectional transformer on tokens."""

    kind: Literal["transformer"] = "transformer"
    timed: bool = False


AnyModel = Annotated[Mlp | Unet | Dit | Transformer, Named, Field(discriminator="kind")]
