"""The run folder, and a trained model read back from it.

RUN/config.yaml            the config, resolved
RUN/metrics.jsonl          one line per look
RUN/checkpoints/step_…/    see `checkpoint`; the newest two
RUN/samples.png            drawn when training ends; samples.txt for text
RUN/.lock                  held while a process trains
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array, PyTree, require
from fkdiff.discrete import DiscretePredictor, Masked, denoiser
from fkdiff.errors import FkdiffError, FkdiffWarning
from fkdiff.prediction import Predictor
from fkdiff.train import checkpoint
from fkdiff.train.build import Form, abstract_params
from fkdiff.train.config import Arrays, Images, TrainConfig
from fkdiff.train.data import example_shape, load_data
from fkdiff.train.files import check_name, existing_run, metric_rows, refuse_existing, write_file
from fkdiff.train.schema import validate
from fkdiff.train.text import VOCABULARY
from fkdiff.train.yaml import dump_yaml

# What a resumed run may change: none of it touches what was computed so far.
RESUMABLE = ("optim.steps", "logging", "sampling")


class LoadedRun(NamedTuple):
    """A trained model and what it was trained on.

    Attributes:
        apply: `apply(params, x, t, cond) -> out` for ONE example; for text `apply(params, tokens, t, cond)` gives the
            logits (L, V) of the clean tokens.
        params: Its parameters.
        form: What the output means: a `Parameterization`, or a masked process of text.
        config: The checkpoint's own config.
        step: Step of the checkpoint.
        num_classes: Labels run from 0 to num_classes − 1; 0 for none.
        config_hash: SHA-256 of the config.
        corpus: For text, the name, SHA-256 and sizes of what it was trained on; None otherwise.
    """

    apply: Callable[..., Array]
    params: PyTree
    form: Form
    config: TrainConfig
    step: int
    num_classes: int
    config_hash: str
    corpus: dict[str, Any] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return example_shape(self.config)

    @property
    def vocabulary(self) -> str | None:
        """The characters that tokens 0, 1, … stand for (the mask comes after the last); None where data are not text.

        `fkdiff.train.text` has `encode` and `decode`.
        """
        return VOCABULARY if self.config.is_text else None

    @property
    def denoiser(self) -> DiscretePredictor:
        """The model of text, for `fkdiff.discrete` and `fkdiff.steer`.

        Raises:
            FkdiffError: The model is not one of text.
        """
        if isinstance(self.form, Masked):
            return denoiser(self.form, self.apply, self.params, *self.shape)
        raise FkdiffError(f"this model was trained on {self.config.data.kind} and not on text; use run.predictor.")

    @property
    def predictor(self) -> Predictor:
        """The model, unconditional until `.given(label)`.

        Raises:
            FkdiffError: The model is one of text, where there is no score.
        """
        if isinstance(self.form, Masked):
            raise FkdiffError(
                "this model was trained on text and predicts tokens, not a score; use run.denoiser, or draw from it "
                "with fkdiff sample."
            )
        return self.form.predictor(self.apply, self.params, self.shape)

    @property
    def class_shares(self) -> np.ndarray:
        """π_c, the share of each class in the training data, (num_classes,)."""
        if isinstance(self.config.data, Arrays | Images):
            counts = np.asarray(self.config.data.known.class_counts, float)
        else:
            labels = np.asarray(load_data(self.config).labels)
            counts = np.bincount(labels, minlength=self.num_classes)[: self.num_classes]
        return counts / counts.sum()

    def given(self, label: Any) -> Predictor:
        """The model of one class or of one vector, or of all examples (None).

        Raises:
            FkdiffError: The model knows no such class, or takes another vector.
        """
        if label is None:
            return self.predictor
        length = self.config.data.cond_length
        if length:
            vector = jnp.asarray(label, jnp.result_type(float))
            require(vector.shape == (length,), f"the condition has shape {vector.shape}; this model takes ({length},).")
            return self.predictor.given(vector)
        require(self.num_classes > 0, f"class={label}: this model was trained without classes; leave it out.")
        whole = isinstance(label, int) and 0 <= label < self.num_classes
        require(
            whole, f"class={label} is not one of the model's classes 0 to {self.num_classes - 1}; choose one of those."
        )
        return self.predictor.given(jnp.asarray(label, jnp.int32))


def load_run(run: str | Path, ema: bool | float = True) -> LoadedRun:
    """Reads a trained model back.

    Args:
        run: The run folder.
        ema: The exponential moving average of the parameters (the default), or the last ones (False), or the average
            of one of `optim.more_ema_decays`, by its decay.

    Raises:
        FkdiffError: No such run, or no checkpoint of it verifies.

    Warns:
        FkdiffWarning: The newest checkpoint is damaged and an older one was taken.
    """
    folder = find_run(run)
    wanted: list[str] = []

    def template(given: dict[str, Any]) -> dict[str, PyTree]:
        config = stored(given)
        wanted.append(_part(config, ema))
        return {wanted[-1]: abstract_params(config)[1]}

    found = checkpoint.restore(folder / "checkpoints", template)
    name = wanted[-1]
    say_skipped(found)
    config = stored(found.manifest["config"])
    apply, _, form = abstract_params(config)
    params = jax.tree.map(jnp.asarray, found.parts[name])
    classes, facts = config.data.num_classes, found.manifest
    return LoadedRun(apply, params, form, config, found.step, classes, facts["config_hash"], facts.get("corpus"))


def _part(config: TrainConfig, ema: bool | float) -> str:
    """The file that holds the parameters that were asked for."""
    if isinstance(ema, bool):
        return "ema" if ema else "params"
    decays = (config.optim.ema_decay, *config.optim.more_ema_decays)
    if ema not in decays:
        raise checkpoint.Refused(f"ema={ema} is none of the averages that were kept: {', '.join(map(str, decays))}.")
    number = decays.index(ema)
    return f"ema_{number}" if number else "ema"


def load_predictor(run: str | Path, cond: Any = None, ema: bool | float = True) -> Predictor:
    """The `Predictor` of a trained run, for one class or (None) for all.

    Args:
        run: The run folder.
        cond: A class label or a vector; None for the unconditional model.
        ema: See `load_run`.

    Raises:
        FkdiffError: No such run, no whole checkpoint, or no such class.
    """
    return load_run(run, ema).given(cond)


def find_run(run: str | Path) -> Path:
    """The run folder, if it is one."""
    folder = existing_run(run)
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
    # Both are written out in full, so that an older way to say the same is the same.
    now, before = (checkpoint.flatten(_plain(c.model_dump(mode="json"))) for c in (config, stored(old)))
    keys = sorted(k.replace("/", ".") for k in {*now, *before} if now.get(k) != before.get(k))
    keys = [key for key in keys if not key.startswith(RESUMABLE)]
    if keys:
        raise checkpoint.Refused(
            f"{folder} was trained with another {', '.join(keys)}; resume with its own config.yaml, or train into a "
            "new "
            "folder."
        )


def check_corpus(corpus: dict[str, Any] | None, manifest: dict[str, Any], folder: Path) -> None:
    """Refuses to resume on another text than the run began with."""
    require(
        corpus == manifest.get("corpus"),
        f"{folder} was trained on another text than this Python's pydoc_data.topics; resume under the Python that "
        "began it.",
    )


def _plain(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf if leaf is not None else "", tree, is_leaf=lambda leaf: leaf is None)


def forget_after(folder: Path, step: int) -> None:
    """Drops lines of metrics.jsonl later than `step`, and a last one that a crash cut short."""
    file = folder / "metrics.jsonl"
    kept = [json.dumps(row) for row in metric_rows(file) if row["step"] <= step]
    write_file(file, "".join(line + "\n" for line in kept).encode())
