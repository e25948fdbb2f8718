"""What a training config may say: a closed schema, every key checked. Free of JAX.

- `data`, `paths`, `models`, `objective`: the sections that come in kinds
- here: the others, and `TrainConfig`, the run as a whole

Names resolve in these lists and nowhere else: no imports by name, no expressions, no interpolation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fkdiff.train.config.data import AnyData, Arrays, Chars, Digits, Images, Table, Textures, Toy
from fkdiff.train.config.models import AnyModel, Dit, Mlp, Transformer, Unet
from fkdiff.train.config.objective import LogitNormal, LogNormal, MinSnr, Objective, PlainTimes, PlainWeighting, Sigmoid
from fkdiff.train.config.paths import AnyPath, Cosine, Linear, Masked, VarianceExploding, VariancePreserving
from fkdiff.train.schema import Finite, Fraction, Positive, Section, Seed, validate
from fkdiff.train.yaml import parse_yaml, read_yaml

__all__ = [
    "Arrays", "Chars", "Cosine", "Digits", "Dit", "Images", "Linear", "load_config", "LogitNormal", "LogNormal",
    "Masked", "MinSnr", "Mlp", "Objective", "parse_config", "PlainTimes", "PlainWeighting", "Sigmoid", "Table",
    "Textures", "Toy", "TrainConfig", "Transformer", "Unet", "VarianceExploding", "VariancePreserving",
]  # fmt: skip
__dir__ = __all__.copy  # completion shows these, and no modules


MOST_PARAMETERS = 5 * 10**8


class Optim(Section):
    """Adam with decoupled weight decay, linear warm-up and cosine decay to zero.

    Attributes:
        learning_rate: At its highest.
        steps: Updates of the parameters.
        batch_size: Examples per update, over all devices.
        accumulate: Pieces that a batch is cut into, one after the other, for less memory and the same gradient.
        warmup: Steps until the learning rate is reached.
        weight_decay: Of matrices, not of biases.
        clip: Largest norm of a gradient.
        ema_decay: Of the average of the parameters that samplers use.
        more_ema_decays: Of further averages, kept beside it.
        precision: What the network computes in while it trains; parameters, averages and the optimiser stay in float32.
    """

    learning_rate: Positive = 1e-3
    steps: Annotated[int, Field(ge=1, le=10**8)] = 2000
    batch_size: Annotated[int, Field(ge=1, le=2**16)] = 128
    accumulate: Annotated[int, Field(ge=1, le=2**12)] = 1
    warmup: Annotated[int, Field(ge=0)] = 100
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    clip: Positive = 1.0
    ema_decay: Fraction = 0.999
    more_ema_decays: Annotated[tuple[Fraction, ...], Field(max_length=8)] = ()
    precision: Literal["float32", "bfloat16"] = "float32"

    @model_validator(mode="after")
    def _pieces(self) -> Optim:
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"optim.batch_size={self.batch_size} cannot be cut into optim.accumulate={self.accumulate} equal pieces"
            )
        if len({self.ema_decay, *self.more_ema_decays}) <= len(self.more_ema_decays):
            raise ValueError("optim.more_ema_decays must differ from each other and from optim.ema_decay")
        return self


class Logging(Section):
    """How often to look and to save, in steps.

    Attributes:
        metrics_every: A line of metrics.jsonl.
        validate_every: The loss on held-out data; with every checkpoint too.
        samples_every: A picture in samples/; 0 for the end only.
        checkpoint_every: A checkpoint.
    """

    metrics_every: Annotated[int, Field(ge=1)] = 100
    validate_every: Annotated[int, Field(ge=1)] = 1000
    samples_every: Annotated[int, Field(ge=0)] = 0
    checkpoint_every: Annotated[int, Field(ge=1)] = 1000


class Sampling(Section):
    """The samples at the end of training, and the defaults of `fkdiff sample`."""

    num_samples: Annotated[int, Field(ge=1, le=10**6)] = 64
    num_steps: Annotated[int, Field(ge=1, le=10**5)] = 32
    solver: Literal["heun", "euler", "ddim"] = "heun"
    guidance: Finite = 1.0


class TrainConfig(Section):
    """A training run, whole."""

    data: AnyData
    path: AnyPath = Cosine()
    model: AnyModel = Mlp()
    objective: Objective = Objective()
    optim: Optim = Optim()
    logging: Logging = Logging()
    sampling: Sampling = Sampling()
    seed: Seed = 0

    @model_validator(mode="after")
    def _agree(self) -> TrainConfig:
        if self.model.rough_size > MOST_PARAMETERS:
            raise ValueError(
                f"the model would have {self.model.rough_size:,} parameters or more, and {MOST_PARAMETERS:,} are the "
                "most "
                "that are trained here; lower its width or depth"
            )
        self._text_agrees()
        self._shape_agrees()
        if self.objective.coupling == "class_optimal_transport" and self._known and not self.data.num_classes:
            raise ValueError(
                f'objective.coupling="class_optimal_transport" needs classes and data.kind="{self.data.kind}" has '
                "none; "
                'use "optimal_transport"'
            )
        return self

    @property
    def is_text(self) -> bool:
        """Whether examples are tokens."""
        return isinstance(self.data, Chars)

    @property
    def _known(self) -> bool:
        """Whether the data section knows what its examples look like."""
        return getattr(self.data, "facts", ...) is not None

    def _text_agrees(self) -> None:
        data = f'data.kind="{self.data.kind}"'
        for name, section, kind in (("path", self.path, "masked"), ("model", self.model, "transformer")):
            if self.is_text and section.kind != kind:
                raise ValueError(f'{data} is text and {name}.kind="{section.kind}" takes none; use "{kind}"')
            if not self.is_text and section.kind == kind:
                raise ValueError(f'{name}.kind="{kind}" needs text and {data} is none; use data.kind="pydoc_chars"')
        if self.is_text and self.objective != Objective():
            raise ValueError(f"{data} has one loss, and objective chooses among others; leave that section out")
        if self.is_text and (self.sampling.solver, self.sampling.guidance) != ("heun", 1.0):
            raise ValueError(f"{data} is sampled by unmasking; leave sampling.solver and sampling.guidance out")

    def _shape_agrees(self) -> None:
        """Whether the network takes examples of this shape; sections of files are asked once they have been read."""
        if not self._known:
            return
        shape, kind = self.data.natural_shape, f'model.kind="{self.model.kind}"'
        data = f'data.kind="{self.data.kind}"'
        if isinstance(self.model, Unet):
            if len(shape) < 2:
                raise ValueError(f'{kind} needs images and {data} has none; use "mlp"')
            divisor = 2 ** (self.model.levels - 1)
            if any(length % divisor for length in shape[:-1]):
                raise ValueError(
                    f"model.levels={self.model.levels} asks for sides that are multiples of {divisor} and "
                    f"examples have shape {shape}; use fewer levels"
                )
        if isinstance(self.model, Dit):
            if len(shape) != 3:
                raise ValueError(f'{kind} needs images and {data} has none; use "mlp"')
            if any(length % self.model.patch for length in shape[:-1]):
                raise ValueError(
                    f"model.patch={self.model.patch} does not divide the sides of examples of shape {shape}"
                )


def load_config(file: str | Path) -> TrainConfig:
    """Reads a training config from a YAML file.

    Raises:
        FkdiffError: One sentence with the file, the key, what came and the next action.
    """
    return validate(TrainConfig, read_yaml(file), str(file))


def parse_config(text: str, source: str = "config") -> TrainConfig:
    """The same from a string."""
    return validate(TrainConfig, parse_yaml(text, source), source)
