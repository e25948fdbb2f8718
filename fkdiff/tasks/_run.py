"""A task, whole, as `fkdiff steer` runs it and as a script may. Free of JAX until it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import fkdiff as fk
from fkdiff.errors import require
from fkdiff.tasks import record
from fkdiff.tasks.case import Setting
from fkdiff.tasks.config import SteerConfig
from fkdiff.tasks.judging import contradictions
from fkdiff.tasks.outcome import Outcome, sample
from fkdiff.train.files import check_name, fresh_folder, refuse_existing


class Steered(NamedTuple):
    """What a task yields.

    Attributes:
        outcomes: Populations, draws and the baseline's draws, one for each case.
        cases: Their figures and verdicts, as summary.json has them.
        table: The same in columns, with a legend where somebody judged.
        files: What was written and is worth opening.
    """

    outcomes: list[Outcome]
    cases: list[dict[str, Any]]
    table: str
    files: list[Path]


def run(
    run_folder: str | Path,
    config: SteerConfig,
    out: str | Path,
    observation: str | Path | None = None,
    say: Callable[[str], None] = print,
) -> Steered:
    """Steers a trained model as `config` says and writes `out`: draws, weights, pictures or text, a summary.

    OUT/particles.npz     per case: weighted particles, equally weighted draws, draws of the baseline
    OUT/samples.png       draws, exact above and the baseline below; samples.txt for text
    OUT/report_CASE.png   ESS, R, log-weights, ancestors, samples
    OUT/summary.json      figures, verdicts, the config

    Args:
        run_folder: What `fkdiff train` wrote.
        config: The task and its engine.
        out: A folder that does not exist yet.
        observation: For `Inverse`: a .npy file of what was seen.
        say: Called with a line for each case as it is done.

    Raises:
        FkdiffError: One of the places is wrong, or the task does not fit the model.
    """
    out, run_folder = check_name(Path(out)), Path(run_folder)
    refuse_existing(out)
    loaded, task = fk.train.load_run(run_folder), config.task
    trained = loaded.config
    require(
        task.of_text == trained.is_text,
        f"task.kind={task.kind} does not fit this model, which was trained on {trained.data.kind}; "
        + ("use task.kind=text." if trained.is_text else "use another task: text is for models of text."),
    )
    require(
        observation is None or task.observes,
        f"--observation is for task.kind=inverse, and this task is {task.kind}; leave it out.",
    )
    setting = Setting(config, loaded, None if observation is None else Path(observation))
    outcomes: list[Outcome] = []
    for number, case in enumerate(task.cases(setting)):
        outcomes.append(sample(case, setting, number))
        say(record.row(outcomes[-1]))
    verdicts = task.judged(outcomes, setting)
    cases = [record.facts(o) | ({"judge": verdicts[i]} if verdicts else {}) for i, o in enumerate(outcomes)]
    for case in cases:
        for doubt in (found := contradictions(case)):
            say(f"{case['case']}\n  doubt: {doubt}")
        case["doubts"].extend(found)
    with fresh_folder(out) as folder:
        names = record.write(folder, outcomes, cases, task.sheet(outcomes, setting), setting, run_folder)
    table = task.table(cases) + (f"\n{task.legend}" if verdicts else "")
    return Steered(outcomes, cases, table, [out / name for name in names])
