"""Convert the result of a step into products, and check path, content type and attributes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from playhead.errors import MessageError
from playhead.keys import OCTET_STREAM, content_type_of, problem, stem
from playhead.ports.adapter import CONTENT_TYPE, Item, Output
from playhead.steps import naming

MAX_ATTRIBUTES_BYTES: Final = 65536
encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class Returned(NamedTuple):
    """What a step returned: its elements, and whether they came as an iterable."""

    elements: Sequence[object]
    many: bool


class Product(NamedTuple):
    """An output with its final path. `attributes` are JSON values and include those of the input."""

    path: str
    data: bytes
    content_type: str
    attributes: Mapping[str, Any]


class Maker:
    """Converts what one step returns into products.

    Args:
        where: the step's name, for errors.
        produces: content type of outputs without one.
        room: bytes of a whole key before the path.
    """

    __slots__ = ("_produces", "_room", "_where")

    def __init__(self, where: str, produces: str | None, room: int) -> None:
        self._where = where
        self._produces = produces
        self._room = room

    def products(self, item: Item, returned: Returned) -> list[Product]:
        """Return the products of one item, in order.

        Raises:
            MessageError: `bad_output`, or `invalid_key` for a path outside the grammar.
        """
        elements, many = returned
        if not many:
            return [self._product(item, element, None, 0) for element in elements]
        folder = stem(item.path, item.content_type)
        return [self._product(item, element, folder, n) for n, element in enumerate(elements, 1)]

    def bad(self, why: str) -> MessageError:
        return MessageError("bad_output", f"{self._where}: {why}")

    def _product(self, item: Item, element: object, folder: str | None, number: int) -> Product:
        own: Mapping[str, Any] = {}
        path = kind = None
        if isinstance(element, Output):
            data, path, kind, own = element.data, element.path, element.content_type, element.attributes
            if not isinstance(data, bytes):
                raise self.bad(f"Output.data must be bytes, not {_name(data)}; use item.derive for text")
            if path is not None and not isinstance(path, str):
                raise self.bad(f"Output.path must be a string, not {_name(path)}")
            if kind is not None and not (isinstance(kind, str) and CONTENT_TYPE.fullmatch(kind)):
                raise self.bad(f"Output.content_type {kind!r} is not a content type such as 'text/plain'")
        elif isinstance(element, str):
            try:
                data = element.encode()
            except UnicodeEncodeError as exc:
                raise self.bad(f"returned text that cannot be encoded as UTF-8: {exc}") from exc
        elif isinstance(element, bytes):
            data = element
        else:
            place = f"element {number} of its result" if number else "its result"
            raise self.bad(f"{place} is {_name(element)}; return Output, str or bytes")
        kind = kind or self._produces or self._type_of(path) or item.content_type
        if path is None:
            if folder is None:
                path = naming.alone(item.path, item.content_type, kind)
            else:
                path = naming.numbered(folder, number, kind)
        if why := problem(path, room=self._room):
            raise MessageError(
                "invalid_key", f"{self._where}: the output path {path!r} {why}; change Output.path"
            )
        return Product(path, data, kind, self._attributes(item.attributes, own))

    @staticmethod
    def _type_of(path: str | None) -> str | None:
        kind = content_type_of(path) if path else OCTET_STREAM
        return None if kind == OCTET_STREAM else kind

    def _attributes(self, inherited: Mapping[str, Any], own: Mapping[str, Any]) -> Mapping[str, Any]:
        if not isinstance(own, Mapping):
            raise self.bad(f"Output.attributes must be a mapping, not {_name(own)}")
        if not (inherited or own):
            return {}
        merged = {**inherited, **own}
        try:
            text = encode(merged)
            size = len(text.encode())
        except (TypeError, ValueError, RecursionError) as exc:
            raise self.bad(f"attributes are not JSON: {exc}") from exc
        if size > MAX_ATTRIBUTES_BYTES:
            raise self.bad(f"attributes are {size} bytes as JSON; at most {MAX_ATTRIBUTES_BYTES} are allowed")
        # Read back, so that the next step gets what a replay would get, and shares nothing with another
        # output or with the adapter.
        loaded: dict[str, Any] = json.loads(text)
        if loaded != merged and (key := _invalid_key(merged)):
            raise self.bad(f"attributes are not JSON: the key {key} is not a string")
        return loaded


def _invalid_key(value: object) -> str | None:
    """Return a key that is not a string, as text: `json` would convert it without an error."""
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                return repr(key)
        value = list(value.values())
    if isinstance(value, list | tuple):
        return next((found for inner in value if (found := _invalid_key(inner))), None)
    return None


def _name(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"
