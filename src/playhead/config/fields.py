"""Reading typed fields out of the tree: a value, or a fault and the default.

A config with an error is never used. A reader that finds a fault therefore continues with a default, so that
all faults are found in one pass.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from playhead.config.diagnostics import Diagnostics, Mark, listed, shown
from playhead.config.tree import BROKEN, Node, joined

_FLAG_WORDS: Final = {"yes": "true", "on": "true", "no": "false", "off": "false"}


@dataclass(frozen=True, slots=True)
class Pattern:
    """The form of a text: as a pattern, and in words.

    Attributes:
        junk: what a suggestion replaces with a hyphen.
    """

    regex: re.Pattern[str]
    meaning: str
    junk: str

    def suggestion(self, text: str) -> str | None:
        """Return the text with invalid characters replaced, if the result is valid."""
        slug = re.sub(self.junk, "-", text.lower()).strip("-_.")
        return slug if self.regex.fullmatch(slug) else None


NAME: Final = Pattern(
    re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII),
    "lower-case letters, digits, `_` and `-`, at most 63, a letter or digit first",
    r"[^a-z0-9_-]+",
)
QUEUE: Final = Pattern(
    re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,126}", re.ASCII),
    "letters, digits, `.`, `_` and `-`, at most 127, a letter or digit first",
    r"[^a-z0-9._-]+",
)


@dataclass(frozen=True, slots=True)
class Spot:
    """A value of the document and its position.

    Attributes:
        named: the position of its key, or of the value if it has no key.
    """

    node: Node
    path: str
    named: Mark
    found: Diagnostics

    def fault(
        self, code: str, message: str, suggestion: str | None = None, *, at_key: bool = False, under: str = ""
    ) -> None:
        """Add a fault at the value or at its key. `under` names what is missing in the value."""
        path = joined(self.path, under) if under else self.path
        self.found.add(code, self.named if at_key else self.node.at, path, message, suggestion)

    def child(self, part: str | int) -> Spot | None:
        """Return a field or an item of this value, if it exists."""
        if isinstance(part, str):
            if part not in self.node.fields:
                return None
            node = self.node.fields[part]
            return Spot(node, joined(self.path, part), self.node.keys[part], self.found)
        if 0 <= part < len(self.node.items):
            item = self.node.items[part]
            return Spot(item, joined(self.path, str(part)), item.at, self.found)
        return None

    def children(self) -> Iterator[tuple[str, Spot]]:
        """The fields of a mapping, as written."""
        for name, node in self.node.fields.items():
            yield name, Spot(node, joined(self.path, name), self.node.keys[name], self.found)

    # -- values of one type ------------------------------------------------------------------------

    def wrong(self, wanted: str, suggestion: str | None = None) -> None:
        """Add a fault for a wrong type, unless the value already has one."""
        value = self.node.value
        if value is BROKEN:
            return
        if value is None:
            message = f"must be {wanted}, but is empty; add a value or remove the key"
        else:
            message = f"must be {wanted}, not {kind_of(value)} {self._as_written()}".rstrip()
        self.fault("E103", message, suggestion)

    def _is_scalar(self) -> bool:
        return self.node.raw is not None and self.node.value is not None

    def _as_written(self) -> str:
        return shown(self.node.value) if self._is_scalar() else ""

    def mapping(self) -> bool:
        """Return whether this is a mapping; add a fault if not."""
        ok = isinstance(self.node.value, dict)
        if not ok:
            self.wrong("a mapping")
        return ok

    def items(self, what: str, item: str = "{}") -> list[Spot] | None:
        """Return the items of a list, or None and a fault; `item` is how one is written, for a scalar."""
        if not isinstance(self.node.value, list):
            meant = f"[{item.format(self.node.raw)}]" if self._is_scalar() else None
            self.wrong(f"a list of {what}", meant)
            return None
        return [
            Spot(node, joined(self.path, str(n)), node.at, self.found)
            for n, node in enumerate(self.node.items)
        ]

    def text(self, pattern: Pattern | None = None) -> str | None:
        """Return a text, or None with a fault. A text that does not match is returned with a fault."""
        value = self.node.value
        if not isinstance(value, str):
            self.wrong("text", shown(self.node.raw) if self._is_scalar() else None)
            return None
        if pattern and not pattern.regex.fullmatch(value):
            self.fault("E104", f"{shown(value)} must be {pattern.meaning}", pattern.suggestion(value))
        return value

    def choice(self, known: Collection[str]) -> str | None:
        """Return one of the known words, or None with a fault."""
        value = self.text()
        if value is not None and value not in known:
            self.fault(
                "E104", f"{shown(value)} must be one of {listed(known)}", self.found.nearest(value, known)
            )
            return None
        return value

    def flag(self, default: bool) -> bool:
        value = self.node.value
        if isinstance(value, bool):
            return value
        self.wrong("true or false", _FLAG_WORDS.get(str(value).lower()))
        return default

    def integer(self, default: int, low: int, high: int) -> int:
        value = self.node.value
        if isinstance(value, bool) or not isinstance(value, int):
            self.wrong("a whole number", _number_meant(self.node, whole=True))
            return default
        return value if self._within(value, low, high) else default

    def number(self, default: float, low: float, high: float, *, above: bool = False) -> float:
        """Return a number from `low` (excluded if `above`) to `high`; otherwise the default, with a fault."""
        value = self.node.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.wrong("a number", _number_meant(self.node, whole=False))
            return default
        return value if self._within(value, low, high, above=above) else default

    def _within(self, value: float, low: float, high: float, *, above: bool = False) -> bool:
        if (low < value if above else low <= value) and value <= high:
            return True
        span = f"above {low} and at most {high}" if above else f"{low} to {high}"
        nearest = None if above and value <= low else str(low if value < low else high)
        self.fault("E104", f"{shown(value)} is out of range: {span}", nearest)
        return False


class Table:
    """A mapping with known keys. Creating one adds faults for unknown and missing keys.

    Args:
        elsewhere: the correct place of keys that are often misplaced.
    """

    def __init__(
        self,
        spot: Spot,
        known: Collection[str],
        required: Collection[str] = (),
        *,
        elsewhere: Mapping[str, str] | None = None,
    ) -> None:
        self.spot = spot
        self.is_mapping = spot.mapping()
        self._fields: dict[str, Spot] = {}
        if not self.is_mapping:
            return
        for name, field in spot.children():
            if name in known:
                self._fields[name] = field
            else:
                near = (elsewhere or {}).get(name) or spot.found.nearest(name, known)
                field.fault("E101", f"unknown key; known keys: {listed(known)}", near, at_key=True)
        for name in required:
            if name not in spot.node.fields:
                spot.fault("E102", f"`{name}` is missing", f"{name}: …", at_key=True, under=name)

    def get(self, name: str) -> Spot | None:
        return self._fields.get(name)

    def text(self, name: str, default: str = "", pattern: Pattern | None = None) -> str:
        spot = self.get(name)
        value = spot.text(pattern) if spot else None
        return default if value is None else value

    def flag(self, name: str, default: bool) -> bool:
        spot = self.get(name)
        return spot.flag(default) if spot else default


def check_name(spot: Spot, name: str, of: str) -> None:
    """Add a fault for a key that is not a valid name of a route or a dataset (`of`)."""
    if not NAME.regex.fullmatch(name):
        spot.fault(
            "E104",
            f"the {of} name {shown(name)} must be {NAME.meaning}",
            NAME.suggestion(name),
            at_key=True,
        )


def kind_of(value: Any) -> str:
    """Return the name of the type of a JSON value, for a message."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "the truth value"
        case int() | float():
            return "the number"
        case str():
            return "the text"
        case list():
            return "a list"
        case _:
            return "a mapping"


def _number_meant(node: Node, *, whole: bool) -> str | None:
    """Return the number that a quoted or decorated scalar most likely means."""
    if node.raw is None or isinstance(node.value, bool) or len(node.raw) > 40:
        return None
    try:
        number = float(node.raw)
    except ValueError:
        return None
    if number != number or abs(number) > 1e15:
        return None
    if number.is_integer():
        return str(int(number))
    return None if whole else str(number)
