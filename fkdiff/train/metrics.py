"""What a run measures while it trains: lines of metrics.jsonl, and the same for a person who watches."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from fkdiff.core import Array, require
from fkdiff.core.progress import Report, progress
from fkdiff.train.files import metric_rows
from fkdiff.train.plan import Due, Plan
from fkdiff.train.step import STOP_AFTER, TrainState


@contextlib.contextmanager
def recording(plan: Plan, folder: Path, start: int) -> Iterator[Metrics]:
    """Yields the `Metrics` of a run that goes on from step `start`."""
    with progress(start, plan.timetable.steps) as report, (folder / "metrics.jsonl").open("a") as lines:
        yield Metrics(plan, folder, start, lines, report)


class Metrics:
    """Losses since the last line, and the figures of the last line.

    Attributes:
        loss: Mean training loss of the last line; NaN before the first.
        held_out: Loss on held-out data when it was last measured; NaN before.
    """

    def __init__(self, plan: Plan, folder: Path, start: int, lines: TextIO, report: Report):
        self._plan, self._folder, self._lines, self._report = plan, folder, lines, report
        self.loss, self.held_out = _on_record(folder, start)
        self._losses: list[Array] = []
        self._began, self._since = time.monotonic(), start

    def add(self, loss: Array) -> None:
        """Keeps the loss of a step that may still be running, and waits for the step before it.

        One step ahead and no more: a signal is answered at once.
        """
        if self._losses:
            self._losses[-1].block_until_ready()
        self._losses.append(loss)

    def write(self, state: TrainState, gradient_norm: Array, due: Due) -> None:
        """Measures, and writes a line.

        Raises:
            FkdiffError: Too many gradients in a row were not finite; the line is written all the same.
        """
        plan, done = self._plan, int(state.step)
        self.loss, streak = float(np.mean([float(loss) for loss in self._losses])), int(state.streak)
        speed = plan.batches.batch_size * (done - self._since) / (time.monotonic() - self._began)
        row = {"step": done, "loss": self.loss, "examples_per_second": round(speed, 1)}
        row |= {"gradient_norm": float(gradient_norm), "skipped": int(state.skipped)}
        if due.judge:
            self.held_out = row["held_out"] = float(plan.evaluate(state.ema, plan.unseen, plan.root))
        if due.finished:
            row |= plan.baselines
        self._lines.write(json.dumps({name: _finite(value) for name, value in row.items()}) + "\n")
        self._lines.flush()
        self._report(done, speed, f"loss {self.loss:.4f}" + (f"  held out {self.held_out:.4f}" if due.judge else ""))
        require(
            streak < STOP_AFTER,
            f"{STOP_AFTER} gradients in a row were not finite before step {done}; lower "
            f"optim.learning_rate and resume from the last checkpoint in {self._folder}.",
        )
        self._losses, self._began, self._since = [], time.monotonic(), done


def _on_record(folder: Path, step: int) -> tuple[float, float]:
    """Losses on record at `step`, so that a finished run that is resumed says how it ended; NaN where none are."""
    row = next((row for row in metric_rows(folder / "metrics.jsonl") if row["step"] == step), {})
    losses = (row.get("loss"), row.get("held_out"))
    return tuple(float("nan") if loss is None else loss for loss in losses)  # type: ignore[return-value]


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    return value if not isinstance(value, float) or np.isfinite(value) else None
