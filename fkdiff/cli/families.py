"""Families of tasks: how each makes its targets, judges its draws and shows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from fkdiff.cli import examples, inverse, tasks, text, verdict
from fkdiff.cli.case import Case
from fkdiff.cli.outcome import Outcome
from fkdiff.cli.steer_config import Inverse, SteerConfig, Text
from fkdiff.errors import require
from fkdiff.train.run import LoadedRun


class Family(NamedTuple):
    """What the tasks of one kind share.

    Attributes:
        cases: `cases(config, run, observation)`: the targets.
        judged: `judged(outcomes, config, run)`: a verdict for each, or None.
        sheet: `sheet(outcomes, run)`: a figure, or a page of text.
        table: `table(cases)`: the summary's cases in columns.
        legend: What the columns mean.
    """

    cases: Callable[[SteerConfig, LoadedRun, Path | None], list[Case]]
    judged: Callable[[list[Outcome], SteerConfig, LoadedRun], list[dict[str, Any]] | None]
    sheet: Callable[[list[Outcome], LoadedRun], Figure | str]
    table: Callable[[list[dict[str, Any]]], str]
    legend: str


_FAMILIES = {
    Inverse: Family(inverse.cases, inverse.judged, inverse.sheet, inverse.table, inverse.LEGEND),
    Text: Family(text.cases, text.judged, text.page, text.table, text.LEGEND),
}
_EXAMPLES = Family(tasks.cases, verdict.judged, examples.sheet, examples.table, examples.LEGEND)


def family_of(config: SteerConfig, run: LoadedRun, observation: Path | None) -> Family:
    """The family of a config's task.

    Raises:
        FkdiffError: The task does not fit what the model was trained on, or takes no observation.
    """
    task, data = config.task, run.config.data.kind
    require(
        isinstance(task, Text) == run.config.is_text,
        f"task.kind={task.kind} does not fit this model, which was trained on {data}; "
        + ("use task.kind=text." if run.config.is_text else "use another task: text is for models of text."),
    )
    require(
        observation is None or isinstance(task, Inverse),
        f"--observation is for task.kind=inverse, and this task is {task.kind}; leave it out.",
    )
    return _FAMILIES.get(type(task), _EXAMPLES)
