"""What outsiders say of a steering run: a judge of digits, and the class balance of the exact target."""

from __future__ import annotations

from typing import Any, NamedTuple

import fkdiff as fk
from fkdiff.tasks.case import Setting
from fkdiff.tasks.later import jax, np
from fkdiff.tasks.outcome import Outcome

PLAIN_DRAWS = 4096


class Expected(NamedTuple):
    """The class balance of an exact target, by a route that shares no weights with the run that it judges.

    Attributes:
        route: How it was found, in words.
        balance: Share of each class, (C,).
        standard_error: Of each share, (C,).
        log_z: log Z by the same route; None where the route gives none.
        log_z_standard_error: Of log_z.
    """

    route: str
    balance: np.ndarray
    standard_error: np.ndarray
    log_z: float | None = None
    log_z_standard_error: float | None = None


def one_class(label: int | None, setting: Setting) -> Expected:
    """The balance of a target of one class."""
    classes = setting.run.num_classes
    return Expected("every draw belongs to the class asked for", np.eye(classes)[label], np.zeros(classes))


def weighted_plain_draws(draws: Any, outcome: Outcome, setting: Setting, judge: Any) -> Expected:
    """Plain draws of the model, weighted by e^r: what the engine must agree with wherever enough of them survive."""
    assert outcome.case.reward is not None  # the tasks that come here have one
    rewards = jax.vmap(outcome.case.reward)(draws)
    weights = np.asarray(fk.smc.normalized(rewards), np.float64)
    labels = judge(draws).labels
    hits = labels[:, None] == np.arange(setting.run.num_classes)
    balance = weights @ hits
    spread = np.sqrt(weights**2 @ (hits - balance) ** 2)
    route, log_z, error = by_weights(rewards, "plain draws")
    return Expected(route, balance, spread, log_z, error)


def by_weights(rewards: Any, draws: str) -> tuple[str, float, float]:
    """log Z by the rewards of plain draws: the route in words, log Z, and its standard error."""
    effective, number = float(fk.smc.ess(rewards)), len(rewards)
    log_z = float(jax.nn.logsumexp(rewards) - np.log(number))
    route = f"{number} {draws} weighted by e^r, worth {effective:.0f}"
    return route, log_z, float(np.sqrt(1 / effective - 1 / number))


def judged(outcomes: list[Outcome], setting: Setting) -> list[dict[str, Any]] | None:
    """What the judge says of the weighted population and of the baseline; None where the data are not digits."""
    if setting.run.config.data.kind != "digits":
        return None
    judge, found = fk.evaluate.digit_judge(), []
    for o in outcomes:
        classes = None if o.case.asked is None else [o.case.asked]
        truth = setting.config.task.expected(o, setting, judge)
        sides = {"exact": (o.result.particles, o.weights), "heuristic": (o.heuristic, None)}
        verdicts: dict[str, Any] = {}
        for side, (draws, weights) in sides.items():
            verdict = judge(draws, o.case.asked, classes, weights)._asdict()
            del verdict["labels"]
            if truth is not None:
                total_variation = 0.5 * np.abs(verdict["balance"] - truth.balance).sum()
                verdict["balance_distance"] = float(total_variation)
            verdicts[side] = _plain(verdict)
        if truth is not None:
            # What as many exact draws as the population is worth would show, were the balance known exactly.
            variance = truth.balance * (1 - truth.balance) / float(o.result.info.ess[-1])
            floor = float(0.5 * np.sqrt(2 * variance / np.pi).sum())
            verdicts["exact_target"] = _plain(truth._asdict()) | {"balance_floor": floor}
        found.append(verdicts)
    return found


def contradictions(case: dict[str, Any]) -> list[str]:
    """A doubt where log Z of the run and of the other route differ by more than their errors allow."""
    truth = case.get("judge", {}).get("exact_target", {})
    if truth.get("log_z") is None:
        return []
    gap = case["log_z"] - truth["log_z"]
    error = float(np.hypot(case["log_z_standard_error"], truth["log_z_standard_error"]))
    if abs(gap) <= 4 * error:
        return []
    return [
        f"log Z is {case['log_z']:.3g}, and {truth['log_z']:.3g} by another route ({truth['route']}): {abs(gap):.2g} "
        f"nats apart where the errors allow {4 * error:.2g}; the learned models disagree, or a mode was missed; see "
        "SYMPTOMS.md#models-that-disagree"
    ]


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    """Arrays as short lists, for JSON."""
    return {k: np.round(v, 4).tolist() if isinstance(v, np.ndarray) else v for k, v in facts.items()}
