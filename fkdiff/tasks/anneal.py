"""`task.kind: anneal`: a colder model."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import fkdiff as fk
from fkdiff.tasks.case import Case, Setting, corrected
from fkdiff.tasks.judging import Expected, one_class
from fkdiff.tasks.later import jax, keys, np
from fkdiff.tasks.outcome import Outcome, populations
from fkdiff.tasks.task import Corrected, ExamplesTask, Label
from fkdiff.train.schema import Positive


class Anneal(ExamplesTask):
    """q(x | label)^beta, or q(x)^beta without a label: colder for beta > 1."""

    kind: Literal["anneal"] = "anneal"
    beta: Positive = 1.5
    label: Label | None = None
    engine: ClassVar = Corrected

    def cases(self, setting: Setting) -> list[Case]:
        return [self.case(self.label, setting)]

    def case(self, label: int | None, setting: Setting) -> Case:
        """The power of one class or of all."""
        name, given = ("all classes", "") if label is None else (f"class {label}", f"|{label}")
        target = fk.correctors.anneal(setting.run.given(label), self.beta)
        return corrected(name, target, setting.config.engine, label, f"q(x{given})^{self.beta:g}")

    def expected(self, outcome: Outcome, setting: Setting, judge: Any) -> Expected:
        """All draws are of the class asked for, or those of each class are as many as it has mass."""
        return self.class_by_class(setting) if self.label is None else one_class(self.label, setting)

    def class_by_class(self, setting: Setting) -> Expected:
        """q = Σ π_c q_c over classes that hardly overlap, so q^β has mass π_c^β ∫q_c^β on class c: one run for each.

        A learned unconditional model is that mixture up to its errors, and differs from this route by as much.
        """
        config, log_masses, errors = setting.config, [], []
        for label, share in enumerate(setting.run.class_shares):
            key = jax.random.fold_in(keys.stream(keys.seed_key(config.seed), keys.Use.PROBE), label)
            _, (log_z, error, _), _ = populations(key, self.case(label, setting), config.engine)
            log_masses.append(self.beta * np.log(share) + log_z)
            errors.append(error)
        log_z = float(np.logaddexp.reduce(log_masses))
        balance, variances = np.exp(np.asarray(log_masses) - log_z), np.square(errors)
        pooled = float(balance**2 @ variances)
        spread = np.sqrt(balance**2 * ((1 - 2 * balance) * variances + pooled))
        return Expected("one run for each class, masses π_c^β ∫q_c^β", balance, spread, log_z, pooled**0.5)
