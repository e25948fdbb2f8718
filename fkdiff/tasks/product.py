"""`task.kind: product`: what several classes have in common."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

import fkdiff as fk
from fkdiff.tasks.case import Case, Setting, corrected
from fkdiff.tasks.task import Corrected, ExamplesTask, Label
from fkdiff.train.schema import Finite


class Product(ExamplesTask):
    """Π_i q(x | labels_i)^exponents_i."""

    kind: Literal["product"] = "product"
    labels: Annotated[tuple[Label, ...], Field(min_length=1, max_length=16)]
    exponents: Annotated[tuple[Finite, ...], Field(min_length=1, max_length=16)]
    engine: ClassVar = Corrected

    @model_validator(mode="after")
    def _agree(self) -> Product:
        if len(self.labels) != len(self.exponents):
            raise ValueError(f"task.exponents has {len(self.exponents)} entries and task.labels {len(self.labels)}")
        if sum(self.exponents) <= 0:
            raise ValueError("task.exponents must have a positive sum; otherwise the product has no finite mass")
        return self

    def cases(self, setting: Setting) -> list[Case]:
        target = fk.correctors.product([setting.run.given(label) for label in self.labels], self.exponents)
        pairs = zip(self.labels, self.exponents, strict=True)
        formula = " ".join(f"q(x|{label})^{exponent:g}" for label, exponent in pairs)
        return [corrected("product", target, setting.config.engine, None, formula)]
