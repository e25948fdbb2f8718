"""`task.kind: text`: powers and rewards of a masked model of characters, beside what people do without weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from fkdiff import discrete, smc, steering
from fkdiff.cli.baselines import Baseline, Budget
from fkdiff.cli.case import Case
from fkdiff.cli.outcome import Outcome
from fkdiff.cli.steer_config import Engine, SteerConfig, Text
from fkdiff.cli.tables import aligned, by_other_means, evidence
from fkdiff.core import Array, check
from fkdiff.core.keys import Use, seed_key, stream
from fkdiff.discrete import DiscretePredictor
from fkdiff.errors import FkdiffError, require
from fkdiff.evaluate.ngram import pydoc_ngram
from fkdiff.evaluate.words import TEXT_REWARDS, word_share
from fkdiff.train.run import LoadedRun
from fkdiff.train.text import MASK, decode, encode

PLAIN_TEXTS = 256


class Scaled(eqx.Module):
    """strength × reward."""

    strength: float
    reward: Callable[[Array], Array]

    def __call__(self, tokens: Array) -> Array:
        return self.strength * self.reward(tokens)


def cases(config: SteerConfig, run: LoadedRun, observation: Path | None) -> list[Case]:
    """The one target of a text task.

    Raises:
        FkdiffError: The model is not one of text, or the prompt does not fit it.
    """
    task = config.task
    assert isinstance(task, Text)
    pred = prompted(run, task.prompt)
    length = pred.length
    order = discrete.unmask(task.order)
    target = discrete.anneal(pred, task.beta)
    reward = reward_of(task)

    def times(engine: Engine) -> Array:
        return jnp.linspace(0.0, 1.0, length + 1)

    def model(engine: Engine) -> Any:
        if reward is None:
            return target.feynman_kac(task.order)
        way = steering.clean_draws(task.completions)
        return steering.steer(target, order, reward, potential=task.potential, intermediate=way)

    def draw(key, budget: Budget) -> tuple[Array, int]:
        if reward is None:
            cold = steering.uncorrected(target.feynman_kac(task.order))
            return check(smc.run_smc(key, cold, times(config.engine), budget.num_particles)).particles, length + 1
        n = max(1, budget.calls * budget.num_particles // ((length + 1) * budget.num_samples))
        texts = plain(key, pred, task.order, budget.num_samples * n).reshape(budget.num_samples, n, length)
        scores = jax.lax.map(jax.vmap(reward), texts)
        return texts[jnp.arange(budget.num_samples), scores.argmax(axis=1)], n * (length + 1)

    given = f"|{task.prompt!r}…" if task.prompt else ""
    formula = f"q(text{given})^{task.beta:g}"
    if task.reward is not None:
        formula += f" e^(r), r = {task.reward.strength:g} {task.reward.kind}"
    name = "steered" if reward is not None else "annealed"
    baseline = Baseline("best of n" if reward is not None else "no weights", draw)
    return [Case(name, times, model, baseline, None, formula, reward=reward, facts=pred)]


def prompted(run: LoadedRun, prompt: str) -> DiscretePredictor:
    """The run's denoiser, told how the text begins."""
    (length,) = run.shape
    pred = discrete.denoiser(discrete.masked(run.masking.size), run.apply, run.params, length)
    if not prompt:
        return pred
    require(
        len(prompt) < length,
        f"task.prompt has {len(prompt)} characters, and a text of this model {length} in all; make it shorter.",
    )
    try:
        told = encode(prompt)
    except FkdiffError as error:
        raise FkdiffError(f"task.prompt: {error}") from None
    return discrete.infill(pred, np.append(told, np.full(length - len(prompt), MASK, np.int32)))


def reward_of(task: Text) -> Callable[[Array], Array] | None:
    """λ r of ONE text."""
    if task.reward is None:
        return None
    base = word_share(task.reward.words) if task.reward.words else TEXT_REWARDS[task.reward.kind]()
    return Scaled(task.reward.strength, base)


def plain(key, pred: DiscretePredictor, order: str, number: int) -> Array:
    """Texts of the model alone, which no weight tells apart."""
    model, length = discrete.anneal(pred, 1.0).feynman_kac(order), pred.length
    never = smc.adaptive(smc.systematic, 0.0)
    return smc.run_smc(key, model, jnp.linspace(0.0, 1.0, length + 1), number, never).particles


def judged(outcomes: list[Outcome], config: SteerConfig, run: LoadedRun) -> list[dict[str, Any]]:
    """Rewards, and the likelihood under a 5-gram model that nobody trained on; log Z by weighted plain texts."""
    judge, found, task = pydoc_ngram(), [], config.task
    assert isinstance(task, Text)
    for o in outcomes:
        verdicts: dict[str, Any] = {}
        for side, texts in (("exact", o.draws), ("heuristic", o.heuristic[: len(o.draws)])):
            nats = np.array([judge.negative_log_likelihood(decode(text)) for text in texts])
            verdicts[side] = {"nats_per_character": float(nats.mean()), "nats_error": error(nats)}
            if o.case.reward is not None:
                rewards = np.asarray(jax.vmap(o.case.reward)(jnp.asarray(texts)), np.float64)
                verdicts[side] |= {"reward": float(rewards.mean()), "reward_error": error(rewards)}
        if o.case.reward is not None and task.beta == 1:
            texts = plain(stream(seed_key(config.seed), Use.DATA), o.case.facts, task.order, PLAIN_TEXTS)
            rewards = jax.vmap(o.case.reward)(texts)
            effective = float(smc.ess(rewards))
            verdicts["exact_target"] = {
                "route": f"{PLAIN_TEXTS} plain texts weighted by e^r, worth {effective:.0f}",
                "log_z": float(jax.nn.logsumexp(rewards) - np.log(PLAIN_TEXTS)),
                "log_z_standard_error": float(np.sqrt(1 / effective - 1 / PLAIN_TEXTS)),
            }
        found.append(verdicts)
    return found


def error(values: np.ndarray) -> float:
    """Standard error of a mean; draws of one population share ancestors, so that it may be too small."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def page(outcomes: list[Outcome], run: LoadedRun) -> str:
    """All texts, one per line as Python writes them, exact first."""
    lines = []
    for o in outcomes:
        for title, texts in ((f"{o.case.name}: {o.case.formula}", o.draws), (o.case.baseline.name, o.heuristic)):
            lines += [f"# {title}", *(repr(decode(text)) for text in texts), ""]
    return "\n".join(lines)


HEAD = ("case", "draws", "log Z", "by other means", "min ESS", "calls", "reward", "5-gram nats per character")
LEGEND = (
    "  calls: model evaluations per text; reward in nats; 5-gram: −log-likelihood under counts of a part of the corpus "
    "that\n  the model has not seen."
)


def table(found: list[dict[str, Any]]) -> str:
    """Cases of a summary as a table: exact beside the baseline."""
    rows: list[tuple[str, ...]] = [HEAD]
    for case in found:
        for side in ("exact", "heuristic"):
            said, exact = case["judge"][side], side == "exact"
            first = (case["case"], side, evidence(case), by_other_means(case))
            share = f"{case['min_ess'] / case['num_particles']:.2f}"
            reward = f"{said['reward']:.2f} ± {said['reward_error']:.2f}" if "reward" in said else ""
            nats = f"{said['nats_per_character']:.3f} ± {said['nats_error']:.3f}"
            calls = case["evaluations"] if exact else case["heuristic_evaluations"]
            head = (*first, share) if exact else ("", case["baseline"], "", "", "")
            rows.append((*head, str(calls), reward, nats))
    return aligned(rows)
