"""What a training config may say: a closed schema, every key checked. Free of JAX.

Names resolve in the lists below and nowhere else: no imports by name, no expressions, no interpolation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fkdiff.train.schema import Finite, Fraction, Named, Positive, Section, Seed, validate
from fkdiff.train.yaml import parse_yaml, read_yaml

Width = Annotated[int, Field(ge=1, le=4096)]


# Data ------------------------------------------------------------------------------------------------------


class Digits(Section):
    """scikit-learn's 8 × 8 digits, 60 % of them: the rest is kept for reward models and for judging."""

    kind: Literal["digits"] = "digits"


class Toy(Section):
    """A law in the plane, drawn once."""

    kind: Literal["checkerboard", "moons", "rings", "gaussians"]
    num_points: Annotated[int, Field(ge=64, le=10**6)] = 20_000


class Chars(Section):
    """The language reference that comes with Python (`pydoc_data.topics`), as characters: no classes."""

    kind: Literal["pydoc_chars"] = "pydoc_chars"
    length: Annotated[int, Field(ge=2, le=1024)] = 64


# Paths -----------------------------------------------------------------------------------------------------


class _Path(Section):
    log_snr: tuple[Finite, Finite] = (-9.0, 9.0)


class VariancePreserving(_Path):
    """Linear b(τ) between two ends."""

    kind: Literal["variance_preserving"] = "variance_preserving"
    beta_min: Positive = 0.1
    beta_max: Positive = 20.0


class Cosine(_Path):
    """α = sin(πt/2), σ = cos(πt/2)."""

    kind: Literal["cosine"] = "cosine"


class VarianceExploding(_Path):
    """α = 1, σ falls geometrically."""

    kind: Literal["variance_exploding"] = "variance_exploding"
    sigma_min: Positive = 0.01
    sigma_max: Positive = 100.0


class Linear(_Path):
    """α = t, σ = 1 − t: flow matching."""

    kind: Literal["linear"] = "linear"


class Masked(Section):
    """α(t) = 1 − (1 − t)^power is the probability that a token is not masked: for text."""

    kind: Literal["masked"] = "masked"
    power: Annotated[float, Field(ge=1, le=8, allow_inf_nan=False)] = 2.0


# Networks --------------------------------------------------------------------------------------------------


class Mlp(Section):
    """Residual multilayer perceptron on the flattened example."""

    kind: Literal["mlp"] = "mlp"
    width: Width = 256
    depth: Annotated[int, Field(ge=1, le=64)] = 3


class Unet(Section):
    """Small U-Net on (height, width, channels)."""

    kind: Literal["unet"] = "unet"
    channels: Annotated[int, Field(ge=1, le=1024)] = 32
    levels: Annotated[int, Field(ge=1, le=4)] = 2


class Transformer(Section):
    """Bidirectional transformer on tokens."""

    kind: Literal["transformer"] = "transformer"
    width: Width = 128
    depth: Annotated[int, Field(ge=1, le=64)] = 4
    heads: Annotated[int, Field(ge=1, le=64)] = 4
    timed: bool = False


# Training --------------------------------------------------------------------------------------------------


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


class Optim(Section):
    """Adam with decoupled weight decay, linear warm-up and cosine decay to zero."""

    learning_rate: Positive = 1e-3
    steps: Annotated[int, Field(ge=1, le=10**8)] = 2000
    batch_size: Annotated[int, Field(ge=1, le=2**16)] = 128
    warmup: Annotated[int, Field(ge=0)] = 100
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    clip: Positive = 1.0
    ema_decay: Fraction = 0.999


class Logging(Section):
    """How often to look and to save, in steps."""

    metrics_every: Annotated[int, Field(ge=1)] = 100
    checkpoint_every: Annotated[int, Field(ge=1)] = 1000


class Sampling(Section):
    """The samples at the end of training, and the defaults of `fkdiff sample`."""

    num_samples: Annotated[int, Field(ge=1, le=10**6)] = 64
    num_steps: Annotated[int, Field(ge=1, le=10**5)] = 32
    solver: Literal["heun", "euler", "ddim"] = "heun"
    guidance: Finite = 1.0


class TrainConfig(Section):
    """A training run, whole."""

    data: Annotated[Digits | Toy | Chars, Field(discriminator="kind")]
    path: Annotated[VariancePreserving | Cosine | VarianceExploding | Linear | Masked, Field(discriminator="kind")] = (
        Cosine()
    )
    model: Annotated[Mlp | Unet | Transformer, Field(discriminator="kind")] = Mlp()
    objective: Objective = Objective()
    optim: Optim = Optim()
    logging: Logging = Logging()
    sampling: Sampling = Sampling()
    seed: Seed = 0

    @model_validator(mode="after")
    def _agree(self) -> TrainConfig:
        if self.model.kind == "unet" and self.data.kind != "digits":
            raise ValueError(f'model.kind="unet" needs images and data.kind="{self.data.kind}" has none; use "mlp"')
        self._text_agrees()
        if isinstance(self.path, _Path) and self.path.log_snr[0] >= self.path.log_snr[1]:
            raise ValueError("path.log_snr must increase from the noise end to the data end")
        if self.path.kind == "variance_preserving" and self.path.beta_min >= self.path.beta_max:
            raise ValueError("path.beta_min must be below path.beta_max")
        if self.path.kind == "variance_exploding" and self.path.sigma_min >= self.path.sigma_max:
            raise ValueError("path.sigma_min must be below path.sigma_max")
        return self

    @property
    def is_text(self) -> bool:
        """Whether examples are tokens."""
        return isinstance(self.data, Chars)

    def _text_agrees(self) -> None:
        data = f'data.kind="{self.data.kind}"'
        for name, section, kind in (("path", self.path, "masked"), ("model", self.model, "transformer")):
            if self.is_text and section.kind != kind:
                raise ValueError(f'{data} is text and {name}.kind="{section.kind}" takes none; use "{kind}"')
            if not self.is_text and section.kind == kind:
                raise ValueError(f'{name}.kind="{kind}" needs text and {data} is none; use data.kind="pydoc_chars"')
        if isinstance(self.model, Transformer) and self.model.width % self.model.heads:
            raise ValueError(f"model.width={self.model.width} must be a multiple of model.heads={self.model.heads}")
        if self.is_text and self.objective != Objective():
            raise ValueError(f"{data} has one loss, and objective chooses among others; leave that section out")
        if self.is_text and (self.sampling.solver, self.sampling.guidance) != ("heun", 1.0):
            raise ValueError(f"{data} is sampled by unmasking; leave sampling.solver and sampling.guidance out")


def load_config(file: str | Path) -> TrainConfig:
    """Reads a training config from a YAML file.

    Raises:
        FkdiffError: One sentence with the file, the key, what came and the next action.
    """
    return validate(TrainConfig, read_yaml(file), str(file))


def parse_config(text: str, source: str = "config") -> TrainConfig:
    """The same from a string."""
    return validate(TrainConfig, parse_yaml(text, source), source)
