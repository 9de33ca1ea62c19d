"""The units of a part, each with the entries that exist, and those that it would have.

A *unit* is what is replaced or kept as a whole: in a run each input, in a replay each replayed object, with
everything below it. The replayed objects of a base are inputs, too, and those of a layer that adds inputs.

What is below a result is found by `up`, which names the result above, and not by path: within a draft, a path
may move from one document to another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, cast

from playhead.ports.catalog.drafts import Draft, Drafts
from playhead.ports.catalog.entries import Entry, Node, Root, Slot
from playhead.ports.catalog.publications import SINK, Place
from playhead.publish.content import Content

_Top = tuple[int, Slot | None]
"""`Entry.above` of a result, and a slot below it; None for all of them."""

Outcome = Literal["good", "covered", "kept", "left_out", "superseded", "removed", "older"]


class Unit(NamedTuple):
    """A unit with its decision.

    Attributes:
        existing: open entries at and below its slot, from the top down.
        wanted: the entries that it would have, from the top down.
        failed: the first message without a result; None: the unit is good.
        outcome: of a unit that is not applied, why; `good`: it has been applied before.
    """

    root: Root
    existing: Sequence[Entry] = ()
    wanted: Sequence[Entry] = ()
    failed: Node | None = None
    outcome: Outcome | None = None


class Units:
    """Reads the units of the parts of a draft, and compares them with its content."""

    def __init__(self, catalog: Drafts, draft: Draft, content: Content) -> None:
        self._catalog = catalog
        self._draft = draft
        self._content = content

    async def of(self, k: int, roots: Sequence[Root], nodes: Sequence[Node]) -> list[Unit]:
        """Return the units of these roots of part `k`; `nodes` are the messages at and below them."""
        part, trees = self._draft.parts[k], Trees(nodes)
        covered = await self._covered(nodes, k + 1)
        if part.has_inputs:
            return await self._of_inputs(k, roots, trees, covered)
        return await self._of_replay(k, roots, trees, covered)

    async def _of_inputs(self, k: int, roots: Sequence[Root], trees: Trees, covered: set[int]) -> list[Unit]:
        part = self._draft.parts[k]
        changed = [root for root in roots if not root.is_unchanged]
        places = {root.node.n: Place(part.stage, root.node.slot.path) for root in changed}
        rerun = await self._rerun(list(places.values()), k + 1)
        there = await self._before(k, list(places.values()))
        below = await self.below([(top.above, None) for top in there.values()])
        units = []
        for root in roots:
            if root.is_unchanged:
                units.append(Unit(root, outcome="good"))
                continue
            place = places[root.node.n]
            if place in rerun:
                units.append(Unit(root, outcome="covered"))
                continue
            top = there.get(place)
            existing = [top, *below[top.above, None]] if top else []
            if root.object is None:
                units.append(Unit(root, existing, failed=root.node))
                continue
            if self._replaces_newer(k, existing):
                units.append(Unit(root, outcome="older"))
                continue
            _, output, fingerprint = root.object
            if top is None or top.fingerprint != fingerprint:
                top = Entry(*place, None, None, None, root.execution, output, fingerprint, None)
            wanted = [top, *trees.entries(root.node, top.above, covered)]
            units.append(Unit(root, existing, wanted, trees.failed(root.node, covered)))
        return units

    async def _of_replay(self, k: int, roots: Sequence[Root], trees: Trees, covered: set[int]) -> list[Unit]:
        chosen = [root for root in roots if not root.node.is_cancelled]
        there = await self._before(k, [received(root) for root in chosen])
        tops = {
            root.node.n: (there[received(root)].above, root.node.slot)
            for root in chosen
            if received(root) in there
        }
        below = await self.below(list(tops.values()))
        units = []
        for root in chosen:
            source = there.get(received(root))
            if root.node.n in covered:
                units.append(Unit(root, outcome="covered"))
            elif source is None:
                units.append(Unit(root, outcome="removed"))
            elif root.object is None or source.fingerprint != root.object.fingerprint:
                units.append(Unit(root, outcome="superseded"))
            else:
                existing = below[tops[root.node.n]]
                if self._is_older(root, existing):
                    units.append(Unit(root, outcome="older"))
                    continue
                wanted = trees.entries(root.node, source.above, covered)
                units.append(Unit(root, existing, wanted, trees.failed(root.node, covered)))
        return units

    def _replaces_newer(self, k: int, existing: Sequence[Entry]) -> bool:
        """Whether an input, or a result below it, is of an execution that began after part `k`.

        It must not be replaced: a run with old code may end after a fix was published. Results of later parts
        of the draft do not count, because these parts put them in place again.
        """
        parts = self._draft.parts[k:]
        later = {part.execution for part in parts}
        newest = max((one.execution for one in existing if one.execution not in later), default=0)
        return newest > parts[0].execution and "older" not in self._draft.request.allow

    def _is_older(self, root: Root, existing: Sequence[Entry]) -> bool:
        """Whether the entries at the slot of a replayed object are newer, and must not be replaced.

        A result that was taken over is as old as the message that was processed.
        """
        newest = max((one.processed or 0 for one in existing if one.slot == root.node.slot), default=0)
        return newest > root.node.processed and "older" not in self._draft.request.allow

    async def _before(self, k: int, places: Sequence[Place]) -> dict[Place, Entry]:
        """Return the entries at these places before part `k` is applied.

        Without a base publication, the first part finds none. If the draft has added some in a page that is
        repeated, they are the same again, and `Content.write` finds them.
        """
        if not (self._draft.base or k):
            return {}
        return {Place(*one[:2]): one for one in await self._content.at(places)}

    async def below(self, tops: Sequence[_Top]) -> dict[_Top, list[Entry]]:
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
            if part.has_inputs:
                continue
            there = [node for node in nodes if node.slot.route == part.route]
            good = await self._good_at(k, [Place(*node.slot[1:]) for node in there]) if there else {}
            same = [node for node in there if Place(*node.slot[1:]) in good]
            prints = await self._catalog.fingerprints([node.key for node in same]) if same else {}
            found |= {node.n for node in same if prints.get(node.key) == good[Place(*node.slot[1:])]}
        return found

    async def _rerun(self, places: Sequence[Place], later: int) -> set[Place]:
        """Return the inputs for which a later part of the draft has a good unit."""
        found: set[Place] = set()
        for k, part in enumerate(self._draft.parts[later:], later):
            if part.has_inputs:
                found |= (await self._good_at(k, places)).keys()
        return found

    async def _good_at(self, k: int, places: Sequence[Place]) -> dict[Place, bytes]:
        """Return the objects of good units of a part, with their fingerprints."""
        roots, nodes = await self._catalog.roots_at(self._draft, self._draft.parts[k], places)
        trees, covered = Trees(nodes), await self._covered(nodes, k + 1)
        return {
            received(root): root.object.fingerprint
            for root in roots
            if root.object and not root.node.is_cancelled and trees.failed(root.node, covered) is None
        }


class Trees:
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
            message, attempt, execution, slot = node.message, node.attempt, node.execution, node.slot
            first = min([place for place, _, _ in node.outputs], default=None)
            for place, output, fingerprint in node.outputs:
                found.append(
                    Entry(
                        *(*place, up, message, attempt, execution, output, fingerprint, slot, None),
                        is_first=place == first,
                        processed=node.processed,
                    )
                )
            if not node.outputs:
                route, stage, path = slot
                place = Place(SINK + route, f"{stage}/{path}")
                found.append(
                    Entry(
                        *(*place, up, message, attempt, execution, None, None, slot),
                        processed=node.processed,
                    )
                )
            todo += [(child, message) for child in self._children.get(node.n, ())]
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


def received(root: Root) -> Place:
    return Place(*root.node.slot[1:])
