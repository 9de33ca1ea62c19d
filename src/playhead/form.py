"""Read JSON into frozen dataclasses by their type hints. One reader serves all responses of a server."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints
from uuid import UUID

from playhead.ids import parse_uuid

T = TypeVar("T")


class WrongForm(ValueError):
    """A value does not have the expected type. The message names the place and the expected type."""


def read(form: type[T], value: Any) -> T:
    """Convert a JSON value to `form`: a (generic) dataclass, or a list, mapping or union of dataclasses.

    Unknown fields are ignored, because a newer server may send more fields.

    Raises:
        WrongForm: a field is missing, or has another type.
    """
    return cast(T, _read(form, value, "the answer"))


def _read(form: Any, value: Any, at: str) -> Any:
    origin, arguments = get_origin(form), get_args(form)
    if form is Any:
        return value
    if origin in (Union, types.UnionType):
        return _one_of(arguments, value, at)
    if origin is Literal:
        return _checked(value in arguments, value, f"one of {', '.join(map(repr, arguments))}", at)
    if origin is list:
        items = _checked(isinstance(value, list), value, "a list", at)
        return [_read(arguments[0], item, f"{at}[{i}]") for i, item in enumerate(items)]
    if origin is not None and issubclass(origin, Mapping):
        pairs = _checked(isinstance(value, dict), value, "an object", at)
        return {name: _read(arguments[1], item, f"{at}.{name}") for name, item in pairs.items()}
    if is_dataclass(origin or form):
        return _object(origin or form, arguments, value, at)
    if form is UUID:
        identity = parse_uuid(value) if isinstance(value, str) else None
        return _checked(identity is not None, value, "a UUID", at, identity)
    if form is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return _checked(is_number, value, "a number", at)
    if form in (str, int, bool, types.NoneType):
        return _checked(type(value) is form, value, form.__name__, at)
    raise TypeError(f"cannot read {form!r} at {at}: unsupported type")


def _object(kind: type[Any], arguments: tuple[Any, ...], value: Any, at: str) -> Any:
    given = _checked(isinstance(value, dict), value, "an object", at)
    filled = dict(zip(getattr(kind, "__parameters__", ()), arguments, strict=False))
    values: dict[str, Any] = {}
    for name, hint, has_default in _fields(kind):  # type: ignore[arg-type]  # a class can be hashed
        if name in given:
            values[name] = _read(_fill(hint, filled), given[name], f"{at}.{name}")
        elif not has_default:
            raise WrongForm(f"{at} has no field {name!r}")
    return kind(**values)


@cache
def _fields(kind: type[Any]) -> tuple[tuple[str, Any, bool], ...]:
    hints = get_type_hints(kind)
    return tuple(
        (f.name, hints[f.name], f.default is not MISSING or f.default_factory is not MISSING)
        for f in fields(kind)
    )


def _fill(hint: Any, filled: Mapping[Any, Any]) -> Any:
    """Replace the type variables of a hint: `list[T]` in a `Page[Execution]` becomes `list[Execution]`."""
    if isinstance(hint, TypeVar):
        return filled[hint]
    names = getattr(hint, "__parameters__", ())
    return hint[tuple(filled[name] for name in names)] if names else hint


def _one_of(forms: tuple[Any, ...], value: Any, at: str) -> Any:
    faults = []
    for form in forms:
        try:
            return _read(form, value, at)
        except WrongForm as exc:
            faults.append(str(exc))
    # Report the mismatch with the first form: the others (None) are the exceptions.
    raise WrongForm(faults[0])


def _checked(is_right: bool, value: Any, wanted: str, at: str, result: Any = None) -> Any:
    if not is_right:
        raise WrongForm(f"{at} is {str(value)[:60]!r}, not {wanted}")
    return value if result is None else result
