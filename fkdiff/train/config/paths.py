"""The `path:` section: from noise to data. Free of JAX."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fkdiff.train.schema import Finite, Named, Positive, Section


class GaussianPath(Section):
    """What all Gaussian paths have."""

    log_snr: tuple[Finite, Finite] = (-9.0, 9.0)

    @model_validator(mode="after")
    def _increases(self):
        if self.log_snr[0] >= self.log_snr[1]:
            raise ValueError("path.log_snr must increase from the noise end to the data end")
        return self


class VariancePreserving(GaussianPath):
    """Linear b(τ) between two ends."""

    kind: Literal["variance_preserving"] = "variance_preserving"
    beta_min: Positive = 0.1
    beta_max: Positive = 20.0

    @model_validator(mode="after")
    def _ends(self):
        if self.beta_min >= self.beta_max:
            raise ValueError("path.beta_min must be below path.beta_max")
        return self


class Cosine(GaussianPath):
    """α = sin(πt/2), σ = cos(πt/2)."""

    kind: Literal["cosine"] = "cosine"


class VarianceExploding(GaussianPath):
    """α = 1, σ falls geometrically."""

    kind: Literal["variance_exploding"] = "variance_exploding"
    sigma_min: Positive = 0.01
    sigma_max: Positive = 100.0

    @model_validator(mode="after")
    def _ends(self):
        if self.sigma_min >= self.sigma_max:
            raise ValueError("path.sigma_min must be below path.sigma_max")
        return self


class Linear(GaussianPath):
    """α = t, σ = 1 − t: flow matching."""

    kind: Literal["linear"] = "linear"


class Masked(Section):
    """Text: tokens are kept with probability t, and training draws t = 1 − (1 − u)^power with u uniform."""

    kind: Literal["masked"] = "masked"
    power: Annotated[float, Field(ge=1, le=8, allow_inf_nan=False)] = 2.0


AnyPath = Annotated[
    VariancePreserving | Cosine | VarianceExploding | Linear | Masked, Named, Field(discriminator="kind")
]
