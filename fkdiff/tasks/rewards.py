"""The rewards that a config may name, and what the tasks that follow one have in common. Free of JAX."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

import fkdiff as fk
from fkdiff.errors import require
from fkdiff.tasks.case import Setting
from fkdiff.tasks.judging import PLAIN_DRAWS, Expected, weighted_plain_draws
from fkdiff.tasks.later import jnp, keys
from fkdiff.tasks.outcome import Outcome
from fkdiff.tasks.task import ExamplesTask, Label
from fkdiff.train.config.data import DIGIT_MEAN, DIGIT_SCALE
from fkdiff.train.schema import Finite, Section

Built = tuple[Callable[[Any], Any], int | None, str]
RAMPS: dict[str, Callable[[Any], Any]] = {
    "linear": lambda s: s,
    "quadratic": lambda s: s**2,
    "snr": lambda s: s**2 / (s**2 + (1 - s) ** 2),
}


class ClassLogit(Section):
    """strength × log p(target | x) of a classifier trained on the reward part of the digits."""

    kind: Literal["class_logit"] = "class_logit"
    target: Label
    strength: Finite = 1.0

    def build(self, setting: Setting) -> Built:
        """r of ONE example, the class that it asks for, and e^{λr} in words."""
        classes = setting.run.num_classes
        require(
            self.target < classes,
            f"task.reward.target={self.target} is not one of the model's classes 0 to {classes - 1}; choose one of "
            "those.",
        )
        return fk.evaluate.digit_reward(self.target), self.target, f"odds({self.target})^{self.strength:g}"


class Ink(Section):
    """−½ strength (mean grey level − target)², grey levels in [0, 1]."""

    kind: Literal["ink"] = "ink"
    target: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.4
    strength: Finite = 1000.0

    def build(self, setting: Setting) -> Built:
        """r of ONE example, no class, and e^{λr} in words."""
        # The config speaks of grey levels in [0, 1], the model of standardised ones: −½ (Δ grey)² = −½ (Δ/width)².
        amount = (16 * self.target - DIGIT_MEAN) / DIGIT_SCALE
        reward = fk.steering.ink_budget(jnp.asarray(amount), 16 / DIGIT_SCALE)
        return reward, None, f"exp(−{self.strength / 2:g} (ink − {self.target:g})²)"


class RewardedTask(ExamplesTask, ABC):
    """A task whose law is q(x | label) e^{r(x)}, or q(x) e^{r(x)} without a label."""

    reward: Annotated[ClassLogit | Ink, Field(discriminator="kind")]
    label: Label | None = None

    @abstractmethod
    def plain(self, key: Any, setting: Setting) -> Any:
        """`PLAIN_DRAWS` draws of the model alone."""

    def built(self, setting: Setting) -> tuple[Callable[[Any], Any], dict[str, Any]]:
        """r without its strength, and what a case says of the law."""
        trained, strength = setting.run.config.data.kind, self.reward.strength
        require(
            trained == "digits",
            f"task.reward={self.reward.kind} is a reward for digits, and this model was trained on {trained}; "
            "write your own with fkdiff.correctors.tilt or fkdiff.steer.",
        )
        reward, asked, formula = self.reward.build(setting)
        law = f"q(x) {formula}" if self.label is None else f"q(x|{self.label}) {formula}"
        asked = asked if self.label is None else self.label
        return reward, {"asked": asked, "formula": law, "reward": lambda x: strength * reward(x)}

    def expected(self, outcome: Outcome, setting: Setting, judge: Any) -> Expected:
        """By plain draws, weighted."""
        key = keys.stream(keys.seed_key(setting.config.seed), keys.Use.DATA)
        return weighted_plain_draws(self.plain(key, setting), outcome, setting, judge)


def drawn(key: Any, setting: Setting, label: int | None, solver: Any, num_steps: int) -> Any:
    """`PLAIN_DRAWS` draws of the model by a solver."""
    pred = setting.run.given(label)
    return fk.integrate(key, pred, solver, fk.grid(num_steps, pred.path), PLAIN_DRAWS)
