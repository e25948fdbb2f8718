"""The plan of a run: a config and its data, resolved once. The loop reads the plan, and the config no more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array, Key, PyTree
from fkdiff.core.keys import Use, seed_key, stream
from fkdiff.train.baselines import text_baselines
from fkdiff.train.build import Form, abstract_params, build_model
from fkdiff.train.config import TrainConfig
from fkdiff.train.data import Batches, Dataset, Report, data_facts, read_data
from fkdiff.train.data.dataset import shuffled
from fkdiff.train.run import LoadedRun
from fkdiff.train.step import TrainState, init_state, make_evaluation, make_optimizer, make_step

LARGEST_HELD_OUT = 2048  # examples that a validation loss is measured on


class Due(NamedTuple):
    """What is to be done after a step.

    Attributes:
        measure: Write a line of metrics.jsonl.
        judge: Measure the loss on held-out data, too.
        save: Write a checkpoint.
        draw: Draw samples on the way.
        finished: All steps have been taken.
        last: No step follows, because the run is finished or was asked to stop.
    """

    measure: bool
    judge: bool
    save: bool
    draw: bool
    finished: bool
    last: bool


class Timetable(NamedTuple):
    """When a run measures, saves and draws, in steps.

    Attributes:
        steps: The run ends here.
        metrics_every: Between lines of metrics.jsonl.
        validate_every: Between losses on held-out data; 0 where nothing was held out.
        checkpoint_every: Between checkpoints.
        samples_every: Between pictures on the way; 0 for none.
    """

    steps: int
    metrics_every: int
    validate_every: int
    checkpoint_every: int
    samples_every: int

    def due(self, done: int, stopped: bool = False) -> Due:
        """What is to be done once `done` steps have been taken, where a signal may have asked the run to stop."""
        finished = done == self.steps
        last = finished or stopped
        save = last or done % self.checkpoint_every == 0
        # A checkpoint always comes with a held-out loss, so that the checkpoints of a run can be compared.
        judge = self.validate_every > 0 and (save or done % self.validate_every == 0)
        measure = judge or last or done % self.metrics_every == 0
        draw = self.samples_every > 0 and done % self.samples_every == 0 and not last
        return Due(measure, judge, save, draw, finished, last)


class Plan(NamedTuple):
    """What is trained, on what, from which start, and when it is measured, saved and drawn.

    Attributes:
        config: The config with what was read of the data; from here on the loop writes it down and does not read it.
        report: What was read, in sentences.
        root: The key that every random number of the run is derived from.
        apply: `apply(params, x, t, cond) -> out` for ONE example.
        form: What the output means.
        start: `start() -> TrainState` draws the state before the first step; a dry run asks for its shapes alone.
        step: `step(state, batch, root) -> (state, metrics)`, see `make_step`.
        evaluate: `evaluate(params, data, root) -> loss`, see `make_evaluation`.
        batches: The training data in batches.
        unseen: Held-out data, at most `LARGEST_HELD_OUT` examples, possibly none.
        timetable: When to measure, save, draw and end.
        facts: What every checkpoint records beside the config.
        baselines: What simpler models score on the same held-out text, by name; {} where data are not text.
    """

    config: TrainConfig
    report: Report
    root: Key
    apply: Callable[..., Array]
    form: Form
    start: Callable[[], TrainState]
    step: Callable[[TrainState, Dataset, Key], tuple[TrainState, dict[str, Array]]]
    evaluate: Callable[[PyTree, Dataset, Key], Array]
    batches: Batches
    unseen: Dataset
    timetable: Timetable
    facts: dict[str, Any]
    baselines: dict[str, float]

    def model(self, state: TrainState) -> LoadedRun:
        """The model as it stands at `state`, without a detour by the disk."""
        classes = self.config.data.num_classes
        return LoadedRun(self.apply, state.ema, self.form, self.config, int(state.step), classes, "", None)


def resolved(config: TrainConfig, data_root: str | Path = ".") -> Plan:
    """Reads the data and decides everything else; writes nothing, draws no parameters and compiles no step.

    Args:
        config: The run, whole.
        data_root: Files that the config names lie below it.

    Raises:
        FkdiffError: The data are not what the config says, or too few for a batch.
    """
    config, report, training, aside = read_data(config, data_root)
    root, optimizer = seed_key(config.seed), make_optimizer(config)
    apply, _, form = abstract_params(config)

    def start() -> TrainState:
        params = build_model(config, stream(root, Use.INITIAL))[1]
        return init_state(params, optimizer, len(config.optim.more_ema_decays))

    return Plan(
        config=config,
        report=report,
        root=root,
        apply=apply,
        form=form,
        start=start,
        step=make_step(config, form, apply, optimizer),
        evaluate=make_evaluation(config, form, apply),
        batches=Batches(training, stream(root, Use.DATA), config.optim.batch_size),
        unseen=_some_of(aside),
        timetable=_timetable(config, judged=len(aside.examples) > 0),
        facts=_recorded(config, root),
        baselines=text_baselines(config),
    )


def _some_of(aside: Dataset) -> Dataset:
    """At most `LARGEST_HELD_OUT` held-out examples, of all kinds: files may hold one class after another."""
    rows = np.sort(shuffled(len(aside.examples))[:LARGEST_HELD_OUT])
    return Dataset(*(jnp.asarray(part[rows]) for part in aside))  # type: ignore[arg-type]


def _timetable(config: TrainConfig, judged: bool) -> Timetable:
    every = config.logging
    validate = every.validate_every if judged else 0
    return Timetable(config.optim.steps, every.metrics_every, validate, every.checkpoint_every, every.samples_every)


def _recorded(config: TrainConfig, root: Key) -> dict[str, Any]:
    """What decides the bits of a run and is not in its config."""
    return {
        "key_implementation": str(jax.random.key_impl(root)),
        "precision": "x64" if jax.config.jax_enable_x64 else "x32",  # type: ignore[attr-defined]
        **data_facts(config),
    }
