"""What every config is made of, and how a wrong one becomes one sentence. Free of JAX."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from fkdiff.errors import FkdiffError, did_you_mean

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # outside, distinct seeds alias to one key


# A section of several kinds may be named alone where its defaults will do: `weighting: min_snr`.
Named = BeforeValidator(lambda given: {"kind": given} if isinstance(given, str) else given)


class Section(BaseModel):
    """A part of a config: immutable, hashable, and every unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


C = TypeVar("C", bound=BaseModel)


def validate(model: type[C], data: dict[str, Any], source: str) -> C:
    """Validates `data` against a pydantic model.

    Raises:
        FkdiffError: One sentence with the source, the key, what came and the next action.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise FkdiffError(f"{source}: {sentence(model, error)}") from None


def sentence(model: type[BaseModel], error: ValidationError) -> str:
    """The most telling of pydantic's errors, as one sentence."""
    # A misspelt key is usually why another one is missing, so unknown keys come first.
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    kind, context, came = first["type"], first.get("ctx", {}), repr(first.get("input"))[:80]
    names, here = _walk(model, first["loc"])
    where = ".".join(names)
    if kind == "extra_forbidden":
        siblings = list(_walk(model, first["loc"][:-1])[1].model_fields)
        return f'unknown key "{where}"{did_you_mean(names[-1], siblings)} (known here: {", ".join(siblings)}).'
    if kind == "missing":
        return f'the key "{where}" is missing; add it.'
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        options = [tag for member in here for tag in _tags(member)]
        tag = context.get("tag")
        what = f"{where}.kind is missing; choose one of" if tag is None else f'{where}.kind="{tag}" is not one of'
        return _ended(f"{what} {', '.join(options)}{did_you_mean(str(tag), options)}")
    if kind == "literal_error":
        options = [option.strip(" '") for option in context["expected"].replace(" or ", ", ").split(",")]
        return _ended(f"{where}={came} is not one of {', '.join(options)}{did_you_mean(came, options)}")
    if kind in ("tuple_type", "list_type"):
        return f"{where}={came}: it must be a list, [first, second] in a file, two words on the command line."
    if kind == "value_error":
        return f"{context['error']}."
    return f"{where or 'the file'}={came}: {first['msg'][0].lower()}{first['msg'][1:]}."


def _ended(text: str) -> str:
    return text if text.endswith("?") else text + "."


def _walk(model: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[list[str], Any]:
    """The keys that a person wrote along pydantic's location, which also names the tags of unions.

    Returns:
        The keys, and the section (or the tuple of sections, before a union's tag) that they lead to.
    """
    names: list[str] = []
    here: Any = model
    for step in loc:
        if isinstance(here, tuple):
            here = next((member for member in here if step in _tags(member)), None)
            continue
        names.append(str(step))
        field = here.model_fields.get(step) if isinstance(here, type) else None
        annotation = None if field is None else field.annotation
        members = tuple(m for m in get_args(annotation) or (annotation,) if _is_section(m))
        here = members if len(members) > 1 else (members[0] if members else None)
    return names, here


def _is_section(candidate: Any) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, BaseModel)


def _tags(member: type[BaseModel]) -> tuple[str, ...]:
    return get_args(member.model_fields["kind"].annotation)
