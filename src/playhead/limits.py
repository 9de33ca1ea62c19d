"""Limits that the fields of a dataclass declare, and their check when a value is constructed.

A field declares what it accepts once, as metadata of its type: `Annotated[int, Interval(ge=1, le=10)]`. Its
description is in the docstring of the class. The schemas of the API, the options of commands and the form
of the web UI read both.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Interval, Len

_ATTRIBUTES: Final = re.compile(r"\n\nAttributes:\n((?: .*(?:\n|$))+)")
_FIELDS: Final = re.compile(r"^ {4}(\w+(?:, \w+)*): (.+(?:\n {5,}.+)*)", re.MULTILINE)
_NAMES: Final = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


class InvalidValue(ValueError):
    """A value breaks a limit of its field.

    Attributes:
        field: the name of the field.
        why: what is wrong, and what to do.
    """

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field = field
        self.why = why


class _OfAnotherType(InvalidValue):
    pass


@dataclass(frozen=True, slots=True)
class Meets:
    """A limit that `check` tests. It raises a `ValueError` whose message continues a sentence."""

    check: Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression that a text matches; `meaning` continues a sentence about a text that does not."""

    expression: str
    meaning: str


def _count_or_share(number: float) -> None:
    if number >= 1 and not float(number).is_integer():
        raise ValueError("is neither a whole number nor a share below 1")


COUNT_OR_SHARE: Final = Meets(_count_or_share)
NoNul: Final = Pattern(r"^[^\x00]*$", "has a NUL character; remove it")


class Limited:
    """A dataclass with limits. Its constructor raises `InvalidValue` if a value breaks a limit."""

    __slots__ = ()

    def __post_init__(self) -> None:
        check(self)


def check(value: Any, *, leave_out: Collection[str] = ()) -> None:
    """Compare all fields of a dataclass with their types and limits. Raises `InvalidValue`."""
    kind: Any = type(value)
    for name, hint in hints_of(kind).items():
        if name not in leave_out:
            _check(hint, getattr(value, name), name)


@cache
def hints_of(kind: Any) -> Mapping[str, Any]:
    """Return the types of the fields of a dataclass, with their metadata."""
    return get_type_hints(kind, include_extras=True)


@cache
def descriptions(kind: Any) -> Mapping[str, str]:
    """Return what the docstring of a dataclass, and of the classes above it, says about each field."""
    found: dict[str, str] = {}
    for known in reversed(kind.__mro__):
        if section := _ATTRIBUTES.search(inspect.cleandoc(known.__doc__ or "")):
            for names, text in _FIELDS.findall(section[1]):
                found |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return found


def without_attributes(docstring: str) -> str:
    """Return a docstring without the part that describes the fields."""
    return _ATTRIBUTES.sub("", inspect.cleandoc(docstring))


def _check(hint: Any, value: Any, at: str) -> None:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        _check(arguments[0], value, at)
        for limit in hint.__metadata__:
            _check_limit(limit, value, at)
    elif origin in (Union, UnionType):
        _check_one_of(arguments, value, at)
    elif origin is Literal:
        _expect(value in arguments, f"{value!r} is not {' or '.join(map(str, arguments))}", at)
    elif origin is list:
        _expect(isinstance(value, list | tuple), "needs at least one text in a list", at)
        if arguments[0] is not str or not all(type(item) is str for item in value):  # lists may be long
            for item in value:
                _check_item(arguments[0], item, at)
    elif origin is not None and issubclass(origin, Mapping):
        _expect(isinstance(value, Mapping), f"{value!r} has no names and values", at)
        for name, item in value.items():
            _check_item(arguments[0], name, at)
            _check_item(arguments[1], item, at)
    elif hint is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        _expect(is_number, f"{value!r} is not a number", at)
    elif hint is not Any:
        is_bool = hint is int and isinstance(value, bool)
        wanted = _NAMES.get(hint, f"a {hint.__name__}")
        _expect(isinstance(value, hint) and not is_bool, f"{value!r} is not {wanted}", at)


def _check_item(hint: Any, value: Any, at: str) -> None:
    try:
        _check(hint, value, at)
    except _OfAnotherType as exc:  # the list or mapping as a whole is what was meant
        raise InvalidValue(at, exc.why) from None


def _check_one_of(kinds: tuple[Any, ...], value: Any, at: str) -> None:
    """Check that a value is of one of these types. The error is about the type that was meant."""
    faults: list[InvalidValue] = []
    for kind in kinds:
        try:
            _check(kind, value, at)
        except InvalidValue as exc:
            faults.append(exc)
        else:
            return
    raise next((one for one in faults if not isinstance(one, _OfAnotherType)), faults[0])


def _expect(is_right: bool, why: str, at: str) -> None:
    if not is_right:
        raise _OfAnotherType(at, why)


def _check_limit(limit: Any, value: Any, at: str) -> None:
    if isinstance(limit, Meets):
        try:
            limit.check(value)
        except ValueError as exc:
            shown = f"{value!r} " if isinstance(value, str | int | float) else ""
            raise InvalidValue(at, f"{shown}{exc}") from None
    elif isinstance(limit, Pattern):
        if not re.search(limit.expression, value):
            raise InvalidValue(at, limit.meaning)
    elif isinstance(limit, Interval):
        if not limit.ge <= value <= limit.le:  # NaN is outside, too
            raise InvalidValue(at, f"{value!r} is out of range; use {range_text(limit)}")
    elif isinstance(limit, Len):
        _check_length(limit, value, at)


def range_text(limit: Interval) -> str:
    """Return what an interval accepts, in words."""
    least, most = (f"{end:,}".removesuffix(".0") for end in (limit.ge, limit.le))
    return f"a number from {least} to {most}"


def _check_length(limit: Len, value: Any, at: str) -> None:
    if len(value) < limit.min_length:
        if isinstance(value, str):
            raise InvalidValue(at, "is empty")
        what = "name and value" if isinstance(value, Mapping) else "text in a list"
        raise InvalidValue(at, f"needs at least one {what}; otherwise leave it out")
    if limit.max_length is not None and len(value) > limit.max_length:
        what = "characters" if isinstance(value, str) else "values"
        raise InvalidValue(at, f"has {len(value):,} {what}; at most {limit.max_length:,} are allowed")
