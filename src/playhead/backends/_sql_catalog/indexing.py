"""Filling the search index of Find.

The index has each distinct path once, because a replay stores the same paths again. It is filled page by
page, from the position in `search_index`, by the process that holds the reconciler's lease and by those that
search. A page is one transaction: its terms, their uses, and the new position. So a `kill -9` loses nothing,
and the statements of workers are the same as without the index.

Nothing is removed with an object that is pruned or whose record is deleted. What the index names is read when
it is shown, and left out if it does not exist.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID

from playhead.backends._sql_catalog.lanes import as_uuid, storable
from playhead.backends._sql_catalog.part import Part
from playhead.backends._sql_catalog.trigrams import marked
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL
from playhead.ports.catalog.terms import TERM_KINDS, TermIndex

_PATH: Final = TERM_KINDS.index("path")
_ATTRIBUTE: Final = TERM_KINDS.index("attribute")
_REASON: Final = TERM_KINDS.index("reason")
_LONGEST: Final = 500
"""Characters of an attribute or a reason. PostgreSQL does not index longer texts."""
_LONGEST_NAME: Final = 100
_ID: Final = 36
_OPEN_SECONDS: Final = 60.0
"""A transaction of PostgreSQL does not take longer: its statements and its pauses have limits."""

_CLEAR_SECONDS: Final = 600.0


class _State(NamedTuple):
    """The row of the index, the last numbers, and the time of the catalog."""

    outputs: int
    executions: int
    safe_outputs: int
    safe_executions: int
    noted_outputs: int
    noted_executions: int
    noted_at: float
    trigrams: bool | None
    last_output: int
    last_execution: int
    now: float


class _Entry(NamedTuple):
    """A term in an execution."""

    kind: int
    text: str
    execution: int


class _Page(NamedTuple):
    """What is indexed next: from the positions `old` to `new`, both of outputs and of executions.

    Attributes:
        entries: each with its newest output with an attribute.
        is_last: nothing is left after it.
    """

    old: tuple[int, int]
    new: tuple[int, int]
    entries: dict[_Entry, int | None]
    has_trigrams: bool
    is_last: bool


class IndexingPart(Part):
    async def index_terms(self, *, limit: int = 1000) -> bool:
        row = await self._db.row(SQL.search_index)
        state = _State._make(row or ())
        if state.trigrams is None:
            await self._db.write(_create_trigrams)
        page = await self._db.read(partial(_page, limit=limit))
        if page is None:
            await self._note(state)
            return False
        return await self._db.write(lambda db: _store(db, page)) and not page.is_last

    async def _note(self, state: _State) -> None:
        """Note the last numbers, if they are newer and the noted ones are old enough to be safe."""
        are_known = (state.safe_outputs, state.safe_executions) == (state.last_output, state.last_execution)
        if not are_known and state.now >= state.noted_at + _OPEN_SECONDS:
            await self._db.run(
                SQL.note_ends,
                outputs=state.last_output,
                executions=state.last_execution,
                noted_at=state.noted_at,
            )

    async def term_index(self) -> TermIndex:
        state = _State._make(await self._db.row(SQL.search_index) or ())
        return TermIndex(state.outputs, max(state.outputs, state.last_output), bool(state.trigrams))

    async def clear_terms(self) -> None:
        async def clear(db: Session) -> None:
            await db.run(SQL.empty_search_index)
            await db.run(SQL.empty_term_uses)
            await db.run(SQL.empty_terms)
            await db.run(SQL.drop_trigrams)

        await self._db.write(clear, seconds=_CLEAR_SECONDS)


async def _create_trigrams(db: Session) -> None:
    if await db.value(SQL.can_have_trigrams):
        await db.run(SQL.create_trigrams)
    await db.run(SQL.set_trigrams, trigrams=bool(await db.value(SQL.has_trigrams)))


async def _page(db: Session, *, limit: int) -> _Page | None:
    """Return the next page, or None if nothing is left that is surely committed."""
    state = _State._make(await db.row(SQL.search_index) or ())
    outputs, executions = state.outputs, state.executions
    last_output, last_execution = state.last_output, state.last_execution
    if db.row_locks:
        last_output, last_execution = state.safe_outputs, state.safe_executions
    if last_output <= outputs and last_execution <= executions:
        return None
    found = await db.rows(SQL.outputs_to_index, after=outputs, last=last_output, limit=limit)
    started = await db.rows(SQL.reasons_to_index, after=executions, last=last_execution, limit=limit)
    owners = list({UUID(key[:_ID]) for _, key, _ in found})
    numbers = {as_uuid(id): n for id, n in await db.rows(SQL.execution_numbers, ids=owners)}
    entries: dict[_Entry, int | None] = {}
    for entry, output in _entries(found, numbers):
        entries[entry] = output
    entries |= {_Entry(_REASON, reason, n): None for n, reason in _reasons(started)}
    new = (
        found[-1][0] if len(found) == limit else max(last_output, outputs),
        started[-1][0] if len(started) == limit else max(last_execution, executions),
    )
    is_last = new == (last_output, last_execution)
    return _Page((outputs, executions), new, entries, bool(state.trigrams), is_last)


def _entries(found: Sequence[Row], numbers: dict[UUID, int]) -> Iterator[tuple[_Entry, int | None]]:
    """Yield the paths and the attributes of outputs."""
    by_text: dict[str, int | None] = {}
    for n, key, attributes in found:
        owner = key[:_ID]
        if owner not in by_text:
            by_text[owner] = numbers.get(UUID(owner))
        execution = by_text[owner]
        if execution is None:
            continue
        yield _Entry(_PATH, key[_ID + 1 :], execution), None
        if attributes != "{}":
            for name, value in json.loads(attributes).items():
                yield _Entry(_ATTRIBUTE, _attribute(name, value), execution), n


def _attribute(name: str, value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return (storable(f"{name}={text}") or "")[:_LONGEST]


def _reasons(started: Sequence[Row]) -> Iterator[tuple[int, str]]:
    """Yield the reasons of executions."""
    for n, request in started:
        reason = json.loads(request).get("reason") if request else None
        if reason:
            yield n, (storable(reason) or "")[:_LONGEST]


def _name(kind: int, text: str) -> str | None:
    """Return the file name of a path, or the value of an attribute."""
    if kind == _PATH:
        return text.rpartition("/")[2]
    return text.partition("=")[2][:_LONGEST_NAME] if kind == _ATTRIBUTE else None


async def _store(db: Session, page: _Page) -> bool:
    """Store a page. False if another process has stored it."""
    old, new = page.old, page.new
    if not await db.run(
        SQL.move_search_index, outputs=new[0], executions=new[1], old_outputs=old[0], old_executions=old[1]
    ):
        return False
    numbers: dict[tuple[int, str], int] = {}
    for kind in range(len(TERM_KINDS)):
        texts = list({entry.text: None for entry in page.entries if entry.kind == kind})
        if texts:
            found = await _terms(db, kind, texts, has_trigrams=page.has_trigrams)
            numbers |= {(kind, text): n for text, n in found.items()}
    uses = [(numbers[kind, text], execution, n) for (kind, text, execution), n in page.entries.items()]
    await db.insert(SQL.insert_term_uses, uses)
    return True


async def _terms(db: Session, kind: int, texts: Sequence[str], *, has_trigrams: bool) -> dict[str, int]:
    """Return the numbers of terms, and insert those that are new."""
    known = {row[0]: int(row[1]) for row in await db.rows(SQL.terms_known, kind=kind, texts=texts)}
    rows = [(kind, text, _name(kind, text)) for text in texts if text not in known]
    if rows:
        added = {text: n for n, text in await db.insert(SQL.insert_terms, rows)}
        if has_trigrams and not db.row_locks:  # an index of PostgreSQL has them already
            marks = [(n, marked(text, is_path=kind == _PATH)) for text, n in added.items()]
            await db.insert(SQL.insert_trigrams, marks)
        known |= added
    return known
