"""From a config's `data:` section to a data set, and one report of what was read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fkdiff.errors import require
from fkdiff.train.config import TrainConfig
from fkdiff.train.config.data import Arrays, Images
from fkdiff.train.data import arrays, characters, handwriting, images, tables, textures, toys
from fkdiff.train.data.dataset import Dataset
from fkdiff.train.schema import validate
from fkdiff.train.text import pydoc_corpus

SOURCES: dict[str, Any] = {
    "digits": handwriting,
    "textures": textures,
    "table": tables,
    "pydoc_chars": characters,
    "arrays": arrays,
    "images": images,
    **dict.fromkeys(("checkerboard", "moons", "rings", "gaussians"), toys),
}


class Report(NamedTuple):
    """What was read, in sentences."""

    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "; ".join(self.lines) + "."


class Read(NamedTuple):
    """A config's data, read once.

    Attributes:
        config: The config with what is now known of its data.
        report: What was read.
        training: To train on.
        held_out: What training never sees.
    """

    config: TrainConfig
    report: Report
    training: Dataset
    held_out: Dataset


def read_data(config: TrainConfig, root: str | Path = ".") -> Read:
    """Both parts of a config's data, each read or made once.

    Args:
        config: The config, as a person wrote it or as a run keeps it.
        root: Files are read below it and nowhere else.

    Raises:
        FkdiffError: The data cannot be read, are not what the config says, or have changed since the run began.
    """
    config, report = _with_facts(config, Path(root))
    training, aside = load_data(config, root), held_out(config, root)
    return Read(config, report or _described(config, training, aside), training, aside)


def resolve(config: TrainConfig, root: str | Path = ".") -> tuple[TrainConfig, Report]:
    """The config with what is now known of its data, and a report; for arguments and errors see `read_data`."""
    config, report = _with_facts(config, Path(root))
    return config, report or _described(config, load_data(config, root), held_out(config, root))


def _with_facts(config: TrainConfig, root: Path) -> tuple[TrainConfig, Report | None]:
    """The config with the facts of its files, and what was found in them; None where it names no files."""
    if not isinstance(config.data, Arrays | Images):
        return config, None
    found, lines = (arrays if isinstance(config.data, Arrays) else images).facts(config.data, root)  # type: ignore[arg-type]
    before = config.data.facts
    require(
        before is None or before == found,
        "data: the files have changed since this config was written; leave data.facts out to train on what is there "
        "now.",
    )
    data = config.model_dump(mode="json")
    data["data"]["facts"] = found.model_dump(mode="json")
    return validate(TrainConfig, data, "the config"), Report(tuple(lines))


def _described(config: TrainConfig, training: Dataset, aside: Dataset) -> Report:
    low, high = float(np.min(training.examples)), float(np.max(training.examples))
    lines = [f"{config.data.kind}: examples of shape {config.data.natural_shape}, from {low:.4g} to {high:.4g}"]
    lines += [f"{config.data.num_classes} classes"] if config.data.num_classes else []
    lines += [f"conditions of {config.data.cond_length} numbers"] if config.data.cond_length else []
    return Report((*lines, f"{len(training.examples)} to train on, {len(aside.examples)} held out"))


def example_shape(config: TrainConfig) -> tuple[int, ...]:
    """Shape of one example as the network takes it: flattened for a perceptron."""
    shape = config.data.natural_shape
    return (int(np.prod(shape)),) if config.model.kind == "mlp" else shape


def load_data(config: TrainConfig, root: str | Path = ".") -> Dataset:
    """The training set of a config, in the shape that its network takes."""
    return _load(config, "train", root)


def held_out(config: TrainConfig, root: str | Path = ".") -> Dataset:
    """Data that training never sees, from the same source."""
    return _load(config, "held_out", root)


def _load(config: TrainConfig, part: str, root: str | Path) -> Dataset:
    data = SOURCES[config.data.kind].load(config.data, part, config.seed, Path(root))
    shape = example_shape(config)
    if isinstance(data.examples, arrays.Stored):
        require(
            data.examples.shape[1:] == shape,
            f"model.kind={config.model.kind} takes flattened examples, and those on disk have shape "
            f"{data.examples.shape[1:]}; save them as vectors, or raise data.in_memory.",
        )
        return data
    return data._replace(examples=data.examples.reshape(-1, *shape))


def data_facts(config: TrainConfig) -> dict[str, Any]:
    """What a checkpoint should remember of data that fkdiff does not ship: {"corpus": {...}} for text, else {}."""
    if not config.is_text:
        return {}
    corpus = pydoc_corpus()
    counts = {
        part: {"characters": len(text), "topics": len(corpus.topics[part])} for part, text in corpus.parts.items()
    }
    return {"corpus": {"name": "pydoc_data.topics", "sha256": corpus.sha256, "parts": counts}}
