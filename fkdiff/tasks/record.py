"""A steering run on disk and on the screen: draws, weights, pictures or text, a summary."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fkdiff as fk
from fkdiff.tasks.case import Setting
from fkdiff.tasks.examples import levels
from fkdiff.tasks.later import jnp, np
from fkdiff.tasks.outcome import Outcome
from fkdiff.tasks.tables import evidence
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
        "R": None if np.isnan(info.R) else float(info.R),
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
    folder: Path, outcomes: list[Outcome], cases: list[dict[str, Any]], sheet: Any, setting: Setting, run_folder: Path
) -> list[str]:
    """Writes draws, weights, what they look like and the summary; returns the names of what is worth opening."""
    arrays, names, loaded = {}, [], setting.run
    for o in outcomes:
        arrays |= {
            f"{slug(o)}/particles": np.asarray(o.result.particles),
            f"{slug(o)}/log_weights": np.asarray(o.result.log_weights),
            f"{slug(o)}/draws": o.draws,
            f"{slug(o)}/heuristic": o.heuristic,
        }
        view = levels(loaded, o.result.particles)
        names.append(f"report_{slug(o)}.png")
        _save(folder / names[-1], fk.plot.report(o.result, view, f"{o.case.name}: {o.case.formula}"))
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_file(folder / "particles.npz", buffer.getvalue())
    if isinstance(sheet, str):
        names.insert(0, "samples.txt")
        write_file(folder / names[0], sheet.encode())
    else:
        names.insert(0, "samples.png")
        _save(folder / names[0], sheet)
    summary = {
        "run": str(run_folder),
        "step": loaded.step,
        "config_hash": loaded.config_hash,
        "config": setting.config.model_dump(mode="json"),
        "cases": cases,
    }
    write_file(folder / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False).encode())
    return [*names, "summary.json"]


def _save(file: Path, figure: Any) -> None:
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
