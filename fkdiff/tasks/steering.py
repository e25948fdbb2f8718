"""`task.kind: steering`: any reward, followed by weighted steps of a sampler."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import model_validator

import fkdiff as fk
from fkdiff.tasks.case import SOLVERS, Case, Setting, best_of
from fkdiff.tasks.rewards import RAMPS, RewardedTask, drawn
from fkdiff.tasks.task import Chained


class Steering(RewardedTask):
    """q(x | label) e^{r(x)} by `fkdiff.steer`: steps of `engine.solver`, the reward a black box on the way.

    q is what those steps sample, at any number of them.
    """

    kind: Literal["steering"] = "steering"
    potential: Literal["difference", "max", "sum", "terminal"] = "difference"  # terminal: no reward on the way
    intermediate: Literal["clean", "draws"] = "clean"  # the reward on the way: at the clean estimate, or over draws
    proposal: Literal["base", "twisted"] = "base"
    ramp: Literal["linear", "quadratic", "snr", "adaptive"] = "linear"  # of the reward on the way
    engine: ClassVar = Chained

    @model_validator(mode="after")
    def _agree(self) -> Steering:
        if self.proposal == "twisted" and self.potential != "difference":
            raise ValueError(
                f'task.proposal="twisted" follows the present value and task.potential="{self.potential}" makes '
                "another; use difference"
            )
        return self

    def cases(self, setting: Setting) -> list[Case]:
        reward, facts = self.built(setting)
        pred, solver = setting.run.given(self.label), SOLVERS[setting.config.engine.solver]()
        model = fk.steer(
            pred,
            solver,
            reward,
            fk.steering.adaptive_ramp() if self.ramp == "adaptive" else RAMPS[self.ramp],
            self.potential,
            strength=self.reward.strength,
            estimate=self.intermediate,
            proposal=self.proposal,
        )
        times = fk.grid(setting.config.engine.num_steps, pred.path)
        return [Case(self.reward.kind, times, model, best_of(pred, solver, facts["reward"], times), **facts)]

    def plain(self, key: Any, setting: Setting) -> Any:
        """By the steps that are weighted, whose law is meant."""
        engine = setting.config.engine
        return drawn(key, setting, self.label, SOLVERS[engine.solver](), engine.num_steps)
