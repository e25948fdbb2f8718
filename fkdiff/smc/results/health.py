"""What is wrong with a result, in sentences, and the result as a small table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fkdiff.core import Status, concrete, failed, require
from fkdiff.core.status import SENTENCES
from fkdiff.smc.results.evidence import (
    FEW_ANCESTORS,
    EvidenceError,
    ancestor_weights,
    lineage_inflation,
    log_normalizer_error,
)
from fkdiff.smc.results.tails import tail_index

if TYPE_CHECKING:
    from fkdiff.smc.results.result import SMCResult

COLLAPSED, DOMINANT, STARVED, INFLATED, COARSE, MISSING = 0.05, 0.5, 2.0, 3.0, 0.1, 0.1
LARGE = 10.0  # times the mean weight
UNREACHED = 0.7  # the tail index above which draws do not reach all of a target (Vehtari et al., 2024)


def problems(out: SMCResult) -> tuple[list[str], list[str]]:
    """(errors, doubts) of one run, on the host; see `fkdiff.check`."""
    require(
        known(out),
        "a result can be checked only outside jit, grad and vmap; return it and check what comes back.",
    )
    require(
        out.log_normalizer.ndim == 0,
        f"this result holds a batch of shape {out.log_normalizer.shape}; check one run at a time, or use "
        "fkdiff.replicate.",
    )
    status = Status(int(out.info.status))
    if failed(status):
        return [_failure(out, status)], []
    return [], _doubts(out)


def known(out: SMCResult) -> bool:
    """Whether the result can be read now, rather than being traced."""
    return all(concrete(value) is not None for value in (out.log_normalizer, out.log_weights, out.info.status))


def _failure(out: SMCResult, status: Status) -> str:
    info = out.info
    number, steps = int(info.status_step), info.residual.shape[0]
    where = "at the initial draw" if number == 0 else f"at step {number} of {steps}"
    where += f" (t = {float(info.times[number]):.4g})"
    count = int(info.bad_count)
    if count and status != Status.EXTINCT:
        where += f", {count} of {out.log_weights.shape[0]} particles, the first with index {int(info.bad_index)}"
    return f"the run failed {where}: {SENTENCES[status]}."


def _doubts(out: SMCResult) -> list[str]:
    info, doubts = out.info, []
    count = out.log_weights.shape[0]
    low = int(np.argmin(info.ess))
    if float(info.ess[low]) < COLLAPSED * count:
        doubts.append(
            f"the weights collapsed: ESS fell to {float(info.ess[low]):.3g} of {count} at t = "
            f"{float(info.times[low]):.4g}; use more steps, a richer control basis or more particles; see "
            "SYMPTOMS.md#collapsed-weights"
        )
    shares = np.asarray(ancestor_weights(out))
    if shares.max() > DOMINANT:
        doubts.append(
            f"one initial particle is the ancestor of {shares.max():.0%} of the final weight; use more particles or "
            "pool independent populations with fkdiff.replicate; see SYMPTOMS.md#one-ancestor"
        )
    elif float(lineage_inflation(out)) > INFLATED:
        doubts.append(
            f"the same families gained at every resampling: lineages are {float(lineage_inflation(out)):.2g} times as "
            f"unequal as ESS accounts for, and the answer rests on {1 / float((shares**2).sum()):.3g} effective "
            f"ancestors of {count}; use more particles or independent populations; see SYMPTOMS.md#starved-modes"
        )
    if info.missing is None and float(info.R) > STARVED:  # where the draws looked, R has nothing to add
        doubts.append(
            f"R = {float(info.R):.3g} exceeds {STARVED:g}: a mode that had to grow may have been missed, which ESS "
            "does not show; use a richer control basis, more particles or independent populations; see "
            "SYMPTOMS.md#starved-modes"
        )
    survivors = int((shares > 0).sum())
    if survivors < FEW_ANCESTORS and int(info.resamplings) > 0:
        doubts.append(
            f"only {survivors} of {count} initial particles have descendants, so errors read from this run are lower "
            "bounds; resample less often, use more particles or fkdiff.replicate; see SYMPTOMS.md#few-ancestors"
        )
    if info.step_error is not None and not float(info.step_error) <= COARSE:
        doubts.append(
            f"the answer depends on the steps: a run of half as many says that log Z is off by "
            f"{float(info.step_error):.2g} nats; take more steps; see SYMPTOMS.md#too-few-steps"
        )
    # A tail of weights that are nearly equal is of no account.
    large = out.strata and int(info.resamplings) == 0 and count * shares.max() > LARGE
    if large and (index := float(tail_index(ancestor_weights(out)))) > UNREACHED:
        doubts.append(
            f"the weights have a heavy tail (k = {index:.2g}), so that their average may "
            "not have settled and the error is too small; use more steps, a richer control basis or more particles; "
            "see SYMPTOMS.md#collapsed-weights"
        )
    if info.missing is not None and int(info.resamplings) > 0 and float(info.missing) > MISSING:
        doubts.append(
            f"{float(info.missing):.0%} of the target, as plain draws of the models see it, lies where hardly any "
            "particle can have come: a mode may have been missed; use more particles or independent populations; see "
            "SYMPTOMS.md#unseen-modes"
        )
    if int(info.status) == Status.UNFINISHED:
        doubts.append(
            f"{SENTENCES[Status.UNFINISHED]}; first at t = {float(info.times[int(info.status_step)]):.4g}; see "
            "SYMPTOMS.md#unfinished-transport"
        )
    if int(info.killed):
        doubts.append(
            f'{int(info.killed)} NaN weights were set to zero by on_nan="kill": the result is biased; mend the model '
            "or the reward; see SYMPTOMS.md#killed-particles"
        )
    return doubts


def table(out: SMCResult) -> str:
    """The result in a few lines, for people."""
    info, count, steps = out.info, out.log_weights.shape[0], out.info.residual.shape[0]
    error = log_normalizer_error(out)
    sign = "≥" if bool(error.is_lower_bound) else "±"
    low = int(np.argmin(info.ess))
    survivors = int((np.asarray(ancestor_weights(out)) > 0).sum())
    status = Status(int(info.status))
    errors, doubts = problems(out)
    rows = [
        ("log Z", f"{float(out.log_normalizer):.5g}  (standard error {sign} {float(error.standard_error):.2g})"),
        ("ESS", f"{float(info.ess[-1]):.4g} at the end, {float(info.ess[low]):.4g} at worst (t = "
                f"{float(info.times[low]):.3g})"),
        ("R", f"{float(info.R):.3g}  (starvation signal; at most {STARVED:g} is fine)" if not np.isnan(info.R)
              else "not measured: only the control of a corrector shows it"),
        ("steps", _of_steps(error)),
        ("modes", _of_modes(out)),
        ("resamplings", f"{int(info.resamplings)} of {steps}, {out.scheme}"),
        ("ancestors", f"{survivors} distinct, lineages {float(lineage_inflation(out)):.2g} × as unequal as ESS tells"),
        ("cost", f"{int(info.evaluations)} evaluations + {int(info.jvps)} jvps per particle"),
        ("status", status.name.replace("_", " ").lower() if not errors else errors[0]),
    ]  # fmt: skip
    rows += [("doubt", sentence) for sentence in doubts]
    head = f"SMCResult: {count} particles, {steps} steps, t = {float(info.times[0]):.3g} to {float(info.times[-1]):.3g}"
    return "\n".join([head, *(f"  {name:<12} {text}" for name, text in rows)])


def _of_steps(error: EvidenceError) -> str:
    if error.steps is None:
        return "not measured"
    sampling, steps = float(error.sampling), float(error.steps)
    more = "; more steps would help more than more particles" if steps > sampling else ""
    return f"error {steps:.2g}, of sampling {sampling:.2g}{more}"


def _of_modes(out: SMCResult) -> str:
    info = out.info
    if info.missing is None or info.tail is None or np.isnan(info.missing):
        return "not measured: what no particle has met is not seen"
    found = f"{float(info.missing):.1%} of the target lies where particles alone are too few"
    found += ", filled by plain draws" if int(info.resamplings) == 0 else ""
    if not float(info.tail) <= UNREACHED:
        found += f"; plain draws do not reach all of it either (k = {float(info.tail):.2g})"
    return found
