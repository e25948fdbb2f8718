"""From a steering config and a trained run to targets: what to sample, beside what people do without weights."""

from __future__ import annotations

import math
from pathlib import Path as FilePath
from typing import Any

import jax.numpy as jnp

from fkdiff import correctors
from fkdiff.cli.baselines import best_of, uncorrected
from fkdiff.cli.case import Case, on_path
from fkdiff.cli.steer_config import (
    Anneal,
    ClassLogit,
    Engine,
    Guidance,
    Ink,
    Product,
    Reward,
    SteerConfig,
    Steering,
)
from fkdiff.correctors import WeightedSDE
from fkdiff.errors import FkdiffError, require
from fkdiff.evaluate.judge import digit_reward
from fkdiff.solvers import ddim
from fkdiff.steering import adaptive_ramp, ink_budget, steer
from fkdiff.train.config.data import DIGIT_MEAN, DIGIT_SCALE
from fkdiff.train.run import LoadedRun

RAMPS = {
    "linear": lambda s: s,
    "quadratic": lambda s: s**2,
    "snr": lambda s: s**2 / (s**2 + (1 - s) ** 2),
}


def corrected(name: str, target: WeightedSDE, asked: int | None, formula: str, **facts: Any) -> Case:
    """A case whose law is a corrector's target; the baseline is its uncorrected heuristic."""

    def model(engine: Engine) -> Any:
        return target.feynman_kac(engine.step, engine.noise, engine.control)

    return Case(name, on_path(target.path), model, uncorrected(target), asked, formula, **facts)


def cases(config: SteerConfig, run: LoadedRun, observation: FilePath | None = None) -> list[Case]:
    """The targets of a task, one per class asked for.

    Raises:
        FkdiffError: The model knows no such class, or the reward does not fit its data.
    """
    return _BUILDERS[type(config.task)](config.task, run)


def _guidance(task: Guidance, run: LoadedRun) -> list[Case]:
    def case(label: int) -> Case:
        target = correctors.guidance(run.given(label), run.predictor, task.scale)
        formula = f"q(x)^{1 - task.scale:g} q(x|{label})^{task.scale:g}"
        # q ≥ π_c q_c makes q^{1−w} q_c^w at most π_c^{1−w} q_c.
        bound = -(task.scale - 1) * math.log(run.class_shares[label]) if task.scale > 1 else None
        return corrected(f"class {label}", target, label, formula, log_z_bound=bound)

    return [case(label) for label in task.labels]


def _anneal(task: Anneal, run: LoadedRun) -> list[Case]:
    given = "" if task.label is None else f"|{task.label}"
    target = correctors.anneal(run.given(task.label), task.beta)
    name = "all classes" if task.label is None else f"class {task.label}"
    return [corrected(name, target, task.label, f"q(x{given})^{task.beta:g}")]


def _product(task: Product, run: LoadedRun) -> list[Case]:
    preds = [run.given(label) for label in task.labels]
    target = correctors.product(preds, task.exponents)
    pairs = zip(task.labels, task.exponents, strict=True)
    formula = " ".join(f"q(x|{label})^{exponent:g}" for label, exponent in pairs)
    return [corrected("product", target, None, formula)]


def _reward(task: Reward, run: LoadedRun) -> list[Case]:
    reward, asked, formula = _digit_reward(task.reward, run)
    target = correctors.tilt(run.given(task.label), reward, RAMPS[task.ramp], strength=task.reward.strength, on=task.on)
    return [corrected(task.reward.kind, target, **_rewarded(task, reward, asked, formula))]


def _steering(task: Steering, run: LoadedRun) -> list[Case]:
    reward, asked, formula = _digit_reward(task.reward, run)
    pred, solver = run.given(task.label), ddim(eta=1.0)
    ramp = adaptive_ramp() if task.ramp == "adaptive" else RAMPS[task.ramp]

    def model(engine: Engine) -> Any:
        return steer(
            pred,
            solver,
            reward,
            ramp,
            task.potential,
            strength=task.reward.strength,
            intermediate=task.intermediate,
            proposal=task.proposal,
        )

    facts = _rewarded(task, reward, asked, formula)
    return [Case(task.reward.kind, on_path(pred.path), model, best_of(pred, solver, facts["reward"]), **facts)]


def _rewarded(task: Reward | Steering, reward, asked: int | None, formula: str) -> dict[str, Any]:
    """What both ways to follow a reward say of their law."""
    given = "" if task.label is None else f"|{task.label}"
    strength = task.reward.strength
    return {
        "asked": asked if task.label is None else task.label,
        "formula": f"q(x{given}) {formula}",
        "reward": lambda x: strength * reward(x),
    }


def _digit_reward(section: ClassLogit | Ink, run: LoadedRun):
    require(
        run.config.data.kind == "digits",
        f"task.reward={section.kind} is a reward for digits, and this model was trained on {run.config.data.kind}; "
        "write your own with fkdiff.correctors.tilt or fkdiff.steer.",
    )
    if isinstance(section, ClassLogit):
        if section.target >= run.num_classes:
            raise FkdiffError(
                f"task.reward.target={section.target} is not one of the model's classes 0 to {run.num_classes - 1}; "
                "choose one of those."
            )
        return digit_reward(section.target), section.target, f"odds({section.target})^{section.strength:g}"
    # The config speaks of grey levels in [0, 1], the model of standardised ones: −½ (Δ grey)² = −½ (Δ/width)².
    amount = (16 * section.target - DIGIT_MEAN) / DIGIT_SCALE
    reward = ink_budget(jnp.asarray(amount), 16 / DIGIT_SCALE)
    return reward, None, f"exp(−{section.strength / 2:g} (ink − {section.target:g})²)"


_BUILDERS = {Guidance: _guidance, Anneal: _anneal, Product: _product, Reward: _reward, Steering: _steering}
