"""What a steering config may say: one task and the engine that runs it. Free of JAX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fkdiff.train.schema import Finite, Positive, Section, Seed, validate
from fkdiff.train.yaml import read_yaml

Label = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1, le=2**22)]


class Guidance(Section):
    """q(x)^(1 − scale) q(x | label)^scale, exactly, for each label: what classifier-free guidance aims at."""

    kind: Literal["guidance"] = "guidance"
    labels: Annotated[tuple[Label, ...], Field(min_length=1, max_length=64)]
    scale: Finite = 2.0


class Anneal(Section):
    """q(x | label)^beta, or q(x)^beta without a label: colder for beta > 1."""

    kind: Literal["anneal"] = "anneal"
    beta: Positive = 1.5
    label: Label | None = None


class Product(Section):
    """Π_i q(x | labels_i)^exponents_i."""

    kind: Literal["product"] = "product"
    labels: Annotated[tuple[Label, ...], Field(min_length=1, max_length=16)]
    exponents: Annotated[tuple[Finite, ...], Field(min_length=1, max_length=16)]

    @model_validator(mode="after")
    def _agree(self) -> Product:
        if len(self.labels) != len(self.exponents):
            raise ValueError(f"task.exponents has {len(self.exponents)} entries and task.labels {len(self.labels)}")
        if sum(self.exponents) <= 0:
            raise ValueError("task.exponents must have a positive sum; otherwise the product has no finite mass")
        return self


class ClassLogit(Section):
    """strength × log p(target | x) of a classifier trained on the reward part of the digits."""

    kind: Literal["class_logit"] = "class_logit"
    target: Label
    strength: Finite = 1.0


class Ink(Section):
    """−½ strength (mean grey level − target)², grey levels in [0, 1]."""

    kind: Literal["ink"] = "ink"
    target: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.4
    strength: Finite = 1000.0


class Reward(Section):
    """q(x | label) e^{r(x)}, or q(x) e^{r(x)} without a label."""

    kind: Literal["reward"] = "reward"
    reward: Annotated[ClassLogit | Ink, Field(discriminator="kind")]
    label: Label | None = None
    ramp: Literal["linear", "quadratic", "snr"] = "linear"  # how the reward is switched on, 0 at t = 0 and 1 at t = 1
    on: Literal["x", "clean"] = "x"  # what the reward sees on the way


class Steering(Section):
    """q(x | label) e^{r(x)} by `fkdiff.steer`: ancestral steps, the reward a black box on the way.

    The law is that of the sampler's own steps, at any number of them; `engine.step`, `noise` and `control` are for
    correctors and are not used.
    """

    kind: Literal["steering"] = "steering"
    reward: Annotated[ClassLogit | Ink, Field(discriminator="kind")]
    label: Label | None = None
    potential: Literal["difference", "max", "sum", "terminal"] = "difference"
    intermediate: Literal["clean", "draws"] = "clean"  # the reward on the way: at the clean estimate, or over draws
    proposal: Literal["base", "twisted"] = "base"
    ramp: Literal["linear", "quadratic", "snr", "adaptive"] = "linear"

    @model_validator(mode="after")
    def _agree(self) -> Steering:
        if self.proposal == "twisted" and self.potential != "difference":
            raise ValueError(
                f'task.proposal="twisted" follows the present promise and task.potential="{self.potential}" makes '
                "another; use difference"
            )
        return self


Pair = tuple[Annotated[int, Field(ge=0, le=4096)], Annotated[int, Field(ge=0, le=4096)]]


class Inpainting(Section):
    """All pixels are seen but those of a rectangle: rows[0] ≤ row < rows[1], and so for columns."""

    kind: Literal["inpainting"] = "inpainting"
    rows: Pair = (2, 8)
    columns: Pair = (2, 6)


class SuperResolution(Section):
    """Means of blocks of factor × factor pixels are seen."""

    kind: Literal["super_resolution"] = "super_resolution"
    factor: Annotated[int, Field(ge=2, le=64)] = 2


class Deblurring(Section):
    """Every pixel is seen blurred by binomial weights, `width` pixels wide in each direction."""

    kind: Literal["deblurring"] = "deblurring"
    width: Literal[3, 5, 7] = 3


class Matrix(Section):
    """Any linear combinations of the coordinates, one per row."""

    kind: Literal["matrix"] = "matrix"
    rows: Annotated[tuple[tuple[Finite, ...], ...], Field(min_length=1, max_length=256)]


class Inverse(Section):
    """The posterior of x given y = A x + noise ξ by `fkdiff.inverse`, ancestral steps guided towards y and weighted.

    y comes from a file (`--observation FILE.npy`), or is made from held-out examples, which then judge the answer.
    `engine.step`, `noise` and `control` are for correctors and are not used.
    """

    kind: Literal["inverse"] = "inverse"
    operator: Annotated[Inpainting | SuperResolution | Deblurring | Matrix, Field(discriminator="kind")]
    noise: Positive = 0.2  # standard deviation of the observation's noise, in units of the model's data
    label: Label | None = None
    proposal: Literal["adapted", "pigdm", "tmpd", "dps"] = "adapted"
    baseline: Literal["adapted", "pigdm", "tmpd", "dps"] = "pigdm"  # run without weights, for comparison
    held_out: Annotated[tuple[Label, ...], Field(min_length=1, max_length=64)] = (0, 1, 2)  # which of them are observed


class Words(Section):
    """strength × log((known + ½)/(words + 1)): the share of words that are on a list, in nats.

    Without a list, the words that the reference part of the corpus has twice or more.
    """

    kind: Literal["words"] = "words"
    words: Annotated[tuple[Annotated[str, Field(max_length=64)], ...], Field(max_length=10_000)] = ()
    strength: Finite = 8.0


class Text(Section):
    """q(text | prompt)^beta e^{r(text)} of a masked model of characters; without a reward the power alone.

    One character is revealed per step; `engine.num_steps`, `step`, `noise` and `control` are not used.
    """

    kind: Literal["text"] = "text"
    prompt: Annotated[str, Field(max_length=4096)] = ""
    beta: Positive = 1.0
    reward: Words | None = Words()
    potential: Literal["difference", "max", "sum", "terminal"] = "difference"
    completions: Annotated[int, Field(ge=1, le=256)] = 4  # of the text, for the reward on the way
    order: Literal["random", "left-to-right", "confidence"] = "random"


class Engine(Section):
    """How the particles move; see `WeightedSDE.feynman_kac` and `run_smc`."""

    num_particles: Count = 512
    num_steps: Annotated[int, Field(ge=1, le=10**5)] = 32
    step: Literal["euler", "heun", "rk4", "exponential"] = "heun"
    noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    control: Literal["none", "affine", "score", "score+reward"] = "score"
    resample_threshold: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.5
    num_populations: Annotated[int, Field(ge=1, le=1024)] = 1


class SteerConfig(Section):
    """A steering run, whole."""

    task: Annotated[Guidance | Anneal | Product | Reward | Steering | Inverse | Text, Field(discriminator="kind")]
    engine: Engine = Engine()
    num_samples: Count = 100
    seed: Seed = 0


def load_steer_config(file: str | Path) -> SteerConfig:
    """Reads a steering config from a YAML file.

    Raises:
        FkdiffError: One sentence with the file, the key, what came and the next action.
    """
    return validate(SteerConfig, read_yaml(file), str(file))
