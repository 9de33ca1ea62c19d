"""Where an object came from, what was made of it, and the map of both."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from playhead import keys
from playhead.model import ChainGroup, ChainLink, ChainSummary, Execution, Lineage
from playhead.services import Services
from playhead.web import folding
from playhead.web.drawing import Drawing, Row
from playhead.web.lineagemap import Node, Side, draw
from playhead.web.page import url
from playhead.web.states import word

_MOST_STEPS: Final = 50
_MOST_LINKS: Final = 100
_MOST_MADE: Final = 8
_NOTHING: Final = "stores nothing"
_DELETED: Final = "records deleted"
_SAID: Final = ("dead", "skipped", "retry", "running", "pending", "cancelled", "taken_over", "uncertain")
"""States of messages that the map counts, in this order."""

_Place = tuple[str, str]
"""An execution and one of its stages."""
_Route = tuple[UUID, str]
"""An execution and one of its routes."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step on the way to an object, the last one first.

    Attributes:
        kind: an `object`, the `message` that produced it, or the `replay` between two executions.
        key: key of an object; None of other steps.
        is_here: whether it is the object of the page.
        is_source: whether no message produced it.
        message: the message; for a replay, its first message; None of an object.
    """

    kind: Literal["object", "message", "replay"]
    key: str | None = None
    is_here: bool = False
    is_source: bool = False
    message: Lineage | None = None


@dataclass(frozen=True, slots=True)
class Ancestry:
    """The lineage of an object.

    Attributes:
        producer: message that produced it; None of an input, and of an object of another program.
        steps: the way to it, the object first.
        executions: number of executions on the way.
        is_whole: false if the way has more than 50 messages.
        made: the first messages that received it.
        made_count: number of all messages below it, also across replays.
        map: the map of the lineage.
        rows: the executions of the map.
        nodes: the same as a list, in the order of the map.
        is_complete: false if there are more than 10,000 messages around the first object of the way.
        records_deleted_at: when the records of the execution were deleted from which the first object of the
            way came; None if they were not.
    """

    producer: Lineage | None
    steps: Sequence[Step]
    executions: int
    is_whole: bool
    made: Sequence[Lineage]
    made_count: int
    map: Drawing
    rows: Sequence[Row]
    nodes: Sequence[Node]
    is_complete: bool
    records_deleted_at: str | None


async def ancestry(services: Services, key: str, stage: str, execution: Execution) -> Ancestry:
    """Return the lineage of an object, which is in this stage of this execution.

    Raises:
        NotFound: `object_not_found`.
    """
    lineage = services.lineage
    up, down = await asyncio.gather(
        lineage.chain(key, "up", None, _MOST_STEPS), lineage.chain(key, "down", None, _MOST_MADE + 1)
    )
    above = [link for link in up.items if link.distance <= 0 and _is_above(link, key)]
    above.sort(key=lambda link: -link.distance)
    nearest = min((link.distance for link in down.items), default=0)
    made = [link for link in down.items if link.distance == nearest][:_MOST_MADE]
    top = above[-1].input_key if above else key
    steps = [Step("object", key, is_here=True, is_source=not above)]
    steps += steps_above(above, is_whole=up.next_cursor is None)

    is_whole = down.next_cursor is None

    async def all_links() -> Sequence[ChainLink]:
        if is_whole and not above:
            return down.items
        return (await lineage.chain(top, "down", None, _MOST_LINKS)).items

    async def count() -> int | None:
        if not above:
            return None
        return len(down.items) if is_whole else (await lineage.counts(key)).messages

    summary, links, below = await asyncio.gather(lineage.summary(top), all_links(), count())
    drawing = _Drawing(key, stage, top, above, summary, links, execution)
    drawn, rows, nodes = drawing.draw(url("/objects", key=key, lineage="list"))
    return Ancestry(
        above[0] if above else None,
        steps,
        len({execution.execution_id, *(link.execution_id for link in above)}),
        up.next_cursor is None,
        made,
        summary.messages if below is None else below,
        drawn,
        rows,
        nodes,
        summary.is_complete,
        summary.records_deleted_at,
    )


def _is_above(link: ChainLink, key: str) -> bool:
    """Whether a link of a chain upwards is an ancestor: of an input, the chain has its receivers."""
    return not (link.distance == 0 and link.input_key == key)


def steps_above(above: Sequence[ChainLink], *, is_whole: bool) -> Iterable[Step]:
    """Yield messages, the nearest first, each followed by the object that it received.

    Args:
        is_whole: whether no message produced the last object.
    """
    for n, link in enumerate(above):
        yield Step("message", message=link)
        if link.replay_batch_id and link.parent_correlation_id is None:
            yield Step("replay", message=link)
        is_last = n == len(above) - 1
        yield Step("object", link.input_key, is_source=is_last and is_whole)


class _Drawing:
    """Collects rows, columns, nodes and edges of a map.

    A node is a stage of an execution: what its routes stored there. Routes that store nothing share a node.

    Args:
        key: the object of the page.
        stage: its stage.
        top: the object at the beginning of the way to it.
        above: the messages on the way, the nearest first.
        summary: all messages below `top`, by execution and route.
        links: the nearest of them.
        execution: execution of the object.
    """

    def __init__(
        self,
        key: str,
        stage: str,
        top: str,
        above: Sequence[ChainLink],
        summary: ChainSummary,
        links: Sequence[ChainLink],
        execution: Execution,
    ) -> None:
        self._key = key
        self._stage = stage
        self._summary = summary
        self._states: dict[_Route, Counter[str]] = defaultdict(Counter)
        self._code: dict[_Route, set[str]] = defaultdict(set)
        for link in links:
            self._states[link.execution_id, link.route][link.status] += 1
            if link.adapters:
                ran = ", ".join(f"{one.type} {one.version}" for one in link.adapters)
                self._code[link.execution_id, link.route].add(ran)
        self._rows: dict[str, Row] = {}
        self._add_row(
            *(execution.execution_id, execution.kind, execution.created_at),
            *(execution.config, execution.config_version),
        )
        for one in summary.groups:
            self._add_row(one.execution_id, one.kind, one.created_at, one.config, one.config_version)
        self._groups: dict[_Place, list[ChainGroup]] = defaultdict(list)
        place_of: dict[_Route, _Place] = {}
        for group in summary.groups:
            place = str(group.execution_id), group.stage or _NOTHING
            self._groups[place].append(group)
            place_of[group.execution_id, group.route] = place
        # The objects on the way, by the place where they are stored.
        self._way: dict[_Place, str] = {(key.partition("/")[0], stage): key}
        for link, produced in zip(above[1:], above, strict=False):
            if found := place_of.get((link.execution_id, link.route)):
                self._way[found] = produced.input_key
        owner, _, rest = top.partition("/")
        self._top = (owner, stage if top == key else rest.partition("/")[0])
        self._way.setdefault(self._top, top)
        if owner not in self._rows and summary.records_deleted_at:
            gone = Row(owner, "execution", None, _DELETED, url(f"/executions/{owner}"))
            self._rows[owner] = gone
        elif owner not in self._rows:  # objects of another program, which a replay received
            self._add_row(UUID(owner), "adopted", None, None, None)

    def _add_row(
        self, execution: UUID, kind: str, created_at: str | None, config: str | None, version: int | None
    ) -> None:
        sub = f"{config} v{version}" if config else "stored by another program"
        row = Row(str(execution), kind, created_at, sub, url(f"/executions/{execution}"))
        self._rows.setdefault(row.id, row)

    def draw(self, more: str) -> tuple[Drawing, list[Row], list[Node]]:
        nodes = {place: self._node(place) for place in dict.fromkeys((*self._way, *self._groups))}
        edges = self._edges(nodes)
        of = {node.id: node.column for node in nodes.values()}
        names = [name for name in dict.fromkeys(of.values()) if name != _NOTHING]
        pairs = tuple((of[start], of[end]) for start, end in edges if of[start] != of[end])
        # Stages of pairs that contradict each other have no order.
        order = folding.shape(self._stage, tuple(names), pairs).routes
        # First the stages on the way of the object and below it: the others may not fit the window.
        near = {nodes[place].column for place in self._way}
        below = {self._stage}
        for _ in names:
            below |= {b for a, b in pairs if a in below}
        columns = sorted(dict.fromkeys((*order, *names)), key=lambda name: name not in near | below)
        if _NOTHING in of.values():
            columns.append(_NOTHING)
        rows = sorted(self._rows.values(), key=lambda row: (row.created_at or "", row.id))
        by_row, by_column = [
            {one: n for n, one in enumerate(each)} for each in ([row.id for row in rows], columns)
        ]
        listed = sorted(nodes.values(), key=lambda one: (by_row[one.row], by_column[one.column]))
        return draw(rows, columns, listed, edges, more), rows, listed

    def _node(self, place: _Place) -> Node:
        execution, stage = place
        groups = self._groups[place]
        messages = sum(group.messages for group in groups)
        outputs = sum(group.outputs for group in groups)
        on_way = self._way.get(place)
        one = on_way or (groups[0].key if outputs == 1 else None)
        href = url(f"/executions/{execution}", stage=stage if stage != _NOTHING else None)
        if one:
            title = one[len(execution) + len(stage) + 2 :]
            href = url("/objects", key=one)
        elif outputs:
            title = f"{outputs:,} objects"
        else:
            title = f"{messages:,} message{'' if messages == 1 else 's'}"
            if messages == 1:
                href = url(f"/lineage/{groups[0].correlation_id}")
        side: Side = "self" if on_way == self._key else "up" if on_way else "down"
        return Node(
            "/".join(place),
            execution,
            stage,
            title,
            self._sub(place, outputs),
            href,
            side,
            any(group.failed for group in groups),
        )

    def _sub(self, place: _Place, outputs: int) -> str:
        """Return what produced the objects of a node, and what else its messages did."""
        routes = [(group.execution_id, group.route) for group in self._groups[place]]
        said = [", ".join(route for _, route in routes)]
        if not routes:
            is_published = self._rows[place[0]].kind == "publication"
            other = "published here" if is_published else "stored by another program"
            said = ["input" if place[1] == keys.INPUT_STAGE else other]
            if place == self._top and self._summary.records_deleted_at:
                said = [_DELETED]
        elif len(routes) == 1 and len(code := self._code[routes[0]]) == 1:
            said[0] += f", {next(iter(code))}"
        if self._way.get(place) == self._key and outputs > 1:
            said.insert(0, f"this, 1 of {outputs:,}")
        states = sum((self._states[route] for route in routes), Counter[str]())
        if states.total() < sum(group.messages for group in self._groups[place]):
            # Not all of them are known: only the dead letters are counted.
            states = Counter(dead=sum(group.failed for group in self._groups[place]))
        said += [f"{states[state]:,} {word(state)}" for state in _SAID if states[state]]
        return "; ".join(said)

    def _edges(self, nodes: Mapping[_Place, Node]) -> list[tuple[str, str]]:
        groups = self._summary.groups
        ids = [nodes[str(group.execution_id), group.stage or _NOTHING].id for group in groups]
        edges = [(ids[one.from_group], ids[one.to_group]) for one in self._summary.edges]
        reached = {one.to_group for one in self._summary.edges}
        top = nodes[self._top].id
        edges += [(top, one) for n, one in enumerate(ids) if n not in reached]
        return [(start, end) for start, end in dict.fromkeys(edges) if start != end]
