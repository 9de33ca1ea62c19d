"""Named SQL statements, each written once and rendered for PostgreSQL and for SQLite.

A file of statements looks like this:

    -- name: waiting_rows
    -- Rows of an execution that no worker has claimed.
    SELECT n FROM messages m /* INDEXED BY messages_by_state */
    WHERE m.execution = :execution AND m.state IN ({WAITING})
    AND m.lane = :lane                       -- if given
    AND m.id = ANY(:ids::uuid[]) ORDER BY n FOR NO KEY UPDATE

- `{WAITING}` is a constant of `playhead.backends.sql`; `{lower_case}` is a fragment (`-- fragment: NAME`) of
  a file before it in `FILES`.
- `-- if given` leaves a line out when the parameter in that line is None.
- `-- name: waiting_rows (sqlite)` is for one database. Without a text for the other, it does nothing there.
  A fragment may have a text for each, too.

The text is PostgreSQL's SQL. SQLite's follows from it by the rules in `_RULES`: arrays become `IN (…)` or
JSON, row locks, casts and `uuid_send` go, `ILIKE` becomes `LIKE`, and index hints in comments count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from importlib import resources
from itertools import chain
from typing import Any, Final
from uuid import UUID

from playhead.backends.sql import with_constants

FILES: Final = (
    *(
        "rows.sql",
        "causes.sql",
        "activity.sql",
        "configs.sql",
        "jobs.sql",
        "replays.sql",
        "canary.sql",
        "control.sql",
        "plans.sql",
        "reports.sql",
        "takeover.sql",
        "reuse.sql",
        "work.sql",
        "limits.sql",
        "upkeep.sql",
    ),
    *(
        "browse.sql",
        "selection.sql",
        "trace.sql",
        "outputs.sql",
        "code.sql",
        "prune.sql",
        "publications.sql",
        "outcomes.sql",
        "sinks.sql",
        "find.sql",
        "terms.sql",
        "access.sql",
        "broker.sql",
    ),
)

_BLOCK: Final = re.compile(r"^-- (name|fragment): (\w+)(?: \((postgresql|sqlite)\))?\n((?:--.*\n)*)", re.M)
_FRAGMENT: Final = re.compile(r"\{([a-z_]+)\}")
_PARAMETER: Final = re.compile(r"(?<![:\w]):([a-z_0-9]+)(?:::(\w+)(\[\])?)?")
_VALUES: Final = re.compile(r"VALUES \((.*?)\)(?= ON CONFLICT| RETURNING|$)")
_INTO: Final = re.compile(r"INSERT INTO (\w+) \(([\w, ]+)\) ")
_RULES: Final = re.compile(
    r"(?P<among>(?:= ANY|<> ALL)\((?P<array>:\w+::\w+\[\])\))"
    r"|SELECT \* FROM unnest\((?P<columns>[^)]*)\)"
    r"|ILIKE :(?P<like>\w+)"
    r"|(?P<parameter>(?<![:\w]):[a-z_0-9]+(?:::\w+(?:\[\])?)?)"
    r"|(?P<cast>::\w+(?:\[\])?)"
    r"|(?P<lock> FOR (?:UPDATE|SHARE|NO KEY UPDATE)(?: OF \w+)?(?: SKIP LOCKED)?)"
    r"|IS (?P<distinct>NOT )?DISTINCT FROM"
    r"|(?P<greatest>greatest\()"
    r"|uuid_send\((?P<id>[\w.]+)\)"
    r"|/\* (?P<hint>INDEXED BY \w+) \*/"
)
_SIZES: Final = (0, 1, 4, 16, 64, 256)
"""Lengths of `IN (…)`. There are few, so that SQLite prepares each text once; longer arrays are JSON."""
_SIZE_OF: Final = {n: next(size for size in _SIZES if size >= n) for n in range(_SIZES[-1] + 1)}
_ROWS: Final = (256, 32, 4, 1)
"""How many rows SQLite inserts by one statement."""

Values = Mapping[str, Any]
_Bind = Callable[[list[Any], Values], None]
"""Appends values to the bound ones of SQLite's text."""


class Statement:
    """One statement, and its text for each database, by which of its optional parameters are given."""

    def __init__(self, name: str, texts: Mapping[str, str]) -> None:
        self.name = name
        self.texts = texts
        self._lines = {
            dialect: [_parameter_of(line) for line in text.splitlines() if _is_optional(line)]
            for dialect, text in texts.items()
        }
        self._optional = any(self._lines.values())
        self._postgres: dict[frozenset[str], tuple[str, list[str]]] = {}
        self._sqlite: dict[Any, tuple[str, list[_Bind]]] = {}
        self._arrays: dict[frozenset[str], list[str]] = {}
        self._insert: str | None = None
        self._inserts: dict[int, str] = {}

    def _absent(self, dialect: str, values: Values) -> frozenset[str]:
        return frozenset([name for name in self._lines[dialect] if values[name] is None])

    def _text(self, dialect: str, absent: frozenset[str]) -> str:
        lines = self.texts[dialect].splitlines()
        kept = [line for line in lines if not (_is_optional(line) and _parameter_of(line) in absent)]
        return " ".join(" ".join(line.partition("--")[0].split()) for line in kept).strip()

    # -- PostgreSQL --------------------------------------------------------------------------------

    def postgres(self, values: Values) -> tuple[str, list[Any]]:
        """Return the text with `$1`, `$2` …, and the values in that order."""
        absent = self._absent("postgresql", values) if self._optional else _NONE
        form = self._postgres.get(absent)
        if form is None:
            names: list[str] = []
            text = _numbered(self._text("postgresql", absent), names)
            form = self._postgres[absent] = text, names
        return form[0], [values[name] for name in form[1]]

    def postgres_insert(self) -> str:
        """Return the text that inserts many rows from an array for each parameter, in their order."""
        if self._insert is None:
            head, row, tail = self._insert_parts("postgresql")
            names: list[str] = []
            arrays = ", ".join(f":{name}::{kind}[]" for name, kind, _ in _PARAMETER.findall(row))
            given = ", ".join(name for name, _, _ in _PARAMETER.findall(row))
            row = _PARAMETER.sub(r"g.\1", row)
            text = f"{head}SELECT {row} FROM unnest({arrays}) AS g ({given}){tail}"
            self._insert = _numbered(text, names)
        return self._insert

    @cached_property
    def copy_target(self) -> tuple[str, list[str]] | None:
        """The table and the columns, if this is an INSERT of given values that returns nothing."""
        head, row, tail = self._insert_parts("postgresql")
        found = _INTO.fullmatch(head)
        if not found or tail or _PARAMETER.sub("", row).strip(", "):
            return None
        return found[1], found[2].split(", ")

    def _insert_parts(self, dialect: str) -> tuple[str, str, str]:
        """Return the text before VALUES, the text of one row, and the text after VALUES."""
        text = self._text(dialect, _NONE)
        found = _VALUES.search(text)
        assert found, f"no VALUES in: {text}"
        return text[: found.start()], found[1], text[found.end() :]

    # -- SQLite ------------------------------------------------------------------------------------

    def sqlite(self, values: Values) -> tuple[str, list[Any]]:
        """Return the text with `?`, and the values in that order.

        The text is empty if there is nothing to do.
        """
        absent = self._absent("sqlite", values) if self._optional else _NONE
        arrays = self._arrays.get(absent)
        if arrays is None:
            found = [rule["array"] for rule in _RULES.finditer(self._text("sqlite", absent))]
            arrays = self._arrays[absent] = [name.partition("::")[0][1:] for name in found if name]
        key = (absent, *[_SIZE_OF.get(len(values[name])) for name in arrays]) if arrays else absent
        form = self._sqlite.get(key)
        if form is None:
            binds: list[_Bind] = []
            sizes = iter(_SIZE_OF.get(len(values[name])) for name in arrays)
            text = _RULES.sub(partial(_for_sqlite, binds, sizes), self._text("sqlite", absent))
            form = self._sqlite[key] = text, binds
        bound: list[Any] = []
        for bind in form[1]:
            bind(bound, values)
        return form[0], bound

    def sqlite_inserts(self, rows: Sequence[Sequence[Any]]) -> Iterable[tuple[str, list[Any]]]:
        """Return texts and values that insert many rows, hundreds per statement.

        `executemany` releases the interpreter lock for each row. It takes twice as long, and even longer next
        to a thread that computes.
        """
        at, count = 0, len(rows)
        for size in _ROWS:
            while count - at >= size:
                text = self._inserts.get(size)
                if text is None:
                    head, row, tail = self._insert_parts("sqlite")
                    marks = f"({_PARAMETER.sub('?', row)})"
                    text = self._inserts[size] = f"{head}VALUES {', '.join([marks] * size)}{tail}"
                yield text, list(chain.from_iterable(rows[at : at + size]))
                at += size


_NONE: Final[frozenset[str]] = frozenset()


class Statements:
    """Statements as attributes."""

    def __init__(self, statements: Mapping[str, Statement]) -> None:
        self.__dict__.update(statements)

    def __getattr__(self, name: str) -> Statement:
        raise AttributeError(f"no statement is named {name}")

    def __iter__(self) -> Iterator[Statement]:
        return iter(self.__dict__.values())


def _blocks(text: str) -> Iterable[tuple[str, str, str | None, str]]:
    heads = list(_BLOCK.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    for head, end in zip(heads, ends, strict=True):
        yield head[1], head[2], head[3], text[head.end() : end].strip()


# -- parameters ------------------------------------------------------------------------------------


def _is_optional(line: str) -> bool:
    return line.rstrip().endswith("-- if given")


def _parameter_of(line: str) -> str:
    found = _PARAMETER.search(line)
    assert found, f"no parameter in: {line}"
    return found[1]


def _numbered(text: str, names: list[str]) -> str:
    def number(found: re.Match[str]) -> str:
        name = found[1]
        if name not in names:
            names.append(name)
        cast = f"::{found[2]}{found[3] or ''}" if found[2] else ""
        return f"${names.index(name) + 1}{cast}"

    return _PARAMETER.sub(number, text)


# -- SQLite's text ---------------------------------------------------------------------------------


def _for_sqlite(binds: list[_Bind], sizes: Any, found: re.Match[str]) -> str:
    if found["among"]:
        ((name, kind, _),) = _PARAMETER.findall(found["array"])
        size = next(sizes)
        word = "IN" if found["among"].startswith("=") else "NOT IN"
        if size is None:
            binds.append(_array(name, kind))
            return f"{word} (SELECT {_decoded('value', kind)} FROM json_each(?))"
        binds.append(_among(name, kind, size))
        return f"{word} ({', '.join('?' * size)})"
    if found["columns"]:
        columns = _PARAMETER.findall(found["columns"])
        binds.append(_columns([(c[0], c[1]) for c in columns]))
        values = (_decoded(f"json_extract(value, '$[{n}]')", c[1]) for n, c in enumerate(columns))
        return f"SELECT {', '.join(values)} FROM json_each(?)"
    if found["like"]:  # SQLite's LIKE does not tell the case of ASCII letters, and has no escape of its own
        binds.append(_value(found["like"], "text"))
        return r"LIKE ? ESCAPE '\'"
    if found["parameter"]:
        ((name, kind, array),) = _PARAMETER.findall(found["parameter"])
        binds.append(_array(name, kind) if array else _value(name, kind))
        return "?"
    if found["greatest"]:
        return "max("
    if found["id"]:
        return found["id"]
    if found["hint"]:
        return found["hint"]
    if found["lock"] or found["cast"]:
        return ""
    return "IS" if found["distinct"] else "IS NOT"  # DISTINCT FROM


def _decoded(value: str, kind: str) -> str:
    return f"unhex({value})" if kind in ("uuid", "bytea") else value


def _value(name: str, kind: str) -> _Bind:
    if kind == "uuid":
        return lambda bound, values: bound.append(raw(values[name]))
    return lambda bound, values: bound.append(values[name])


def _among(name: str, kind: str, size: int) -> _Bind:
    def among(bound: list[Any], values: Values) -> None:
        given = values[name]
        if kind == "uuid" and given and not isinstance(given[0], bytes):
            given = [raw(one) for one in given]
        bound += given
        if len(given) < size:
            bound += [given[-1]] * (size - len(given))  # repeats change nothing in `IN (…)`

    return among


def _array(name: str, kind: str) -> _Bind:
    return lambda bound, values: bound.append(json.dumps(_encoded(values[name], kind)))


def _columns(columns: Sequence[tuple[str, str]]) -> _Bind:
    def rows(bound: list[Any], values: Values) -> None:
        given = [_encoded(values[name], kind) for name, kind in columns]
        bound.append(json.dumps(list(zip(*given, strict=True))))

    return rows


def _encoded(values: Iterable[Any], kind: str) -> list[Any]:
    encode: Callable[[Any], Any] | None = {"uuid": lambda v: raw(v).hex(), "bytea": bytes.hex}.get(kind)
    return [encode(value) for value in values] if encode else list(values)


def raw(value: Any) -> Any:
    """The 16 bytes of an id, as SQLite stores it."""
    if isinstance(value, UUID):
        return value.bytes
    return bytes.fromhex(value.replace("-", "")) if isinstance(value, str) else value


def _load() -> Statements:
    dialects = ("postgresql", "sqlite")
    fragments: dict[str, dict[str, str]] = {dialect: {} for dialect in dialects}
    texts: dict[str, dict[str, str]] = {}
    for file in FILES:
        for kind, name, only, body in _blocks((resources.files(__package__) / file).read_text("utf-8")):
            given = texts.setdefault(name, dict.fromkeys(dialects, "")) if kind == "name" else {}
            for dialect in [only] if only else dialects:
                text = _FRAGMENT.sub(partial(_fragment, fragments[dialect]), with_constants(body))
                if kind == "fragment":
                    fragments[dialect][name] = text
                else:
                    given[dialect] = text
    return Statements({name: Statement(name, both) for name, both in texts.items()})


def _fragment(fragments: Mapping[str, str], found: re.Match[str]) -> str:
    return fragments[found[1]]


SQL: Final = _load()
"""All statements."""
