"""What a task must say, and the engine sections, of which each task names the one that it reads. Free of JAX."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from fkdiff.tasks import examples, judging
from fkdiff.tasks.case import Case, Setting
from fkdiff.tasks.outcome import Outcome
from fkdiff.tasks.tables import EXAMPLES_LEGEND, examples_table
from fkdiff.train.schema import Section


def _distinct(given: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
    if len(set(given)) < len(given):  # files are named after them
        raise ValueError(f"task.{info.field_name}={list(given)} names one of them twice; name each once")
    return given


Label = Annotated[int, Field(ge=0)]
Labels = Annotated[tuple[Label, ...], Field(min_length=1, max_length=64), AfterValidator(_distinct)]
Count = Annotated[int, Field(ge=1, le=2**22)]


class Engine(Section):
    """How many particles there are and when they are resampled; see `fkdiff.run_smc`."""

    num_particles: Count = 512
    resample_threshold: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.5
    num_populations: Annotated[int, Field(ge=1, le=1024)] = 1


class Stepped(Engine):
    """The particles, and the number of their time steps."""

    num_steps: Annotated[int, Field(ge=1, le=10**5)] = 32


class Chained(Stepped):
    """The particles, and the solver whose steps they take: the law is that of its chain; see `fkdiff.solvers`."""

    solver: Literal["ancestral", "ddim", "exponential", "euler"] = "ancestral"


class Corrected(Stepped):
    """The particles, and how a corrector moves them; see `WeightedSDE.feynman_kac`."""

    step: Literal["euler", "heun", "rk4", "exponential"] = "heun"
    noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    control: Literal["none", "affine", "score"] = "score"


class Tilted(Corrected):
    """The particles, and how a corrector with a reward moves them; see `WeightedSDE.feynman_kac`."""

    control: Literal["none", "affine", "score", "score+reward"] = "score"


class Task(Section, ABC):
    """A section of the config that builds its cases, judges their outcomes and shows them.

    Attributes:
        engine: The engine section that it reads; a key of another one is refused.
        of_text: Whether it is for models of text, or for all others.
        observes: Whether it takes a file of observations.
        legend: What the columns of its table mean.
    """

    kind: str
    engine: ClassVar[type[Engine]]
    of_text: ClassVar[bool] = False
    observes: ClassVar[bool] = False
    legend: ClassVar[str]

    @abstractmethod
    def cases(self, setting: Setting) -> list[Case]:
        """The targets.

        Raises:
            FkdiffError: The task does not fit the model.
        """

    @abstractmethod
    def judged(self, outcomes: list[Outcome], setting: Setting) -> list[dict[str, Any]] | None:
        """A verdict for each outcome, for JSON; None where there is no judge."""

    @abstractmethod
    def sheet(self, outcomes: list[Outcome], setting: Setting) -> Any:
        """What the draws look like: a figure, or a page of text."""

    @abstractmethod
    def table(self, cases: list[dict[str, Any]]) -> str:
        """The summary's cases in columns."""


class ExamplesTask(Task, ABC):
    """A task whose draws are pictures or points, judged by a classifier where they are digits."""

    legend: ClassVar[str] = EXAMPLES_LEGEND

    def expected(self, outcome: Outcome, setting: Setting, judge: Any) -> judging.Expected | None:
        """The class balance of the exact target; None where there is no way to know it."""
        return None

    def judged(self, outcomes: list[Outcome], setting: Setting) -> list[dict[str, Any]] | None:
        return judging.judged(outcomes, setting)

    def sheet(self, outcomes: list[Outcome], setting: Setting) -> Any:
        return examples.sheet(outcomes, setting.run)

    def table(self, cases: list[dict[str, Any]]) -> str:
        return examples_table(cases)
