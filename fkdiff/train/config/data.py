"""The `data:` section: what a model is trained on. Free of JAX.

Every section says, without reading anything, what its examples look like; sections of files learn it when a run begins
(`fkdiff.train.data.resolve`) and keep it, so that a run can be sampled where its data are not.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from fkdiff.train.schema import Finite, Fraction, Positive, Section

Count = Annotated[int, Field(ge=1, le=2**40)]
Length = Annotated[int, Field(ge=1, le=2**16)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class DataSection(Section):
    """What all of them answer; each adds `natural_shape`, that of an example as it comes; a perceptron flattens it."""

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 for none."""
        return 0

    @property
    def cond_length(self) -> int:
        """Length of a continuous condition; 0 for none."""
        return 0

    @property
    def quantum(self) -> float:
        """Distance between neighbouring values in the model's units, where the data are whole numbers; else 0."""
        return 0.0

    @property
    def noise_width(self) -> float:
        """Width of the uniform noise that training adds: the quantum where that is asked for."""
        return self.quantum if getattr(self, "dequantize", False) else 0.0


DIGIT_MEAN, DIGIT_SCALE = 4.9, 6.0  # grey levels 0 … 16 to mean 0 and variance 1, by round numbers


class Digits(DataSection):
    """scikit-learn's 8 × 8 digits, 60 % of them: the rest is kept for reward models and for judging."""

    kind: Literal["digits"] = "digits"
    dequantize: bool = False

    @property
    def natural_shape(self) -> tuple[int, ...]:
        return (8, 8, 1)

    @property
    def num_classes(self) -> int:
        return 10

    @property
    def quantum(self) -> float:
        return 1 / DIGIT_SCALE


_TOY_CLASSES = {"checkerboard": 0, "moons": 2, "rings": 3, "gaussians": 8}


class Toy(DataSection):
    """A law in the plane, drawn once."""

    kind: Literal["checkerboard", "moons", "rings", "gaussians"]
    num_points: Annotated[int, Field(ge=64, le=10**6)] = 20_000

    @property
    def natural_shape(self) -> tuple[int, ...]:
        return (2,)

    @property
    def num_classes(self) -> int:
        return _TOY_CLASSES[self.kind]


TEXTURES = ("brick", "grass", "gravel")


class Textures(DataSection):
    """Grey patches of scikit-image's three textures, the class; the lower quarter of each picture is held out."""

    kind: Literal["textures"] = "textures"
    size: Annotated[int, Field(ge=4, le=64)] = 16
    stride: Annotated[int, Field(ge=1, le=64)] = 8
    dequantize: bool = False

    @property
    def natural_shape(self) -> tuple[int, ...]:
        return (self.size, self.size, 1)

    @property
    def num_classes(self) -> int:
        return len(TEXTURES)

    @property
    def quantum(self) -> float:
        return 1 / TEXTURE_SCALE


TEXTURE_MEAN, TEXTURE_SCALE = 119.0, 36.0  # grey levels of the three, 0 … 255, to mean 0 and variance 1

# Features and classes of scikit-learn's tables.
_TABLES = {"iris": (4, 3), "wine": (13, 3), "breast_cancer": (30, 2), "diabetes": (10, 0)}


class Table(DataSection):
    """One of scikit-learn's tables, standardised by its training rows; the class, or for diabetes the disease's
    progression, is the condition. One fifth of the rows is held out."""

    kind: Literal["table"] = "table"
    name: Literal["iris", "wine", "breast_cancer", "diabetes"]

    @property
    def natural_shape(self) -> tuple[int, ...]:
        return (_TABLES[self.name][0],)

    @property
    def num_classes(self) -> int:
        return _TABLES[self.name][1]

    @property
    def cond_length(self) -> int:
        return 1 if self.name == "diabetes" else 0


class Chars(DataSection):
    """The language reference that comes with Python (`pydoc_data.topics`), as characters: no classes."""

    kind: Literal["pydoc_chars"] = "pydoc_chars"
    length: Annotated[int, Field(ge=2, le=1024)] = 64

    @property
    def natural_shape(self) -> tuple[int, ...]:
        return (self.length,)


class Facts(Section):
    """What was read from a person's files when the run began.

    Attributes:
        shape: Of one example.
        count: Number of examples.
        classes: Number of classes; 0 for none.
        cond_length: Length of a continuous condition; 0 for none.
        mean: Subtracted, one number or one for each feature.
        scale: Divided by, likewise.
        quantum: Distance of neighbouring values in the file's units; 0 for real numbers.
        class_counts: Training examples of every class.
        sha256: Of the file, or of the names and contents of a folder's images.
    """

    shape: Annotated[tuple[Length, ...], Field(min_length=1, max_length=3)]
    count: Count
    classes: Annotated[int, Field(ge=0, le=10**5)] = 0
    cond_length: Annotated[int, Field(ge=0, le=4096)] = 0
    mean: Annotated[tuple[Finite, ...], Field(min_length=1, max_length=4096)]
    scale: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=4096)]
    quantum: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    class_counts: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(max_length=10**5)] = ()
    sha256: Hash


_PLACE = re.compile(r"^(?!/)(?!.*(^|/)\.\.(/|$))[^\x00-\x1f\\]{1,255}$")


class _Stored(DataSection):
    """Data that lie in files under the data root."""

    classes: Annotated[int, Field(ge=0, le=10**5)] | None = None
    held_out: Fraction = 0.1
    normalize: Literal["auto", "features", "global", "none"] = "auto"
    dequantize: bool = False
    facts: Facts | None = None

    @property
    def known(self) -> Facts:
        """The facts of a section that has been resolved."""
        assert self.facts is not None, "a data section of files is resolved before it is used"
        return self.facts

    @property
    def natural_shape(self) -> tuple[int, ...]:
        return self.known.shape

    @property
    def num_classes(self) -> int:
        return self.known.classes

    @property
    def cond_length(self) -> int:
        return self.known.cond_length

    @property
    def quantum(self) -> float:
        return self.known.quantum / self.known.scale[0] if len(self.known.scale) == 1 else 0.0


def _place(value: str) -> str:
    if not _PLACE.match(value):
        raise ValueError(
            f"data: {value[:80]!r} must be a path below the data root, without .. and not absolute; put the data "
            "there, or "
            "name another root by --data-root"
        )
    return value


class Arrays(_Stored):
    """A person's numbers, one example a row.

    A .npy file; a .npz file with `examples` and, if they are there, `labels` (whole numbers from 0) or `cond` (n, k);
    or a .csv file with a header, some of whose columns may be set aside as label or condition.
    """

    kind: Literal["arrays"] = "arrays"
    file: str
    label_column: str | None = None
    cond_columns: Annotated[tuple[str, ...], Field(max_length=4096)] = ()
    in_memory: Annotated[int, Field(ge=0)] = 2**30

    _below_the_root = field_validator("file")(_place)


class Images(_Stored):
    """A folder of PNG, JPEG or BMP pictures; its sub-folders, if it has any, are the classes."""

    kind: Literal["images"] = "images"
    folder: str
    size: tuple[Annotated[int, Field(ge=2, le=1024)], Annotated[int, Field(ge=2, le=1024)]]
    colours: Literal[1, 3] = 3
    damaged: Literal["skip", "stop"] = "skip"

    _below_the_root = field_validator("folder")(_place)


AnyData = Annotated[Digits | Toy | Textures | Table | Chars | Arrays | Images, Field(discriminator="kind")]
