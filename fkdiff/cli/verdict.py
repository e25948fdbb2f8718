"""What outsiders say of a steering run: a judge of digits, and the class balance of the exact target."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.cli.outcome import Outcome, populations
from fkdiff.cli.steer_config import Anneal, Guidance, Reward, SteerConfig, Steering
from fkdiff.core.keys import Use, seed_key, stream
from fkdiff.correctors import anneal
from fkdiff.evaluate.judge import Judge, digit_judge
from fkdiff.paths import grid
from fkdiff.smc import ess, normalized
from fkdiff.solvers import ddim, heun, integrate
from fkdiff.train.run import LoadedRun

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


def expected(outcome: Outcome, config: SteerConfig, run: LoadedRun, judge: Judge) -> Expected | None:
    """The class balance of the exact target, where there is a way to know it."""
    task, classes = config.task, run.num_classes
    if isinstance(task, Guidance) or (isinstance(task, Anneal) and task.label is not None):
        one = np.eye(classes)[outcome.case.asked]
        return Expected("every draw belongs to the class asked for", one, np.zeros(classes))
    if isinstance(task, Anneal):
        return class_by_class(task, config, run)
    if isinstance(task, Reward | Steering):
        return weighted_plain_draws(task, outcome, config, run, judge)
    return None


def class_by_class(task: Anneal, config: SteerConfig, run: LoadedRun) -> Expected:
    """q = Σ π_c q_c over classes that hardly overlap, so q^β has mass π_c^β ∫q_c^β on class c: one run for each.

    A learned unconditional model is that mixture up to its errors, and differs from this route by as much.
    """
    engine, log_masses, errors = config.engine, [], []
    for label, share in enumerate(run.class_shares):
        key = jax.random.fold_in(stream(seed_key(config.seed), Use.PROBE), label)
        target = anneal(run.given(label), task.beta)
        model = target.feynman_kac(engine.step, engine.noise, engine.control)
        _, (log_z, error, _), _ = populations(key, model, grid(engine.num_steps, target.path), engine)
        log_masses.append(task.beta * np.log(share) + log_z)
        errors.append(error)
    log_z = float(np.logaddexp.reduce(log_masses))
    balance, variances = np.exp(np.asarray(log_masses) - log_z), np.square(errors)
    pooled = float(balance**2 @ variances)
    spread = np.sqrt(balance**2 * ((1 - 2 * balance) * variances + pooled))
    return Expected("one run for each class, masses π_c^β ∫q_c^β", balance, spread, log_z, pooled**0.5)


def weighted_plain_draws(
    task: Reward | Steering, outcome: Outcome, config: SteerConfig, run: LoadedRun, judge: Judge
) -> Expected:
    """Plain draws of the model, weighted by e^r: what the engine must agree with wherever enough of them survive."""
    pred, reward = run.given(task.label), outcome.case.reward
    assert reward is not None  # both tasks that come here have one
    key = stream(seed_key(config.seed), Use.DATA)
    if isinstance(task, Steering):  # its law is that of its own steps
        draws = integrate(key, pred, ddim(eta=1.0), grid(config.engine.num_steps, pred.path), PLAIN_DRAWS)
    else:
        draws = integrate(key, pred, heun(), grid(2 * config.engine.num_steps, pred.path), PLAIN_DRAWS)
    rewards = jax.vmap(reward)(draws)
    weights = np.asarray(normalized(rewards), np.float64)
    labels = judge(draws).labels
    hits = labels[:, None] == np.arange(run.num_classes)
    balance = weights @ hits
    spread = np.sqrt(weights**2 @ (hits - balance) ** 2)
    effective = float(ess(rewards))
    log_z = float(jax.scipy.special.logsumexp(rewards) - jnp.log(PLAIN_DRAWS))
    error = float(np.sqrt(1 / effective - 1 / PLAIN_DRAWS))
    route = f"{PLAIN_DRAWS} plain draws weighted by e^r, worth {effective:.0f}"
    return Expected(route, balance, spread, log_z, error)


def judged(outcomes: list[Outcome], config: SteerConfig, run: LoadedRun) -> list[dict[str, Any]] | None:
    """What the judge says of the weighted population and of the heuristic; None where the data are not digits."""
    if run.config.data.kind != "digits":
        return None
    judge, found = digit_judge(), []
    for o in outcomes:
        classes = None if o.case.asked is None else [o.case.asked]
        truth = expected(o, config, run, judge)
        sides = {"exact": (o.result.particles, o.weights), "heuristic": (o.heuristic, None)}
        verdicts: dict[str, Any] = {}
        for side, (draws, weights) in sides.items():
            verdict = judge(draws, o.case.asked, classes, weights)._asdict()
            del verdict["labels"]
            if truth is not None:
                verdict["balance_distance"] = _distance(verdict["balance"], truth.balance)
            verdicts[side] = _plain(verdict)
        if truth is not None:
            verdicts["exact_target"] = _plain(truth._asdict()) | {
                # What as many exact draws as the population is worth would show, were the balance known exactly.
                "balance_floor": _floor(truth.balance, float(o.result.info.ess[-1])),
            }
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


def _distance(found: np.ndarray, truth: np.ndarray) -> float:
    """Total variation."""
    return float(0.5 * np.abs(found - truth).sum())


def _floor(balance: np.ndarray, count: float) -> float:
    return float(0.5 * np.sqrt(2 * balance * (1 - balance) / (np.pi * count)).sum())


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    """Arrays as short lists, for JSON."""
    return {k: np.round(v, 4).tolist() if isinstance(v, np.ndarray) else v for k, v in facts.items()}
