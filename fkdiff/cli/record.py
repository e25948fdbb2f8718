"""A steering run on disk and on the screen: draws, weights, pictures, a summary, a table."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from fkdiff import plot
from fkdiff.cli.outcome import Outcome
from fkdiff.cli.steer_config import SteerConfig
from fkdiff.train.data import pixels
from fkdiff.train.files import write_file


def slug(o: Outcome) -> str:
    """The case's name in a file name."""
    return o.case.name.replace(" ", "_")


def facts(o: Outcome) -> dict[str, Any]:
    """The figures of one case, for JSON."""
    info, (log_z, error, bound) = o.result.info, o.log_z
    return {
        "case": o.case.name,
        "law": o.case.formula,
        "log_z": log_z,
        "log_z_standard_error": error,
        "log_z_error_is_lower_bound": bound,
        "num_particles": int(o.result.log_weights.shape[0]),
        "min_ess": float(jnp.min(info.ess)),
        "final_ess": float(info.ess[-1]),
        "R": float(info.R),
        "resamplings": int(info.resamplings),
        "evaluations": int(info.evaluations),
        "jvps": int(info.jvps),
        "seconds": round(o.seconds[0], 2),
        "distinct_ancestors": len(np.unique(np.asarray(info.ancestors))),
        "baseline": o.case.baseline.name,
        "heuristic_evaluations": o.heuristic_cost,
        "heuristic_seconds": round(o.seconds[1], 2),
        "doubts": o.doubts,
    }


def write(
    folder: Path, outcomes: list[Outcome], cases: list[dict[str, Any]], config: SteerConfig, run_folder: Path, loaded
) -> None:
    """Writes draws, pictures and the summary; `cases` are the facts of each outcome, with a judge's verdict or not."""
    arrays, judged = {}, "judge" in cases[0]
    for o in outcomes:
        arrays |= {
            f"{slug(o)}/particles": np.asarray(o.result.particles),
            f"{slug(o)}/log_weights": np.asarray(o.result.log_weights),
            f"{slug(o)}/draws": o.draws,
            f"{slug(o)}/heuristic": o.heuristic,
        }
        view = pixels(o.result.particles) if judged else None
        _save(folder / f"report_{slug(o)}.png", plot.report(o.result, view, f"{o.case.name}: {o.case.formula}"))
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_file(folder / "particles.npz", buffer.getvalue())
    if judged:
        _save(folder / "samples.png", _sheet(outcomes))
    else:
        _save(folder / "samples.png", _clouds(outcomes))
    summary = {
        "run": str(run_folder),
        "step": loaded.step,
        "config_hash": loaded.config_hash,
        "config": config.model_dump(mode="json"),
        "cases": cases,
    }
    write_file(folder / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False).encode())


def _clouds(outcomes: list[Outcome]):
    """Points in the plane: exact draws beside the baseline's, a row for each case."""
    groups = {}
    for o in outcomes:
        groups |= {f"{o.case.name}: exact": o.draws, f"{o.case.name}: {o.case.baseline.name}, equal cost": o.heuristic}
    return plot.clouds(groups, columns=2)


def _sheet(outcomes: list[Outcome]):
    """Exact draws above, the baseline below: two rows of each case, four of a single one."""
    columns, rows = 15, 4 if len(outcomes) == 1 else 2
    kept = min(rows * columns, len(outcomes[0].draws))
    kept -= kept % columns if kept > columns else 0
    groups = {}
    for title, side in (
        ("exact", "draws"),
        (f"{outcomes[0].case.baseline.name}, uncorrected, at equal cost", "heuristic"),
    ):
        tiles = [pixels(getattr(o, side)[:kept]) for o in outcomes]
        groups[title] = np.concatenate([np.pad(t, ((0, -len(t) % columns), (0, 0), (0, 0))) for t in tiles])
    return plot.panels(groups, columns, (0.0, 1.0))


def _save(file: Path, figure) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_file(file, buffer.getvalue())


def row(o: Outcome) -> str:
    """One line while the command runs."""
    found = facts(o)
    times = "1 resampling" if found["resamplings"] == 1 else f"{found['resamplings']} resamplings"
    line = (
        f"{found['case']}: log Z {evidence(found)}, min ESS "
        f"{found['min_ess']:.0f} of {found['num_particles']}, R {found['R']:.2f}, {times}, "
        f"{found['seconds']:.0f} s"
    )
    return "\n  doubt: ".join([line, *o.doubts])


def evidence(case: dict[str, Any]) -> str:
    """log Z of a case of the summary, with its error."""
    sign = "≥" if case["log_z_error_is_lower_bound"] else "±"
    return f"{case['log_z']:.2f} {sign} {case['log_z_standard_error']:.2f}"


HEAD = ("case", "draws", "log Z", "by other means", "min ESS", "R", "calls", "accuracy", "balance", "Fréchet")


def lines(case: dict[str, Any]) -> list[tuple[str, ...]]:
    """One case of the summary as two lines of the table: exact, baseline."""
    judge = case.get("judge", {})
    truth = judge.get("exact_target", {})
    other = "" if truth.get("log_z") is None else f"{truth['log_z']:.2f} ± {truth['log_z_standard_error']:.2f}"
    first = (evidence(case), other, f"{case['min_ess'] / case['num_particles']:.2f}", f"{case['R']:.2f}")
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
    widths = [max(len(line[c]) for line in rows) for c in range(len(HEAD))]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)) for line in rows)


LEGEND = (
    "  calls: model evaluations + Jacobian products per draw; accuracy: share that an independent classifier reads as "
    "the class asked for;\n  balance: total variation from the exact target's class shares; Fréchet: distance from "
    "held-out digits. In brackets: what as many exact draws would score."
)
