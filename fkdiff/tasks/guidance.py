"""`task.kind: guidance`: classes pushed harder than the model has them."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import fkdiff as fk
from fkdiff.tasks.case import Case, Setting, corrected
from fkdiff.tasks.judging import Expected, one_class
from fkdiff.tasks.outcome import Outcome
from fkdiff.tasks.task import Corrected, ExamplesTask, Labels
from fkdiff.train.schema import Finite


class Guidance(ExamplesTask):
    """q(x)^(1 − scale) q(x | label)^scale, exactly, for each label: what classifier-free guidance aims at."""

    kind: Literal["guidance"] = "guidance"
    labels: Labels
    scale: Finite = 2.0
    engine: ClassVar = Corrected

    def cases(self, setting: Setting) -> list[Case]:
        return [self.case(label, setting) for label in self.labels]

    def case(self, label: int, setting: Setting) -> Case:
        """The target of one label."""
        run, scale = setting.run, self.scale
        target = fk.correctors.guidance(run.given(label), run.predictor, scale)
        formula = f"q(x)^{1 - scale:g} q(x|{label})^{scale:g}"
        # q ≥ π_c q_c makes q^{1−w} q_c^w at most π_c^{1−w} q_c.
        bound = -(scale - 1) * math.log(run.class_shares[label]) if scale > 1 else None
        return corrected(f"class {label}", target, setting.config.engine, label, formula, log_z_bound=bound)

    def expected(self, outcome: Outcome, setting: Setting, judge: Any) -> Expected:
        return one_class(outcome.case.asked, setting)
