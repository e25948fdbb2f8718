"""The run folder, and a trained model read back from it.

RUN/config.yaml            the config, resolved
RUN/metrics.jsonl          one line per look
RUN/checkpoints/step_…/    see `checkpoint`; the newest two
RUN/samples.png            drawn when training ends
RUN/.lock                  held while a process trains
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import PyTree, require
from fkdiff.errors import FkdiffWarning
from fkdiff.prediction import Predictor
from fkdiff.train import checkpoint
from fkdiff.train.build import abstract_params
from fkdiff.train.config import TrainConfig
from fkdiff.train.data import example_shape, load_data, num_classes
from fkdiff.train.files import check_name, refuse_existing, write_file
from fkdiff.train.schema import validate
from fkdiff.train.yaml import dump_yaml

# What a resumed run may change: none of it touches what was computed so far.
RESUMABLE = ("optim.steps", "logging", "sampling")


class LoadedRun(NamedTuple):
    """A trained model and what it was trained on.

    Attributes:
        predictor: The model, unconditional until `.given(label)`.
        config: The checkpoint's own config.
        step: Step of the checkpoint.
        num_classes: Labels run from 0 to num_classes − 1; 0 for none.
        config_hash: SHA-256 of the config.
    """

    predictor: Predictor
    config: TrainConfig
    step: int
    num_classes: int
    config_hash: str

    @property
    def class_shares(self) -> np.ndarray:
        """π_c, the share of each class in the training data, (num_classes,)."""
        labels = np.asarray(load_data(self.config).labels)
        return np.bincount(labels, minlength=self.num_classes)[: self.num_classes] / len(labels)

    def given(self, label: int | None) -> Predictor:
        """The model of one class, or of all of them (None).

        Raises:
            FkdiffError: The model knows no such class.
        """
        if label is None:
            return self.predictor
        require(self.num_classes > 0, f"class={label}: this model was trained without classes; leave it out.")
        whole = isinstance(label, int) and 0 <= label < self.num_classes
        require(
            whole, f"class={label} is not one of the model's classes 0 to {self.num_classes - 1}; choose one of those."
        )
        return self.predictor.given(jnp.asarray(label, jnp.int32))


def load_run(run: str | Path, ema: bool = True) -> LoadedRun:
    """Reads a trained model back.

    Args:
        run: The run folder.
        ema: The exponential moving average of the parameters (the default), or the last ones.

    Raises:
        FkdiffError: No such run, or no checkpoint of it verifies.

    Warns:
        FkdiffWarning: The newest checkpoint is damaged and an older one was taken.
    """
    folder = find_run(run)
    name = "ema" if ema else "params"
    found = checkpoint.restore(folder / "checkpoints", lambda config: {name: abstract_params(stored(config))[1]})
    say_skipped(found)
    config = stored(found.manifest["config"])
    apply, _, form = abstract_params(config)
    params = jax.tree.map(jnp.asarray, found.parts[name])
    pred = form.predictor(apply, params, example_shape(config))
    return LoadedRun(pred, config, found.step, num_classes(config.data), found.manifest["config_hash"])


def load_predictor(run: str | Path, cond: int | None = None, ema: bool = True) -> Predictor:
    """The `Predictor` of a trained run, for one class or (None) for all.

    Args:
        run: The run folder.
        cond: A class label; None for the unconditional model.
        ema: The averaged parameters (the default), or the last ones.

    Raises:
        FkdiffError: No such run, no whole checkpoint, or no such class.
    """
    return load_run(run, ema).given(cond)


def find_run(run: str | Path) -> Path:
    """The run folder, if it is one."""
    folder = Path(run)
    require(folder.is_dir(), f"{folder}: there is no such run; train it with fkdiff train CONFIG --out {folder} first.")
    require(
        (folder / "checkpoints").is_dir(),
        f"{folder} is not a run folder: it has no checkpoints; pass the folder that fkdiff train wrote.",
    )
    return folder


def stored(config: dict[str, Any]) -> TrainConfig:
    """The config inside a manifest."""
    return validate(TrainConfig, config, "the config in the checkpoint")


def say_skipped(found: checkpoint.Checkpoint) -> None:
    """Warns of the damaged checkpoints that were passed over."""
    for sentence in found.skipped:
        warnings.warn(f"{sentence} Step {found.step} is used instead.", FkdiffWarning, stacklevel=3)


def create_run(config: TrainConfig, out: str | Path) -> Path:
    """Makes a run folder; refuses one that exists before anything is written."""
    folder = check_name(Path(out))
    refuse_existing(folder)
    (folder / "checkpoints").mkdir(parents=True)
    write_config(config, folder)
    return folder


def write_config(config: TrainConfig, folder: Path) -> None:
    """Writes the resolved config."""
    write_file(folder / "config.yaml", dump_yaml(config.model_dump(mode="json")).encode())


def check_same(config: TrainConfig, old: dict[str, Any], folder: Path) -> None:
    """Refuses to resume under a config that would have computed something else; names the keys."""
    now, before = (checkpoint.flatten(_plain(c)) for c in (config.model_dump(mode="json"), old))
    keys = sorted(k.replace("/", ".") for k in {*now, *before} if now.get(k) != before.get(k))
    keys = [key for key in keys if not key.startswith(RESUMABLE)]
    require(
        not keys,
        f"{folder} was trained with another {', '.join(keys)}; resume with its own config.yaml, or train into a new "
        "folder.",
    )


def _plain(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf if leaf is not None else "", tree, is_leaf=lambda leaf: leaf is None)


def forget_after(folder: Path, step: int) -> None:
    """Drops lines of metrics.jsonl later than `step`, and a last one that a crash cut short."""
    file = folder / "metrics.jsonl"
    kept = []
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    write_file(file, "".join(line + "\n" for line in kept).encode())
