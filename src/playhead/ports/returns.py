"""What the return annotation of an adapter promises. Only a hint: adapters may have no annotation."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple, Union, get_args, get_origin

_ONE: Final = ("Output", "str", "bytes")
_INVALID: Final = (Mapping, int, float, complex, bytearray, memoryview)


class Returns(NamedTuple):
    """What an adapter returns for an item, as far as its annotation says.

    Attributes:
        kind: `output`: always one output. `nothing`: never an output. `unknown`: it depends, or there is no
            annotation.
        wrong: the annotation, if no value of it is a valid result; else empty.
    """

    kind: Literal["output", "nothing", "unknown"] = "unknown"
    wrong: str = ""


UNKNOWN: Final = Returns()


def read_annotation(annotation: Any, scope: Mapping[str, Any], *, batch: bool) -> Returns:
    """Read a return annotation, which may be a string.

    Args:
        scope: the names that it may use.
        batch: the adapter returns a list with one such result for each item.
    """
    if isinstance(annotation, str):
        try:
            annotation = eval(annotation, dict(scope))
        except Exception:
            return UNKNOWN  # it names something that is imported for type checkers only
    if batch:
        arguments = get_args(annotation)
        if not _is_iterable(annotation):
            return Returns(wrong=_shown(annotation)) if _kind_of(annotation) != "unknown" else UNKNOWN
        return read_annotation(arguments[0], scope, batch=False) if arguments else UNKNOWN
    kinds = {_kind_of(one) for one in _members(annotation)}
    if kinds == {"invalid"}:
        return Returns(wrong=_shown(annotation))
    if kinds == {"output"}:
        return Returns("output")
    return Returns("nothing") if kinds == {"nothing"} else UNKNOWN


def _members(annotation: Any) -> list[Any]:
    """Return the members of a union, or the annotation itself."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [member for one in get_args(annotation) for member in _members(one)]
    return [annotation]


def _kind_of(annotation: Any) -> Literal["output", "nothing", "invalid", "unknown"]:
    if annotation is None or annotation is type(None):
        return "nothing"
    origin = get_origin(annotation) or annotation
    if not isinstance(origin, type):
        return "unknown"
    if origin.__name__ in _ONE:
        return "output"
    return "invalid" if issubclass(origin, _INVALID) or origin.__name__ == "Item" else "unknown"


def _is_iterable(annotation: Any) -> bool:
    origin = get_origin(annotation) or annotation
    return (
        isinstance(origin, type)
        and issubclass(origin, Iterable)
        and not issubclass(origin, (str, bytes, Mapping))
    )


def _shown(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)
