"""Figures in columns: two lines a case, exact draws above the baseline's. Free of JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Facts = dict[str, Any]


def aligned(rows: list[tuple[str, ...]]) -> str:
    """Rows of one width each column."""
    widths = [max(len(line[c]) for line in rows) for c in range(len(rows[0]))]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)).rstrip() for line in rows)


def paired(
    cases: list[Facts],
    run: dict[str, Callable[[Facts], str]],
    draws: dict[str, Callable[[Facts, Facts], str]],
) -> str:
    """Cases of a summary as a table.

    Args:
        cases: Its cases.
        run: Columns of the weighted run alone: `figure(case)`.
        draws: Columns of either kind of draws: `figure(verdict, case)`, the verdict empty where nobody judged.
    """
    rows: list[tuple[str, ...]] = [("case", "draws", *run, "calls", *draws)]
    for case in cases:
        exact = case["case"], "exact", *(figure(case) for figure in run.values())
        plain = "", case["baseline"], *("" for _ in run)
        calls = case["evaluations"] + case["jvps"], case["heuristic_evaluations"]
        for side, first, cost in zip(("exact", "heuristic"), (exact, plain), calls, strict=True):
            verdict = case.get("judge", {}).get(side, {})
            rows.append((*first, str(cost), *(figure(verdict, case) for figure in draws.values())))
    return aligned(rows)


def evidence(case: Facts) -> str:
    """log Z of a case of the summary, with its error."""
    sign = "≥" if case["log_z_error_is_lower_bound"] else "±"
    return f"{case['log_z']:.2f} {sign} {case['log_z_standard_error']:.2f}"


def by_other_means(case: Facts) -> str:
    """log Z by another route, where there is one."""
    truth = case.get("judge", {}).get("exact_target", {})
    return "" if truth.get("log_z") is None else f"{truth['log_z']:.2f} ± {truth['log_z_standard_error']:.2f}"


def least_ess(case: Facts) -> str:
    """The smallest ESS on the way, as a share of the particles."""
    return f"{case['min_ess'] / case['num_particles']:.2f}"


def number(key: str, digits: int = 2, error: str | None = None) -> Callable[[Facts, Facts], str]:
    """A column of a verdict's figure, with its error where it has one; empty where nobody measured it."""

    def shown(verdict: Facts, case: Facts) -> str:
        if verdict.get(key) is None:
            return ""
        return f"{verdict[key]:.{digits}f}" + (f" ± {verdict[error]:.{digits}f}" if error else "")

    return shown


def _balance(verdict: Facts, case: Facts) -> str:
    off = verdict.get("balance_distance")
    return "" if off is None else f"{off:.2f} ({case['judge']['exact_target']['balance_floor']:.2f})"


def _frechet(verdict: Facts, case: Facts) -> str:
    return f"{verdict['frechet']:.2f} ({verdict['frechet_floor']:.2f})" if verdict else ""


def examples_table(cases: list[Facts]) -> str:
    """Cases of summaries of examples as a table; in brackets what exact draws would score.

    Balance is the total variation between the draws' classes and those of the exact target, where they are known.
    """
    run = {
        "log Z": evidence,
        "by other means": by_other_means,
        "min ESS": least_ess,
        "R": lambda case: "not measured" if case["R"] is None else f"{case['R']:.2f}",
    }
    return paired(cases, run, {"accuracy": number("accuracy"), "balance": _balance, "Fréchet": _frechet})


EXAMPLES_LEGEND = (
    "  calls: model evaluations + Jacobian products per draw; accuracy: share that an independent classifier reads as "
    "the class asked for;\n  balance: total variation from the exact target's class shares; Fréchet: distance from "
    "held-out digits. In brackets: what as many exact draws would score."
)
