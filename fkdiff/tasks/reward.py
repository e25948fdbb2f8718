"""`task.kind: reward`: a differentiable reward, followed by a corrector."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import fkdiff as fk
from fkdiff.tasks.case import Case, Setting, corrected
from fkdiff.tasks.rewards import RAMPS, RewardedTask, drawn
from fkdiff.tasks.task import Tilted


class Reward(RewardedTask):
    """q(x | label) e^{r(x)}, or q(x) e^{r(x)} without a label."""

    kind: Literal["reward"] = "reward"
    ramp: Literal["linear", "quadratic", "snr"] = "linear"  # how the reward is switched on, 0 at t = 0 and 1 at t = 1
    on: Literal["x", "clean"] = "x"  # what the reward sees on the way
    engine: ClassVar = Tilted

    def cases(self, setting: Setting) -> list[Case]:
        reward, facts = self.built(setting)
        pred, strength = setting.run.given(self.label), self.reward.strength
        target = fk.correctors.tilt(pred, reward, RAMPS[self.ramp], strength=strength, on=self.on)
        return [corrected(self.reward.kind, target, setting.config.engine, **facts)]

    def plain(self, key: Any, setting: Setting) -> Any:
        """By the flow, in twice as many steps."""
        return drawn(key, setting, self.label, fk.solvers.heun(), 2 * setting.config.engine.num_steps)
