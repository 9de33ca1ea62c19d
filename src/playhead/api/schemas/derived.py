"""Schemas of bodies from dataclasses: the types, limits, defaults and descriptions of their fields."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Strict,
    StringConstraints,
    Tag,
    create_model,
)
from pydantic_core import PydanticCustomError

from playhead.api.schemas import Body, for_readers_of_json
from playhead.limits import Meets, Pattern, descriptions, hints_of, without_attributes


def body_of(name: str, *kinds: type, leave_out: Collection[str] = (), no_null: str = "") -> Any:
    """Return a schema with the fields of dataclasses, except those left out.

    Args:
        no_null: why an optional field must be left out instead of being null; empty: it may be null.
    """
    made: dict[str, Any] = {}
    for kind in kinds:
        for one in fields(kind):
            if one.name not in leave_out:
                hint = hints_of(kind)[one.name]
                default = None if NoneType in get_args(hint) else ...
                told = for_readers_of_json(descriptions(kind)[one.name])
                field = Field(default if one.default is MISSING else one.default, description=told)
                if one.default_factory is not MISSING:
                    field = Field(default_factory=one.default_factory, description=told)
                made[one.name] = (schema_of(hint), field)
                if no_null and default is None:
                    made[one.name] = unless_null(schema_of(hint), told, no_null)
    return create_model(name, __base__=Body, __doc__=without_attributes(kinds[0].__doc__ or ""), **made)


def unless_null(kind: Any, told: str, why: str) -> tuple[Any, Any]:
    """Return the type and the default of a field that may be left out, but not be null, because of `why`."""
    given = [one for one in get_args(kind) if one is not NoneType] if NoneType in get_args(kind) else [kind]

    def refuse(value: Any) -> Any:
        if value is None:
            raise PydanticCustomError("null", why)
        return value

    def without_default(schema: dict[str, Any]) -> None:
        schema.pop("default", None)

    hint: Any = Union[tuple(given)]  # noqa: UP007
    field = Field(default=None, description=told, json_schema_extra=without_default)
    return Annotated[hint, BeforeValidator(refuse)], field


@cache
def _nested(kind: Any) -> Any:
    return body_of(f"{kind.__name__}Body", kind)


def schema_of(hint: Any) -> Any:
    """Return the type that pydantic validates for a type of a field, with its limits."""
    arguments = get_args(hint)
    if get_origin(hint) is Annotated:
        limits = [limit_of(limit, arguments[0]) for limit in hint.__metadata__]
        return Annotated[(schema_of(arguments[0]), *limits)]
    if get_origin(hint) in (Union, UnionType):
        kinds = [one for one in arguments if is_dataclass(one)]
        others = [schema_of(one) for one in arguments if one not in kinds]
        return Union[(_one_of(kinds), *others)] if kinds else Union[tuple(others)]  # noqa: UP007
    if get_origin(hint) is list:
        return list[schema_of(arguments[0])]  # type: ignore[misc]
    if hint in (int, float):
        return Annotated[hint, Strict()]
    return hint


def _one_of(kinds: list[Any]) -> Any:
    """Return the union of several dataclasses. An error is about the one whose first field was sent."""
    bodies = {fields(kind)[0].name: _nested(kind) for kind in kinds}
    if len(bodies) == 1:
        return next(iter(bodies.values()))

    def which(given: Any) -> str:
        sent = given if isinstance(given, dict) else getattr(type(given), "model_fields", ())
        return next((name for name in bodies if name in sent), next(iter(bodies)))

    tagged = [Annotated[body, Tag(name)] for name, body in bodies.items()]
    return Annotated[Union[tuple(tagged)], Discriminator(which)]  # noqa: UP007


def limit_of(limit: Any, kind: Any) -> Any:
    """Return what pydantic reads as this limit."""
    if isinstance(limit, Pattern):
        return StringConstraints(pattern=limit.expression)
    if isinstance(limit, Meets):
        return _refusing(limit.check, "text" if kind is str else "value")
    return limit


def _refusing(check: Callable[[Any], object], what: str) -> AfterValidator:
    def validate(value: Any) -> Any:
        try:
            check(value)
        except ValueError as exc:
            raise PydanticCustomError(f"invalid_{what}", f"the {what} {{why}}", {"why": str(exc)}) from None
        return value

    return AfterValidator(validate)
