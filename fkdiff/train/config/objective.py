"""The `objective:` section: what is regressed, and on what. Free of JAX."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fkdiff.train.schema import Finite, Fraction, Named, Positive, Section


class PlainWeighting(Section):
    """A weighting without parameters."""

    kind: Literal["unit", "plain", "uniform", "clean", "snr", "noise", "edm"] = "unit"


class MinSnr(Section):
    """min(SNR, γ) on the error of the clean estimate."""

    kind: Literal["min_snr"] = "min_snr"
    gamma: Positive = 5.0


class Sigmoid(Section):
    """SNR · sigmoid(bias − log-SNR) on the error of the clean estimate."""

    kind: Literal["sigmoid"] = "sigmoid"
    bias: Finite = 0.0


class PlainTimes(Section):
    """Uniform in t, or in the log-SNR."""

    kind: Literal["uniform", "logsnr"] = "uniform"
    stratified: bool = True


class LogitNormal(Section):
    """The middle more often than the ends."""

    kind: Literal["logit_normal"] = "logit_normal"
    mean: Finite = 0.0
    scale: Positive = 1.0
    stratified: bool = True


class LogNormal(Section):
    """log σ/α ~ N(mean, scale²)."""

    kind: Literal["log_normal"] = "log_normal"
    mean: Finite = -1.2
    scale: Positive = 1.2
    stratified: bool = True


class Objective(Section):
    """What the network outputs, how its error is weighed, which times it sees and how noise and data are paired."""

    kind: Literal["clean", "noise", "velocity", "score", "v", "edm", "energy"] = "velocity"
    weighting: Annotated[PlainWeighting | MinSnr | Sigmoid, Named, Field(discriminator="kind")] = PlainWeighting()
    times: Annotated[PlainTimes | LogitNormal | LogNormal, Named, Field(discriminator="kind")] = PlainTimes()
    coupling: Literal["independent", "optimal_transport", "class_optimal_transport"] = "independent"
    data_scale: Positive = 1.0
    label_dropout: Fraction = 0.1

    @model_validator(mode="after")
    def _has_score(self) -> Objective:
        if self.coupling != "independent" and self.kind in ("score", "energy"):
            raise ValueError(
                f'objective.coupling="{self.coupling}" leaves no score, and that is what objective.kind="{self.kind}" '
                'says; use kind "velocity", or coupling "independent"'
            )
        return self
