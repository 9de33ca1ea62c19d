"""Resolve a draft: start with the content of its base publication, then apply its parts, one after the other.

A *unit* is what is replaced or kept as a whole: in a run each input, in a replay each replayed object, with
everything below it. If every message of a unit has a result, or a later part of the draft has one for it, the
unit replaces the earlier results. Otherwise they are kept, or left out.

The content is found by `up`, which names the result above, and not by path: within a draft, a path may move
from one document to another.

Order of the writes of a page: first what is added, from the top down, then what is closed, from the bottom
up. So if the process is killed between two writes, the next one finds all that is still to be closed below
the entry at the top.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Literal, NamedTuple, cast

from playhead.errors import Conflict
from playhead.model import NoteKind, UnitCounts
from playhead.ports.catalog.publications import (
    SINK,
    Draft,
    DraftPart,
    Entry,
    Node,
    Note,
    Place,
    Publications,
    Root,
    Slot,
)
from playhead.publish.content import PAGE, Content

_Top = tuple[int, Slot | None]
"""`Entry.above` of a result, and a slot below it; None for all of them."""

_MOST_ROOTS: Final = 500
_CHANGES: Final = ("total", "added", "changed", "removed")
_DIGEST: Final = 1 << 256
_Outcome = Literal["good", "covered", "kept", "left_out", "superseded", "removed", "older"]


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
        after: ordinal of the last unit, or path of the last input.
        units: what happened to units, over all parts; `of_part`: of this part.
        first: an example of each of them, in this part.
    """

    part: int = 0
    step: str = "units"
    after: int = 0
    path: str = ""
    units: Counter[str] = field(default_factory=Counter)
    of_part: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def encode(self) -> str:
        return json.dumps([self.part, self.step, self.after, self.path, self.units, self.of_part, self.first])

    @classmethod
    def decode(cls, text: str) -> _Cursor:
        if not text:
            return cls()
        part, step, after, path, units, of_part, first = json.loads(text)
        return cls(part, step, after, path, Counter(units), Counter(of_part), first)


class _Unit(NamedTuple):
    """A unit with its decision.

    Attributes:
        existing: open entries at and below its slot, from the top down.
        wanted: the entries that it would have, from the top down.
        failed: the first message without a result; None: the unit is good.
        outcome: of a unit that is not applied, why.
    """

    root: Root
    existing: Sequence[Entry] = ()
    wanted: Sequence[Entry] = ()
    failed: Node | None = None
    outcome: _Outcome | None = None


class Resolution:
    """Resolves one draft.

    Args:
        catalog: has the messages of the parts.
        content: has the entries of the draft.
        keep: is awaited between two steps, to extend the lease.
        undone: whether the open entries are those of the base publication; a preview has nothing to undo.
    """

    def __init__(
        self, catalog: Publications, draft: Draft, content: Content, keep: Callable[[], Awaitable[None]]
    ) -> None:
        self._catalog = catalog
        self._draft = draft
        self._content = content
        self._keep = keep
        self._cursor = _Cursor.decode(draft.cursor)

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
                self._check_part(part)
                cursor.step = "inputs"
            if part.role == "base":
                while await self._remove_inputs(part):
                    await self._keep()
            if places := await self._content.duplicates():
                raise await self._conflict(places[0])
            await self._next_part()
        self._check_failed()
        if self._draft.has_other_edges:
            await self._fit_edges()
        return await self._count()

    def _check_failed(self) -> None:
        """Raise `Conflict` (`units_failed`) if too many units failed for an automatic publication."""
        units, most = self._cursor.units, self._draft.max_failed
        failed, every = units["kept"] + units["left_out"], sum(units.values())
        if most is not None and failed > (most * every if most < 1 else most):
            raise Conflict(
                "units_failed",
                f"{failed:,} of {every:,} documents failed, and max_failed is {most:g}. To publish the "
                f"others: playhead publish {self._draft.name} {self._draft.parts[0].id}",
            )

    async def _next_part(self) -> None:
        cursor = self._cursor
        cursor.part, cursor.step, cursor.after, cursor.path = cursor.part + 1, "units", 0, ""
        cursor.of_part, cursor.first = Counter(), {}
        await self._write((), (), ())

    async def _write(self, close: Sequence[Entry], add: Sequence[Entry], notes: Sequence[Note]) -> bool:
        return await self._content.write(close=close, add=add, notes=notes, cursor=self._cursor.encode())

    # -- the units of a part -----------------------------------------------------------------------

    async def _page(self, part: DraftPart) -> bool:
        """Apply the next units of a part; False at the end."""
        cursor = self._cursor
        limit = max(1, min(_MOST_ROOTS, int(PAGE / part.size)))
        roots, nodes = await self._catalog.units(self._draft, part, after=cursor.after, limit=limit)
        if not roots:
            return False
        trees = _Trees(nodes)
        later = cursor.part + 1
        covered = await self._covered(nodes, later)
        if part.is_run:
            units = await self._units_of_run(part, roots, trees, covered, later)
        else:
            units = await self._units_of_replay(part, roots, trees, covered)
        close: list[Entry] = []
        add: list[Entry] = []
        notes: list[Note] = []
        counts = Counter[str]()
        for unit in units:
            outcome = self._decide(unit)
            counts[outcome] += 1
            self._cursor.first.setdefault(outcome, unit.root.node.slot.path)
            if outcome not in ("good", "covered"):
                notes.append(_note(cast("NoteKind", outcome), part, unit))
            if outcome == "left_out" and self._draft.on_failure == "leave_out":
                close += reversed(unit.existing)
            elif outcome == "good":
                wanted = {one.identity for one in unit.wanted}
                there = {one.identity for one in unit.existing}
                add += [one for one in unit.wanted if one.identity not in there]
                close += [one for one in reversed(unit.existing) if one.identity not in wanted]
        return await self._apply(add, close, notes, counts, roots[-1].ordinal)

    async def _apply(
        self,
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
        if not await self._write(close, add, notes):
            self._cursor.after, self._cursor.units, self._cursor.of_part = before
        return True

    def _decide(self, unit: _Unit) -> _Outcome:
        if unit.outcome is not None:
            return unit.outcome
        if unit.failed is None:
            return "good"
        keeps = self._draft.on_failure == "keep_last" and unit.existing
        return "kept" if keeps else "left_out"

    async def _units_of_run(
        self, part: DraftPart, roots: Sequence[Root], trees: _Trees, covered: set[int], later: int
    ) -> list[_Unit]:
        places = {root.node.n: Place(part.stage, root.node.slot.path) for root in roots}
        rerun = await self._rerun(list(places.values()), later)
        there = _by_place(await self._content.at(list(places.values())))
        below = await self._below([(top.above, None) for top in there.values()])
        units = []
        for root in roots:
            place = places[root.node.n]
            if place in rerun:
                units.append(_Unit(root, outcome="covered"))
                continue
            top = there.get(place)
            existing = [top, *below[top.above, None]] if top else []
            if root.object is None:
                units.append(_Unit(root, existing, failed=root.node))
                continue
            _, output, fingerprint = root.object
            if top is None or top.fingerprint != fingerprint:
                top = Entry(*place, None, None, None, part.execution, output, fingerprint, None)
            wanted = [top, *trees.entries(root.node, top.above, covered)]
            units.append(_Unit(root, existing, wanted, trees.failed(root.node, covered)))
        return units

    async def _units_of_replay(
        self, part: DraftPart, roots: Sequence[Root], trees: _Trees, covered: set[int]
    ) -> list[_Unit]:
        chosen = [root for root in roots if not root.node.is_cancelled]
        there = _by_place(await self._content.at([_received(root) for root in chosen]))
        tops = {
            root.node.n: (there[_received(root)].above, root.node.slot)
            for root in chosen
            if _received(root) in there
        }
        below = await self._below(list(tops.values()))
        units = []
        for root in chosen:
            source = there.get(_received(root))
            if root.node.n in covered:
                units.append(_Unit(root, outcome="covered"))
            elif source is None:
                units.append(_Unit(root, outcome="removed"))
            elif root.object is None or source.fingerprint != root.object.fingerprint:
                units.append(_Unit(root, outcome="superseded"))
            else:
                existing = below[tops[root.node.n]]
                newest = max((one.message or 0 for one in existing if one.slot == root.node.slot), default=0)
                if newest > root.node.message and "older" not in self._draft.request.allow:
                    units.append(_Unit(root, outcome="older"))
                    continue
                wanted = trees.entries(root.node, source.above, covered)
                units.append(_Unit(root, existing, wanted, trees.failed(root.node, covered)))
        return units

    async def _below(self, tops: Sequence[_Top]) -> dict[_Top, list[Entry]]:
        """Return the entries below results, from the top down; with a slot, only those at and below it."""
        found: dict[_Top, list[Entry]] = {top: [] for top in tops}
        under: dict[int, _Top] = {}
        level = await self._content.below(list({up for up, _ in tops}))
        for entry in level:
            assert entry.up is not None
            for top in ((entry.up, entry.slot), (entry.up, None)):
                if top in found:
                    found[top].append(entry)
                    under[entry.above] = top
        while under:
            level = await self._content.below(list(under))
            following: dict[int, _Top] = {}
            for entry in level:
                top = under[cast("int", entry.up)]
                found[top].append(entry)
                following[entry.above] = top
            under = following
        return found

    # -- what later parts have ---------------------------------------------------------------------

    async def _covered(self, nodes: Sequence[Node], later: int) -> set[int]:
        """Return the messages at whose slot a later replay has a good unit for the same object."""
        found: set[int] = set()
        for k, part in enumerate(self._draft.parts[later:], later):
            if part.is_run:
                continue
            there = [node for node in nodes if node.slot.route == part.route]
            good = await self._good_at(k, [Place(*node.slot[1:]) for node in there]) if there else {}
            same = [node for node in there if Place(*node.slot[1:]) in good]
            prints = await self._catalog.fingerprints([node.key for node in same]) if same else {}
            found |= {node.n for node in same if prints.get(node.key) == good[Place(*node.slot[1:])]}
        return found

    async def _rerun(self, places: Sequence[Place], later: int) -> set[Place]:
        """Return the inputs for which a later run of the draft has a good unit."""
        found: set[Place] = set()
        for k, part in enumerate(self._draft.parts[later:], later):
            if part.is_run:
                found |= (await self._good_at(k, places)).keys()
        return found

    async def _good_at(self, k: int, places: Sequence[Place]) -> dict[Place, bytes]:
        """Return the objects of good units of a part, with their fingerprints."""
        roots, nodes = await self._catalog.roots_at(self._draft, self._draft.parts[k], places)
        trees, covered = _Trees(nodes), await self._covered(nodes, k + 1)
        return {
            _received(root): root.object.fingerprint
            for root in roots
            if root.object and not root.node.is_cancelled and trees.failed(root.node, covered) is None
        }

    # -- after the units of a part -----------------------------------------------------------------

    def _check_part(self, part: DraftPart) -> None:
        """Raise `Conflict` if some units of a part must not be left out."""
        count, first, name = self._cursor.of_part, self._cursor.first, self._draft.name
        every, what = sum(count.values()), f"{'run' if part.is_run else 'replay'} {part.id}"
        if every and count["removed"] == every:
            raise Conflict(
                "source_not_published",
                f"no object of {what} is published: its source is execution {part.source}. Publish that "
                f"first, or both: playhead publish {name} {part.source} {part.id}",
            )
        if count["superseded"] and not self._draft.request.skip_superseded:
            others = every - count["superseded"] - count["removed"]
            raise Conflict(
                "source_superseded",
                f"{count['superseded']:,} of {every:,} objects of {what} are not published: their documents "
                f"have changed since, first {first['superseded']}. To publish the other "
                f"{others:,}: --skip-superseded. To process what is published: playhead "
                f"replay current:{name} {part.stage} {part.route}",
            )
        if count["older"]:
            raise Conflict(
                "older_results",
                f"{what} is older than {count['older']:,} results that it would replace, first "
                f"{first['older']}. To publish it all the same: --allow-older",
            )
        if (failed := count["kept"] + count["left_out"]) and self._draft.on_failure == "refuse":
            raise Conflict(
                "units_failed",
                f"{failed:,} of {every:,} documents failed and on_failure is refuse, first "
                f"{first.get('kept') or first['left_out']}. List: playhead publications notes "
                f"{name}@{self._draft.n}",
            )

    async def _remove_inputs(self, part: DraftPart) -> bool:
        """Remove inputs that the base does not have, with everything below them; False at the end."""
        page = await self._content.scan(part.stage, Place(part.stage, self._cursor.path))
        if not page:
            return False
        inputs = {Place(*one[:2]): one for one in page if one.message is None}
        listed = await self._catalog.listed(part, list(inputs))
        gone = [one for place, one in inputs.items() if place not in listed]
        below = await self._below([(one.above, None) for one in gone])
        close = [entry for one in gone for entry in (*reversed(below[one.above, None]), one)]
        while len(close) > PAGE:
            await self._write(close[:PAGE], (), ())
            close = close[PAGE:]
        self._cursor.path = page[-1].path
        await self._write(close, (), ())
        return True

    async def _conflict(self, place: Place) -> Conflict:
        entries = await self._content.at([place])
        sources = sorted(one.slot.path if one.slot else "an input" for one in entries)
        return Conflict(
            "path_conflict", f"{place.stage}/{place.path} comes from two results: {' and '.join(sources)}"
        )

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
            below = await self._below([(one.above, None) for one in strange if one.message is not None])
            close = {one.identity: one for top in strange for one in (*reversed(below[top.above, None]), top)}
            await self._write(list(close.values()), (), ())
            await self._keep()
        if "incomplete" not in self._draft.request.allow:
            await self._check_complete()

    async def _check_complete(self) -> None:
        missing, every = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
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
        for (stage, route), count in missing.items():
            if count:
                raise Conflict(
                    "publication_incomplete",
                    f"{count:,} of {every[stage, route]:,} objects of {stage} have no result in the route "
                    f"{route}. Run: playhead replay current:{self._draft.name} {stage} {route}",
                )

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
        self._check_size(counts)
        return Resolved(
            dict(sorted(counts.items())),
            UnitCounts(**self._cursor.units),
            f"{digest % _DIGEST:064x}",
        )

    def _check_size(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        draft, allow = self._draft, self._draft.request.allow
        base = next((part for part in draft.parts if part.role == "base"), None)
        inputs = draft.counts.get(base.stage, 0) if base else 0
        removed = counts[base.stage]["removed"] if base and base.stage in counts else 0
        if base and inputs and removed / inputs > draft.max_removed and "removed" not in allow:
            raise Conflict(
                "publication_shrinks",
                f"{removed:,} of {inputs:,} inputs would be removed. If {base.id} only adds inputs: --add "
                f"{base.id}. If it is right: --allow-removed",
            )
        if not sum(one["total"] for one in counts.values()) and "empty" not in allow:
            raise Conflict(
                "publication_empty",
                f"the publication would have no objects. If it is right: --allow-empty. To see why, run: "
                f"playhead publications notes {draft.name}@{draft.n}",
            )


class _Trees:
    """The messages of units, each with those below it."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._children: dict[int | None, list[Node]] = {}
        for node in nodes:
            self._children.setdefault(node.parent, []).append(node)

    def entries(self, root: Node, up: int, covered: set[int]) -> list[Entry]:
        """Return the entries of a unit from the top down, without what later parts have.

        Args:
            up: `Identity.up` of the root.
        """
        found: list[Entry] = []
        todo = [(root, up)]
        while todo:
            node, up = todo.pop()
            if node.n in covered:
                continue
            route, stage, path = node.slot
            made: list[tuple[str, str, int | None, bytes | None]] = [
                (*one.place, one.output, one.fingerprint) for one in node.outputs
            ]
            for at, name, output, fingerprint in made or [(SINK + route, f"{stage}/{path}", None, None)]:
                found.append(
                    Entry(
                        *(at, name, up, node.message, node.attempt, node.execution),
                        *(output, fingerprint, node.slot),
                    )
                )
            todo += [(child, node.message) for child in self._children.get(node.n, ())]
        return found

    def failed(self, root: Node, covered: set[int]) -> Node | None:
        """Return a message of a unit that has no result, neither here nor in a later part."""
        todo = [root]
        while todo:
            node = todo.pop()
            if node.n in covered:
                continue
            if not node.is_good:
                return node
            todo += self._children.get(node.n, ())
        return None


def _by_place(entries: Sequence[Entry]) -> dict[Place, Entry]:
    return {Place(*one[:2]): one for one in entries}


def _received(root: Root) -> Place:
    return Place(*root.node.slot[1:])


def _note(kind: NoteKind, part: DraftPart, unit: _Unit) -> Note:
    node = unit.failed or unit.root.node
    detail = f"{node.slot.route}: {node.detail}" if unit.failed else None
    return Note(kind, _received(unit.root), part.execution, node.n, detail)


def _digest(place: Place, fingerprint: bytes) -> int:
    line = f"{place.stage}/{place.path} {fingerprint.hex()}"
    return int.from_bytes(sha256(line.encode()).digest())
