"""What a steering config may say: one task and the engine section that it reads. Free of JAX."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field, SerializeAsAny, ValidationInfo, WithJsonSchema, field_validator

from fkdiff import tasks
from fkdiff.errors import did_you_mean
from fkdiff.tasks.task import Count, Engine, Task
from fkdiff.train.schema import Section, Seed, validate
from fkdiff.train.yaml import read_yaml

_places = [place.split(":") for place in tasks.TASKS.values()]
_classes: list[type[Task]] = [getattr(import_module(module), name) for module, name in _places]
KINDS = {task.model_fields["kind"].default: task for task in _classes}

if TYPE_CHECKING:
    from typing import Any as AnyEngine  # which tasks there are is known when the program runs
    from typing import Any as AnyTask
else:
    AnyTask = Annotated[Union[tuple(_classes)], Field(discriminator="kind")]  # noqa: UP007
    _schemas = [engine.model_json_schema() for engine in dict.fromkeys(task.engine for task in _classes)]
    AnyEngine = Annotated[SerializeAsAny[Engine], WithJsonSchema({"anyOf": _schemas})]


class SteerConfig(Section):
    """A steering run, whole."""

    task: AnyTask
    engine: AnyEngine = Field(default_factory=lambda data: data["task"].engine() if "task" in data else None)
    num_samples: Count = 100
    seed: Seed = 0

    @field_validator("engine", mode="plain")
    @classmethod
    def _of_the_task(cls, given: Any, info: ValidationInfo) -> Any:
        """The engine section of the task; a key that the task does not read is refused."""
        task = info.data.get("task")
        if task is None:  # what is wrong with it is said already
            return given
        given = given.model_dump() if isinstance(given, Engine) else given
        known = list(task.engine.model_fields)
        for key in given if isinstance(given, dict) else ():
            if key not in known:
                near = did_you_mean(key, known)
                raise ValueError(
                    f"task.kind={task.kind} does not read engine.{key}{near} (it reads {', '.join(known)})"
                )
        return task.engine.model_validate(given)


def load_steer_config(file: str | Path) -> SteerConfig:
    """Reads a steering config from a YAML file.

    Raises:
        FkdiffError: One sentence with the file, the key, what came and the next action.
    """
    return validate(SteerConfig, read_yaml(file), str(file))


def switched(data: dict[str, Any]) -> dict[str, Any]:
    """A config's data whose task has become another: of the engine stays what the new task reads, too."""
    task = KINDS.get(data["task"]["kind"])
    known = data["engine"] if task is None else task.engine.model_fields
    return data | {"engine": {key: value for key, value in data["engine"].items() if key in known}}
