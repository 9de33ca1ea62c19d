"""YAML text to a tree of values with their positions.

Events come from libyaml if PyYAML has it. They are composed here, not in PyYAML, so that limits apply before
anything large is built, and the position of an alias is known. Plain scalars follow the core schema of YAML
1.2: `on`, `yes`, `NO`, `2026-01-02` and `1_000` are text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import yaml
from yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from playhead.config.diagnostics import Diagnostics, Mark, shown

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 100
MAX_NODES: Final = 10_000
_MAX_DIGITS: Final = 300
"""Maximum number of digits of a number. `int` has a higher limit and would raise."""
_MAX_PATH: Final = 1000
_MAX_NAME: Final = 200

_START: Final = Mark(1, 1)
_TAG: Final = "tag:yaml.org,2002:"
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_UNPRINTABLE: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")

_Loader: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Broken:
    """The value of a node that already has a fault, so that it gets no second one."""


BROKEN: Final = _Broken()


@dataclass(frozen=True, slots=True)
class Node:
    """A value of the document.

    Attributes:
        value: the JSON value with all nested values; `BROKEN` if it has none.
        at: its position; for an alias, the position of the alias.
        raw: a scalar as written, else None.
        keys: the position of each key of a mapping.
        fields: the values of a mapping, by key.
        items: the values of a sequence.
        nodes, chars, depth: its number of nodes, characters and levels, with aliases expanded.
    """

    value: Any
    at: Mark
    raw: str | None = None
    keys: Mapping[str, Mark] = field(default_factory=dict)
    fields: Mapping[str, Node] = field(default_factory=dict)
    items: Sequence[Node] = ()
    nodes: int = 1
    chars: int = 0
    depth: int = 0


def read_source(source: bytes | str, found: Diagnostics) -> tuple[str, Node | None]:
    """Read a source into its text and its tree; None, with faults of level E0, if there is no tree.

    Values that JSON does not have (other tags, keys that are not text, `.inf`, merge keys) are E103. They
    become `BROKEN` or are left out; the rest of the tree is kept.
    """
    text = _decode(source, found)
    if found.stopped:
        return text, None
    if control := _UNPRINTABLE.search(text):
        code = f"U+{ord(control[0]):04X}"
        found.add("E001", mark_of(text, control.start()), "", f"the character {code} is not allowed in YAML")
        return text, None
    try:
        root = _Composer(text, found).document()
    except _Limit as exc:
        found.add("E003", exc.at, "", exc.message)
    except yaml.YAMLError as exc:
        _syntax(text, exc, found)
    return text, None if found.stopped else root


def mark_of(text: str, index: int) -> Mark:
    """Return the position of the character at `index`."""
    return Mark(text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))


def _decode(source: bytes | str, found: Diagnostics) -> str:
    try:
        size = len(source if isinstance(source, bytes) else source.encode())
        text = source.decode("utf-8-sig") if isinstance(source, bytes) else source.removeprefix("\ufeff")
    except UnicodeDecodeError as exc:
        before = exc.object[: exc.start].decode("utf-8", "replace")
        byte = exc.object[exc.start]
        found.add("E003", mark_of(before, len(before)), "", f"not UTF-8: byte 0x{byte:02x}; save it as UTF-8")
        return exc.object.decode("utf-8", "replace")
    except UnicodeEncodeError as exc:
        found.add("E003", mark_of(exc.object, exc.start), "", "not UTF-8: half of a surrogate pair")
        return _SURROGATE.sub("\ufffd", exc.object)
    if size > MAX_BYTES:
        found.add("E003", _START, "", f"{size} bytes; a config has at most {MAX_BYTES}")
    return text


def _syntax(text: str, exc: yaml.YAMLError, found: Diagnostics) -> None:
    problem = getattr(exc, "problem", None) or str(exc)
    mark = getattr(exc, "problem_mark", None) or getattr(exc, "context_mark", None)
    at = Mark(mark.line + 1, mark.column + 1) if mark else _START
    lines = text.split("\n")
    if at.line > len(lines):
        # libyaml treats a text without a final newline as if it had one.
        at = Mark(len(lines), len(lines[-1]) + 1)
    if "nesting depth" in problem:
        # libyaml looks ahead: it stops at depth 1,000 before the composer has seen depth 100.
        found.add("E003", at, "", f"more than {MAX_DEPTH} levels deep")
        return
    context = getattr(exc, "context", None)
    message = f"{problem} ({context})" if context else problem
    if problem == "mapping values are not allowed in this context":
        # The message of libyaml for this common fault does not help to find the cause.
        message = "a key is not allowed here: is the line indented too far, or a text with `: ` not quoted?"
    if "\t" in lines[at.line - 1][: at.column]:
        message += "; YAML is indented with spaces, never with tabs"
    found.add("E001", at, "", message)


class _Limit(Exception):
    def __init__(self, at: Mark, message: str) -> None:
        super().__init__(message)
        self.at = at
        self.message = message


class _Composer:
    """Events to nodes. Recursion is bounded by the depth that a document may have."""

    def __init__(self, text: str, found: Diagnostics) -> None:
        self._events = _Loader(text)
        self._found = found
        self._anchors: dict[str, Node | None] = {}
        self._nodes = 0
        self._chars = 0

    def document(self) -> Node:
        try:
            self._next()
            if isinstance(self._events.peek_event(), StreamEndEvent):
                return Node(None, _START, "")
            self._next()
            root = self._node(self._next(), "", 1)
            self._next()
            if not isinstance(after := self._next(), StreamEndEvent):
                self._found.add(
                    "E001", _at(after), "", "a second document starts here; a file has one config"
                )
            return root
        finally:
            self._events.dispose()

    def _next(self) -> Any:
        return self._events.get_event()

    def _node(self, event: Any, path: str, level: int) -> Node:
        if isinstance(event, AliasEvent):
            return self._alias(event, level)
        # An anchor has no node until it is complete, so an alias inside it is a cycle.
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._spend(1, len(getattr(event, "value", "")), _at(event))
        if isinstance(event, ScalarEvent):
            node = self._scalar(event, path)
        else:
            if level > MAX_DEPTH:
                raise _Limit(_at(event), f"more than {MAX_DEPTH} levels deep")
            compose = self._mapping if isinstance(event, MappingStartEvent) else self._sequence
            node = compose(event, path, level)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: Any, level: int) -> Node:
        name, at = event.anchor, _at(event)
        if name not in self._anchors:
            raise yaml.composer.ComposerError(
                None, None, f"the alias *{name} has no anchor &{name} above it", event.start_mark
            )
        target = self._anchors[name]
        if target is None:
            raise _Limit(at, f"the alias *{name} is inside the node that it refers to")
        if level - 1 + target.depth > MAX_DEPTH:
            raise _Limit(at, f"more than {MAX_DEPTH} levels deep once the alias *{name} is expanded")
        self._spend(target.nodes, target.chars, at)
        return replace(target, at=at)

    def _spend(self, nodes: int, chars: int, at: Mark) -> None:
        self._nodes += nodes
        self._chars += chars
        if self._nodes > MAX_NODES:
            raise _Limit(at, f"more than {MAX_NODES} nodes, aliases expanded")
        # Only aliases can reach this: they could repeat a long text 10,000 times.
        if self._chars > MAX_BYTES:
            raise _Limit(at, f"more than {MAX_BYTES} characters once its aliases are expanded")

    def _mapping(self, event: Any, path: str, level: int) -> Node:
        self._refuse_tag(event, path, "map")
        fields: dict[str, Node] = {}
        keys: dict[str, Mark] = {}
        nodes, chars, depth = 1, 0, 0
        while not isinstance(inner := self._next(), MappingEndEvent):
            key = self._node(inner, path, level + 1)
            name = self._key(inner, key, path, keys)
            value = self._node(self._next(), joined(path, key.raw or ""), level + 1)
            nodes += key.nodes + value.nodes
            chars += key.chars + value.chars
            depth = max(depth, key.depth, value.depth)
            if name is not None:
                fields[name], keys[name] = value, key.at
        return Node(
            {name: node.value for name, node in fields.items()},
            _at(event),
            keys=keys,
            fields=fields,
            nodes=nodes,
            chars=chars,
            depth=depth + 1,
        )

    def _key(self, event: Any, key: Node, path: str, seen: Mapping[str, Mark]) -> str | None:
        """Return the text of a key. If it is invalid, report a fault and return None."""
        if key.value is BROKEN:
            return None
        if not isinstance(key.value, str):
            quoted = shown(key.raw) if key.raw is not None else None
            self._found.add(
                "E103",
                key.at,
                path,
                f"the key {shown(key.value)} is not text" + ("; quote it" if quoted else ""),
                quoted,
            )
            return None
        if key.value == "<<" and getattr(event, "implicit", (False,))[0]:
            self._found.add(
                "E103", key.at, joined(path, "<<"), "merge keys are not supported; write the fields out"
            )
            return None
        if key.value in seen:
            where = joined(path, key.value)
            first = seen[key.value].line
            self._found.add(
                "E002", key.at, where, f"{shown(key.value)} occurs twice; the first is on line {first}"
            )
            return None
        return key.value

    def _sequence(self, event: Any, path: str, level: int) -> Node:
        self._refuse_tag(event, path, "seq")
        items: list[Node] = []
        while not isinstance(inner := self._next(), SequenceEndEvent):
            items.append(self._node(inner, joined(path, str(len(items))), level + 1))
        return Node(
            [node.value for node in items],
            _at(event),
            items=items,
            nodes=1 + sum(node.nodes for node in items),
            chars=sum(node.chars for node in items),
            depth=1 + max((node.depth for node in items), default=0),
        )

    def _refuse_tag(self, event: Any, path: str, kind: str) -> None:
        if event.tag not in (None, "!", _TAG + kind):
            self._found.add("E103", _at(event), path, f"the tag {_tag(event)} is not supported; remove it")

    def _scalar(self, event: Any, path: str) -> Node:
        raw: str = event.value
        if _SURROGATE.search(raw):
            raise _Limit(_at(event), "not UTF-8: half of a surrogate pair")
        if event.tag is None and event.implicit[0]:
            value = _plain(raw)
        elif event.tag in (None, "!", _TAG + "str"):
            value = raw
        else:
            value = _tagged(event.tag, raw)
        if value is BROKEN:
            self._report_scalar(event, path)
        return Node(value, _at(event), raw, chars=len(raw))

    def _report_scalar(self, event: Any, path: str) -> None:
        raw, at = event.value, _at(event)
        if event.tag is not None:
            self._found.add("E103", at, path, f"the tag {_tag(event)} is not supported here; remove it")
        elif _NOT_FINITE.fullmatch(raw):
            self._found.add("E103", at, path, f"{raw} is not a number of JSON; quote it if it is text")
        else:
            self._found.add(
                "E104", at, path, f"{shown(raw)} is too large for a number; quote it if it is text"
            )


def joined(path: str, name: str) -> str:
    """Return the path of a field or an item, truncated so that thousands of faults stay small."""
    if len(path) > _MAX_PATH:
        return path
    name = name[:_MAX_NAME]
    return f"{path}.{name}" if path else name


def _at(event: Any) -> Mark:
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)


def _tag(event: Any) -> str:
    tag: str = event.tag
    return "!!" + tag.removeprefix(_TAG) if tag.startswith(_TAG) else tag


def _plain(raw: str) -> Any:
    """Return a plain scalar by the core schema of YAML 1.2. `BROKEN`: a number that cannot be represented."""
    if raw in _NULLS:
        return None
    if raw in _BOOLS:
        return _BOOLS[raw]
    if _NOT_FINITE.fullmatch(raw):
        return BROKEN
    if _INT.fullmatch(raw):
        if len(raw) > _MAX_DIGITS:
            return BROKEN
        # Base 0 refuses leading zeros, but the core schema reads such numbers as decimal.
        return int(raw, 0) if raw[:2] in ("0o", "0x") else int(raw)
    if _FLOAT.fullmatch(raw):
        number = float(raw)
        return BROKEN if number in (float("inf"), float("-inf")) else number
    return raw


def _tagged(tag: str, raw: str) -> Any:
    """Return a scalar with one of the core tags.

    `BROKEN`: the tag is another, or the value does not match.
    """
    value = _plain(raw)
    kind = tag.removeprefix(_TAG)
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wanted = {"null": type(None), "bool": bool, "int": int, "float": float}.get(kind)
    return value if wanted is not None and type(value) is wanted else BROKEN
