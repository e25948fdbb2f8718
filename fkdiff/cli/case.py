"""One target of a steering task: what to sample, beside what people do without weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from fkdiff.cli.baselines import Baseline
from fkdiff.cli.steer_config import Engine
from fkdiff.core import Array
from fkdiff.paths import Path, grid


class Case(NamedTuple):
    """One target of a task.

    Attributes:
        name: For tables and file names.
        times: `times(engine)`: the grid of the run.
        model: `model(engine)`: what `run_smc` runs.
        baseline: What people do without weights, at equal cost.
        asked: The class that every draw should be of; None where no class was asked.
        formula: The law in words.
        log_z_bound: The most that log Z can be for models that agree with each other; None where nothing bounds it.
        reward: λ r of ONE example, where the law is the model's times e^{λr}.
        facts: What else the family of the task wants to remember, for its verdict and its pictures.
    """

    name: str
    times: Callable[[Engine], Array]
    model: Callable[[Engine], Any]
    baseline: Baseline
    asked: int | None
    formula: str
    log_z_bound: float | None = None
    reward: Callable[[Array], Array] | None = None
    facts: Any = None


def on_path(path: Path) -> Callable[[Engine], Array]:
    """The grid that follows a path, as fine as the config says."""
    return lambda engine: grid(engine.num_steps, path)
