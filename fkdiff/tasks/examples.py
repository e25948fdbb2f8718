"""Pictures of examples: grey pictures, or points in the plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fkdiff as fk
from fkdiff.tasks.later import np
from fkdiff.tasks.outcome import Outcome

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fkdiff.train.run import LoadedRun


def sheet(outcomes: list[Outcome], run: LoadedRun) -> Figure:
    """What the draws look like, beside the baseline's."""
    return clouds(outcomes) if levels(run, outcomes[0].draws) is None else _pictures(outcomes, run)


def levels(run: LoadedRun, examples: Any) -> np.ndarray | None:
    """Grey levels (n, height, width) in [0, 1] of examples that are pictures; None for others."""
    from fkdiff.train.pictures import grey_levels

    shape = run.config.data.natural_shape
    if len(shape) != 3:
        return None
    return grey_levels(run.config, np.asarray(examples).reshape(-1, *shape)).mean(axis=-1)


def clouds(outcomes: list[Outcome]) -> Figure:
    """Points in the plane of the first two numbers: exact draws beside the baseline's, a row for each case."""
    groups = {}
    for o in outcomes:
        groups[f"{o.case.name}: exact"] = _flat(o.draws)
        groups[f"{o.case.name}: {o.case.baseline.name}, equal cost"] = _flat(o.heuristic)
    return fk.plot.clouds(groups, columns=2)


def _flat(draws: Any) -> np.ndarray:
    """(n, d) with d ≥ 2; draws of one number are spread over their order."""
    points = np.asarray(draws).reshape(len(draws), -1)
    return points if points.shape[1] > 1 else np.column_stack([points, np.linspace(0, 1, len(points))])


def _pictures(outcomes: list[Outcome], run: LoadedRun) -> Figure:
    """Exact draws above, the baseline below: two rows of each case, four of a single one."""
    columns, rows = 15, 4 if len(outcomes) == 1 else 2
    kept = min(rows * columns, len(outcomes[0].draws))
    kept -= kept % columns if kept > columns else 0
    groups = {}
    for title, side in (
        ("exact", "draws"),
        (f"{outcomes[0].case.baseline.name}, uncorrected, at equal cost", "heuristic"),
    ):
        tiles = [np.asarray(levels(run, getattr(o, side)[:kept])) for o in outcomes]
        groups[title] = np.concatenate([np.pad(t, ((0, -len(t) % columns), (0, 0), (0, 0))) for t in tiles])
    return fk.plot.panels(groups, columns, (0.0, 1.0))
