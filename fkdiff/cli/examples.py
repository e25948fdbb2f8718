"""Pictures and tables of examples: grey pictures, or points in the plane."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from fkdiff import plot
from fkdiff.cli.outcome import Outcome
from fkdiff.cli.tables import aligned, by_other_means, evidence
from fkdiff.train.pictures import grey_levels
from fkdiff.train.run import LoadedRun


def sheet(outcomes: list[Outcome], run: LoadedRun) -> Figure:
    """What the draws look like, beside the baseline's."""
    return clouds(outcomes) if levels(run, outcomes[0].draws) is None else _pictures(outcomes, run)


def levels(run: LoadedRun, examples) -> np.ndarray | None:
    """Grey levels (n, height, width) in [0, 1] of examples that are pictures; None for others."""
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
    return plot.clouds(groups, columns=2)


def _flat(draws) -> np.ndarray:
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
    return plot.panels(groups, columns, (0.0, 1.0))


HEAD = ("case", "draws", "log Z", "by other means", "min ESS", "R", "calls", "accuracy", "balance", "Fréchet")


def lines(case: dict[str, Any]) -> list[tuple[str, ...]]:
    """One case of the summary as two lines of the table: exact, baseline."""
    judge = case.get("judge", {})
    truth = judge.get("exact_target", {})
    first = (evidence(case), by_other_means(case), f"{case['min_ess'] / case['num_particles']:.2f}", f"{case['R']:.2f}")
    calls = {"exact": case["evaluations"] + case["jvps"], "heuristic": case["heuristic_evaluations"]}
    found = []
    for side in ("exact", "heuristic"):
        verdict = judge.get(side, {})
        accuracy, off = verdict.get("accuracy"), verdict.get("balance_distance")
        found.append(
            (
                *((case["case"], side, *first) if side == "exact" else ("", case["baseline"], *[""] * len(first))),
                str(calls[side]),
                "" if accuracy is None else f"{accuracy:.2f}",
                "" if off is None else f"{off:.2f} ({truth['balance_floor']:.2f})",
                f"{verdict['frechet']:.2f} ({verdict['frechet_floor']:.2f})" if verdict else "",
            )
        )
    return found


def table(cases: list[dict[str, Any]]) -> str:
    """Cases of summaries as a table: exact beside the baseline; in brackets what exact draws would score.

    Balance is the total variation between the draws' classes and those of the exact target, where they are known.
    """
    rows: list[tuple[str, ...]] = [HEAD, *(line for case in cases for line in lines(case))]
    return aligned(rows)


LEGEND = (
    "  calls: model evaluations + Jacobian products per draw; accuracy: share that an independent classifier reads as "
    "the class asked for;\n  balance: total variation from the exact target's class shares; Fréchet: distance from "
    "held-out digits. In brackets: what as many exact draws would score."
)
