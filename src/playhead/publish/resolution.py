"""Resolve a draft: start with the content of its base publication, then apply its parts, one after the other.

If every message of a unit has a result, or a later part of the draft has one for it, the unit replaces the
earlier results. Otherwise they are kept, or left out.

Order of the writes of a page: first what is added, from the top down, then what is closed, from the bottom
up. So if the process is killed between two writes, the next one finds all that is still to be closed below
the entry at the top.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, NamedTuple, cast

from playhead.model import NoteKind, UnitCounts
from playhead.ports.catalog.drafts import Draft, DraftPart, Drafts, Edge, Note
from playhead.ports.catalog.entries import Entry, Node, Root, Slot
from playhead.ports.catalog.publications import SINK, Place
from playhead.publish.content import PAGE, Content
from playhead.publish.refusals import check_complete, check_failed, check_part, check_size, path_conflict
from playhead.publish.units import Outcome, Unit, Units, received

_MOST_ROOTS: Final = 500
_CHANGES: Final = ("total", "added", "changed", "removed")
_DIGEST: Final = 1 << 256
_Roots = tuple[list[Root], list[Node]]
"""A page of `Drafts.units`."""


class Resolved(NamedTuple):
    """The content of a draft, compared with its base publication.

    Attributes:
        counts: by stage, and by `:ROUTE` for results without objects: total, added, changed, removed.
        digest: in hex.
    """

    counts: dict[str, dict[str, int]]
    units: UnitCounts
    digest: str


@dataclass
class _Cursor:
    """How far a draft is resolved.

    Attributes:
        part: place of the part.
        step: `units`, then `inputs` (of a base), then `done` after the last part.
        after: ordinal of the last unit; `stage` and `path`: of the last input.
        units: what happened to units, over all parts; `of_part`: of this part.
        first: an example of each of them, in this part.
    """

    part: int = 0
    step: str = "units"
    after: int = 0
    stage: str = ""
    path: str = ""
    units: Counter[str] = field(default_factory=Counter)
    of_part: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def encode(self) -> str:
        at = self.part, self.step, self.after, self.stage, self.path
        return json.dumps([*at, self.units, self.of_part, self.first])

    @classmethod
    def decode(cls, text: str) -> _Cursor:
        if not text:
            return cls()
        part, step, after, stage, path, units, of_part, first = json.loads(text)
        return cls(part, step, after, stage, path, Counter(units), Counter(of_part), first)


class Resolution:
    """Resolves one draft.

    Args:
        catalog: has the messages of the parts.
        content: has the entries of the draft.
        keep: is awaited between two steps, to extend the lease.
    """

    def __init__(
        self, catalog: Drafts, draft: Draft, content: Content, keep: Callable[[], Awaitable[None]]
    ) -> None:
        self._catalog = catalog
        self._draft = draft
        self._content = content
        self._units = Units(catalog, draft, content)
        self._keep = keep
        self._cursor = _Cursor.decode(draft.cursor)
        self._ahead: tuple[int, _Roots] | None = None

    async def run(self) -> Resolved:
        """Resolve the draft from where the last process stopped.

        Raises `Conflict` with the code of a refusal, and `DraftLost`.
        """
        cursor = self._cursor
        while cursor.part < len(self._draft.parts):
            part = self._draft.parts[cursor.part]
            if cursor.step == "units":
                while await self._page(part):
                    await self._keep()
                check_part(self._draft, part, cursor.of_part, cursor.first)
                cursor.step = "inputs"
            # Before the first part of a first publication, there are no inputs to remove.
            if part.role == "base" and (self._draft.base or cursor.part):
                while await self._remove_inputs(part):
                    await self._keep()
            if places := await self._content.duplicates():
                raise path_conflict(places[0], await self._content.at(places[:1]))
            await self._next_part()
        check_failed(self._draft, cursor.units)
        if self._draft.has_other_edges:
            await self._fit_edges()
        return await self._count()

    async def _next_part(self) -> None:
        cursor = self._cursor
        cursor.part, cursor.step, cursor.after = cursor.part + 1, "units", 0
        cursor.stage, cursor.path = "", ""
        cursor.of_part, cursor.first = Counter(), {}
        self._ahead = None
        await self._write((), (), ())

    async def _write(self, close: Sequence[Entry], add: Sequence[Entry], notes: Sequence[Note]) -> bool:
        return await self._content.write(close=close, add=add, notes=notes, cursor=self._cursor.encode())

    # -- the units of a part -----------------------------------------------------------------------

    async def _page(self, part: DraftPart) -> bool:
        """Apply the next units of a part; False at the end."""
        cursor = self._cursor
        ahead, self._ahead = self._ahead, None  # used once: a page whose write fails is read again
        after, (roots, nodes) = ahead or (None, ([], []))
        if after != cursor.after:
            roots, nodes = await self._read(part, cursor.after)
        if not roots:
            return False
        close: list[Entry] = []
        add: list[Entry] = []
        notes: list[Note] = []
        counts = Counter[str]()
        for unit in await self._units.of(cursor.part, roots, nodes):
            outcome = self._decide(unit)
            counts[outcome] += 1
            self._cursor.first.setdefault(outcome, unit.root.node.slot.path)
            if outcome not in ("good", "covered"):
                notes.append(_note(cast("NoteKind", outcome), part, unit))
            if outcome == "left_out" and self._draft.on_failure == "leave_out":
                close += reversed(unit.existing)
            elif outcome == "good":
                if not unit.existing:
                    add += unit.wanted
                    continue
                wanted = {one.identity for one in unit.wanted}
                there = {one.identity for one in unit.existing}
                add += [one for one in unit.wanted if one.identity not in there]
                close += [one for one in reversed(unit.existing) if one.identity not in wanted]
        return await self._apply(part, add, close, notes, counts, roots[-1].ordinal)

    async def _read(self, part: DraftPart, after: int) -> _Roots:
        limit = max(1, min(_MOST_ROOTS, int(PAGE / part.size)))
        return await self._catalog.units(self._draft, part, after=after, limit=limit)

    async def _apply(
        self,
        part: DraftPart,
        add: Sequence[Entry],
        close: Sequence[Entry],
        notes: Sequence[Note],
        counts: Counter[str],
        after: int,
    ) -> bool:
        """Write a page; True also if an object was pruned meanwhile, and the page has to be read again."""
        for start in range(0, max(len(add) - PAGE, 0), PAGE):
            if not await self._write((), add[start : start + PAGE], ()):
                return True
        add = add[(max(len(add) - 1, 0) // PAGE) * PAGE :]
        while len(add) + len(close) > PAGE:
            room = PAGE - len(add)
            if not await self._write(close[:room], add, ()):
                return True
            add, close = (), close[room:]
        before = self._cursor.after, self._cursor.units.copy(), self._cursor.of_part.copy()
        self._cursor.after = after
        self._cursor.units += counts
        self._cursor.of_part += counts
        # The messages of the parts do not change while the draft is open, so the next page is read meanwhile.
        written, ahead = await asyncio.gather(self._write(close, add, notes), self._read(part, after))
        self._ahead = after, ahead
        if not written:
            self._cursor.after, self._cursor.units, self._cursor.of_part = before
        return True

    def _decide(self, unit: Unit) -> Outcome:
        if unit.outcome is not None:
            return unit.outcome
        if unit.failed is None:
            return "good"
        keeps = self._draft.on_failure == "keep_last" and unit.existing
        return "kept" if keeps else "left_out"

    # -- after the units of a part -----------------------------------------------------------------

    async def _remove_inputs(self, part: DraftPart) -> bool:
        """Remove inputs that the base does not have, with everything below them; False at the end."""
        # The base before may have another stage as inputs.
        stage = None if self._draft.has_other_edges else part.stage
        page = await self._content.scan(stage, Place(stage or self._cursor.stage, self._cursor.path))
        if not page:
            return False
        inputs = {Place(*one[:2]): one for one in page if one.message is None}
        listed = await self._catalog.listed(part, list(inputs))
        gone = [one for place, one in inputs.items() if place not in listed]
        below = await self._units.below([(one.above, None) for one in gone])
        close = [entry for one in gone for entry in (*reversed(below[one.above, None]), one)]
        while len(close) > PAGE:
            await self._write(close[:PAGE], (), ())
            close = close[PAGE:]
        self._cursor.stage, self._cursor.path = page[-1].stage, page[-1].path
        await self._write(close, (), ())
        return True

    # -- another config version --------------------------------------------------------------------

    async def _fit_edges(self) -> None:
        """Remove results of routes that the config version does not have, and find those that are missing.

        Raises `Conflict` (`publication_incomplete`).
        """
        after = Place("", "")
        while page := await self._content.scan(None, after):
            after = Place(*page[-1][:2])
            strange = [
                one for one in page if one.slot and (one.slot.stage, one.slot.route) not in self._draft.edges
            ]
            below = await self._units.below([(one.above, None) for one in strange if one.message is not None])
            close = {one.identity: one for top in strange for one in (*reversed(below[top.above, None]), top)}
            await self._write(list(close.values()), (), ())
            await self._keep()
        if "incomplete" not in self._draft.request.allow:
            await self._check_complete()

    async def _check_complete(self) -> None:
        missing, every = Counter[Edge](), Counter[Edge]()
        after = Place("", "")
        while page := await self._content.scan(None, after):
            after = Place(*page[-1][:2])
            objects = [one for one in page if not one.stage.startswith(SINK)]
            there = {(one.up, one.slot) for one in await self._content.below([one.above for one in objects])}
            for one in objects:
                for edge in self._draft.edges:
                    if edge.stage == one.stage:
                        every[edge] += 1
                        missing[edge] += (one.above, Slot(edge.route, one.stage, one.path)) not in there
            await self._keep()
        check_complete(self._draft, missing, every)

    # -- the end -----------------------------------------------------------------------------------

    async def _count(self) -> Resolved:
        """Compare the content with that of the base publication.

        Raises `Conflict`: `publication_shrinks`, `publication_empty`.
        """
        draft = self._draft
        counts: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_CHANGES, 0))
        for stage, total in draft.counts.items():
            counts[stage]["total"] = total
        digest = draft.digest
        async for one in self._content.differences():
            count = counts[one.place.stage]
            if one.before is None:
                count["added"] += 1
                count["total"] += 1
            elif one.after is None:
                count["removed"] += 1
                count["total"] -= 1
            elif one.before != one.after or not one.after:  # rows of a sink have no bytes to compare
                count["changed"] += 1
            for sign, fingerprint in ((-1, one.before), (1, one.after)):
                if fingerprint:
                    digest += sign * _digest(one.place, fingerprint)
        check_size(draft, counts)
        return Resolved(
            dict(sorted(counts.items(), key=lambda one: (one[0].startswith(SINK), one[0]))),
            UnitCounts(**self._cursor.units),
            f"{digest % _DIGEST:064x}",
        )


def _note(kind: NoteKind, part: DraftPart, unit: Unit) -> Note:
    node = unit.failed or unit.root.node
    detail = f"{node.slot.route}: {node.detail}" if unit.failed else None
    return Note(kind, received(unit.root), part.execution, node.n, detail)


def _digest(place: Place, fingerprint: bytes) -> int:
    line = f"{place.stage}/{place.path} {fingerprint.hex()}"
    return int.from_bytes(sha256(line.encode()).digest())
