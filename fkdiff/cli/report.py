"""`fkdiff report RUN`: RUN/report.html, one page with curves, samples, figures, steering results and the config."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fkdiff.cli import page
from fkdiff.errors import FkdiffError, require
from fkdiff.train.files import existing_run, metric_rows, parse_json, read_regular, write_file

_LARGEST = 64 << 20


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Writes the page."""
    folder = existing_run(arguments.run)
    require((folder / "config.yaml").is_file(), f"{folder} is not a run folder: it has no config.yaml.")
    try:
        sections = [
            ("Training", _training(folder)),
            ("Samples", _samples(folder)),
            ("How good it is", _figures(folder)),
            *((f"Steered: {place.name}", _steered(place)) for place in arguments.steered),
            ("Config", [page.verbatim(_read(folder / "config.yaml"))]),
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FkdiffError(f"{folder}: a record there is not what fkdiff writes ({error!r}); write it anew.") from None
    write_file(folder / "report.html", page.page(f"fkdiff run {folder.resolve().name}", sections).encode())
    print(f"{folder / 'report.html'}: one page, nothing outside it.")
    return 0


def _read(file: Path) -> str:
    return read_regular(file, _LARGEST).decode("utf-8", "replace")


def _training(folder: Path) -> list[str]:
    """Loss curves and the last line of the metrics."""
    rows = metric_rows(folder / "metrics.jsonl")
    if not rows:
        return []
    series = {
        name: [(row["step"], row[key]) for row in rows if isinstance(row.get(key), int | float)]
        for name, key in (("training loss", "loss"), ("held-out loss", "held_out"))
    }
    last = [(name, f"{value:.6g}" if isinstance(value, float) else value) for name, value in rows[-1].items()]
    drawn = page.drawing(page.curves({k: v for k, v in series.items() if v}), "Loss against steps.")
    return [drawn, page.table(("at the last look", ""), last)]


def _samples(folder: Path) -> list[str]:
    """The samples that training drew, the last ones first."""
    parts = [page.picture(read_regular(p, _LARGEST), "At the end.") for p in [folder / "samples.png"] if p.is_file()]
    if (folder / "samples.txt").is_file():
        parts.append(page.verbatim(_read(folder / "samples.txt")[:20_000]))
    for file in sorted((folder / "samples").glob("step_*.png"), reverse=True)[:8]:
        parts.append(page.picture(read_regular(file, _LARGEST), f"At step {int(file.stem.removeprefix('step_')):,}."))
    return parts


def _figures(folder: Path) -> list[str]:
    """What `fkdiff eval` found."""
    file = folder / "evaluation.json"
    if not file.is_file():
        return []
    record = _json(file)
    shown = lambda value, error: (  # noqa: E731
        "" if value is None else f"{value:.4g}" + ("" if error is None else f" ± {error:.2g}")
    )
    rows = [
        (r["name"], shown(r["value"], r["error"]), shown(r["floor"], r["floor_error"]), r["note"])
        for r in record["rows"]
    ]
    head = ("figure", "value", "floor", "")
    return [page.table(head, rows), page.paragraph(f"Measured at step {record['step']}.", "note")]


def _steered(folder: Path) -> list[str]:
    """The cases of a steering run, with their doubts and pictures."""
    require(
        (folder / "summary.json").is_file(),
        f"{folder} is not a steering result: it has no summary.json; pass what fkdiff steer wrote.",
    )
    summary = _json(folder / "summary.json")
    rows = [
        (
            case["case"],
            case["law"],
            f"{case['log_z']:.3f} ± {case['log_z_standard_error']:.2g}",
            f"{case['min_ess']:.0f} of {case['num_particles']}",
            case["evaluations"],
        )
        for case in summary["cases"]
    ]
    parts = [page.table(("case", "law", "log Z", "least ESS", "calls per particle"), rows)]
    parts += [page.paragraph(f"{c['case']}: {doubt}", "note") for c in summary["cases"] for doubt in c["doubts"]]
    if (folder / "samples.txt").is_file():
        parts.append(page.verbatim(_read(folder / "samples.txt")[:20_000]))
    pictures = [folder / "samples.png", *sorted(folder.glob("report_*.png"))]
    parts += [page.picture(read_regular(p, _LARGEST), p.stem.replace("_", " ")) for p in pictures if p.is_file()]
    return parts


def _json(file: Path) -> Any:
    try:
        return parse_json(_read(file))
    except ValueError:
        raise FkdiffError(f"{file} is not JSON; write it anew.") from None
