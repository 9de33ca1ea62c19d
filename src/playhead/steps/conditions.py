"""Conditions that decide whether an item goes through a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from playhead.keys import bare
from playhead.model import Condition
from playhead.patterns import compile_pattern
from playhead.ports.adapter import Item

_ABSENT: Final = object()
_ATTRIBUTES: Final = "attributes."

_READERS: Final[dict[str, Callable[[Item], Any]]] = {
    "content_type": lambda item: bare(item.content_type),
    "path": lambda item: item.path,
    "size": lambda item: len(item.data),
    "stage": lambda item: item.stage,
}


def compile_condition(condition: Condition) -> Callable[[Item], bool]:
    """Return a test of items for a condition that the config loader has checked.

    A missing attribute equals no value, is in no list, and is neither more nor less than any value. `gt`,
    `gte`, `lt` and `lte` compare numbers with numbers and text with text, by code point; otherwise they are
    false. `content_type` has no parameters and is in lower case. `size` is in bytes. `exists` with the value
    `false` is true if the field is missing.

    Raises:
        ValueError: the field or operator does not exist, or the pattern of `matches` cannot be used.
    """
    read = _reader(condition.field)
    value = condition.value
    match condition.operator:
        case "exists":
            wanted = value is not False
            return lambda item: (read(item) is not _ABSENT) is wanted
        case "equals":
            return lambda item: same_json(read(item), value)
        case "not_equals":
            return lambda item: not same_json(read(item), value)
        case "in":
            return lambda item: _among(read(item), value)
        case "not_in":
            return lambda item: not _among(read(item), value)
        case "matches":
            matches = compile_pattern(value)
            return lambda item: isinstance(found := read(item), str) and matches(found)
        case "gt":
            return lambda item: _comparable(found := read(item), value) and found > value
        case "gte":
            return lambda item: _comparable(found := read(item), value) and found >= value
        case "lt":
            return lambda item: _comparable(found := read(item), value) and found < value
        case "lte":
            return lambda item: _comparable(found := read(item), value) and found <= value
    raise ValueError(f"no such operator: {condition.operator!r}")


def dropped_because(condition: Condition, item: Item) -> str:
    """Return why a condition is false, or "". A condition has few such texts, so that they can be counted."""
    return f": its content type is {bare(item.content_type)}" if condition.field == "content_type" else ""


def _reader(field: str) -> Callable[[Item], Any]:
    if field.startswith(_ATTRIBUTES):
        name = field[len(_ATTRIBUTES) :]
        return lambda item: item.attributes.get(name, _ABSENT)
    try:
        return _READERS[field]
    except KeyError:
        raise ValueError(f"no such field: {field!r}") from None


def same_json(found: Any, value: Any) -> bool:
    """Whether two JSON values are equal. In JSON true is not 1, in Python it is."""
    if isinstance(found, Mapping) and isinstance(value, Mapping):
        return found.keys() == value.keys() and all(same_json(found[name], value[name]) for name in found)
    if isinstance(found, list) and isinstance(value, list):
        return len(found) == len(value) and all(map(same_json, found, value))
    return bool(found == value) and isinstance(found, bool) is isinstance(value, bool)


def _among(found: Any, values: Any) -> bool:
    return any(same_json(found, value) for value in values)


def _comparable(found: Any, value: Any) -> bool:
    if isinstance(found, str) or isinstance(value, str):
        return isinstance(found, str) and isinstance(value, str)
    return _is_number(found) and _is_number(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
