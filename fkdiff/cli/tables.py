"""Rows of text in columns, and the figures that all tables share."""

from __future__ import annotations

from typing import Any


def aligned(rows: list[tuple[str, ...]]) -> str:
    """Rows of one width each column."""
    widths = [max(len(line[c]) for line in rows) for c in range(len(rows[0]))]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)).rstrip() for line in rows)


def evidence(case: dict[str, Any]) -> str:
    """log Z of a case of the summary, with its error."""
    sign = "≥" if case["log_z_error_is_lower_bound"] else "±"
    return f"{case['log_z']:.2f} {sign} {case['log_z_standard_error']:.2f}"


def by_other_means(case: dict[str, Any]) -> str:
    """log Z by another route, where there is one."""
    truth = case.get("judge", {}).get("exact_target", {})
    return "" if truth.get("log_z") is None else f"{truth['log_z']:.2f} ± {truth['log_z_standard_error']:.2f}"
