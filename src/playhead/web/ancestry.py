"""Where an object came from, what was made of it, and the map of both."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from playhead import keys
from playhead.errors import NotFound
from playhead.model import ChainCount, ChainLink, Execution, Lineage, Pipeline, Replay
from playhead.services import Services
from playhead.web.lineagemap import Edge, Map, Node, Row, Side, draw, ordered
from playhead.web.page import url

_MOST_STEPS: Final = 50
_MOST_LINKS: Final = 200
_MOST_MADE: Final = 8
_MOST_EXECUTIONS: Final = 30
_NOTHING: Final = "stores nothing"


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
        is_complete: false if there are more than 10,000 messages below the first object of the way.
    """

    producer: Lineage | None
    steps: Sequence[Step]
    executions: int
    is_whole: bool
    made: Sequence[Lineage]
    made_count: int
    map: Map
    rows: Sequence[Row]
    nodes: Sequence[Node]
    is_complete: bool


async def ancestry(services: Services, key: str) -> Ancestry:
    """Return the lineage of an object.

    Raises:
        NotFound: `object_not_found`.
    """
    lineage = services.lineage
    up = await lineage.chain_of_object(key, "up", None, _MOST_STEPS)
    down = await lineage.chain_of_object(key, "down", None, _MOST_MADE + 1)
    above = [link for link in up.items if link.distance <= 0 and _is_above(link, key)]
    above.sort(key=lambda link: -link.distance)
    nearest = min((link.distance for link in down.items), default=0)
    made = [link for link in down.items if link.distance == nearest][:_MOST_MADE]
    top = above[-1].input_key if above else key
    steps = [Step("object", key, is_here=True, is_source=not above)]
    steps += steps_above(above, is_whole=up.next_cursor is None)
    below = await lineage.counts_of_object(key)
    counts = await lineage.counts_of_object(top) if above else below
    links = (await lineage.chain_of_object(top, "down", None, _MOST_LINKS)).items
    drawn = _Drawing(services, key, top, above, links, counts.counts)
    map_, rows, nodes = await drawn.draw()
    return Ancestry(
        above[0] if above else None,
        steps,
        len({UUID(key.partition("/")[0]), *(link.execution_id for link in above)}),
        up.next_cursor is None,
        made,
        below.messages,
        map_,
        rows,
        nodes,
        counts.is_complete,
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


def _rest(key: str) -> tuple[str, str]:
    owner, _, rest = key.partition("/")
    return owner, rest


class _Drawing:
    """Collects rows, columns, nodes and edges of a map.

    A node is a stage of an execution: what its route stored there. Routes that store nothing share a node.
    """

    def __init__(
        self,
        services: Services,
        key: str,
        top: str,
        above: Sequence[ChainLink],
        links: Sequence[ChainLink],
        counts: Sequence[ChainCount],
    ) -> None:
        self._services = services
        self._key = key
        self._top = top
        self._above = above
        self._links: dict[tuple[UUID, str], list[ChainLink]] = defaultdict(list)
        for link in links:
            self._links[link.execution_id, link.route].append(link)
        self._counts: dict[tuple[UUID, str], Counter[str]] = defaultdict(Counter)
        for count in counts:
            self._counts[count.execution_id, count.route][count.status] += count.messages
        self._executions: dict[UUID, Execution] = {}
        self._pipelines: dict[UUID, Pipeline] = {}
        self._replays: dict[UUID, Replay] = {}

    async def draw(self) -> tuple[Map, list[Row], list[Node]]:
        await self._read()
        nodes = self._nodes()
        edges = self._edges(nodes)
        columns = self._columns(nodes, edges)
        rows = [
            Row(
                str(one.execution_id),
                one.kind,
                one.created_at,
                f"{one.config} v{one.config_version}" if one.config else "stored by another program",
                url(f"/executions/{one.execution_id}"),
            )
            for one in sorted(self._executions.values(), key=lambda one: (one.created_at, one.execution_id))
        ]
        place = {row.id: n for n, row in enumerate(rows)}, {name: n for n, name in enumerate(columns)}
        listed = sorted(nodes.values(), key=lambda one: (place[0][one.row], place[1][one.column]))
        more = url("/objects", key=self._key, lineage="list")
        return draw(rows, columns, listed, edges, more), rows, listed

    async def _read(self) -> None:
        """Read the executions of the map, their pipelines and replays: those on the way, then the newest."""
        first = [UUID(self._top.partition("/")[0]), UUID(self._key.partition("/")[0])]
        first += [link.execution_id for link in self._above]
        others = sorted({execution for execution, _ in self._counts}, reverse=True)
        loaded: dict[tuple[str, int | None], Pipeline] = {}
        for execution in list(dict.fromkeys([*first, *others]))[:_MOST_EXECUTIONS]:
            try:
                found = await self._services.executions.get(execution)
            except NotFound:
                continue
            self._executions[execution] = found
            if found.config is not None:
                name = found.config, found.config_version
                if name not in loaded:
                    loaded[name] = await self._services.pipelines.of_config(*name)
                self._pipelines[execution] = loaded[name]
            if found.replay_batch_id:
                self._replays[execution] = await self._services.executions.replay(found.replay_batch_id)

    def _stage(self, execution: UUID, route: str) -> str:
        pipeline = self._pipelines.get(execution)
        for one in pipeline.routes if pipeline else ():
            if one.route == route:
                return one.stage or _NOTHING
        return _NOTHING

    def _split(self, key: str) -> tuple[UUID, str, str]:
        """Return execution, stage and path of a key."""
        owner, rest = _rest(key)
        pipeline = self._pipelines.get(UUID(owner))
        stages = [one.stage for one in pipeline.routes if one.stage] if pipeline else []
        stage, path = keys.stage_of(rest, [keys.INPUT_STAGE, *stages], rest.partition("/")[0])
        return UUID(owner), stage, path

    def _nodes(self) -> dict[tuple[UUID, str], Node]:
        way = [self._split(key)[:2] for key in (self._key, *(link.input_key for link in self._above))]
        made: dict[tuple[UUID, str], list[str]] = defaultdict(list)
        for execution, route in self._counts:
            if execution in self._executions:
                made[execution, self._stage(execution, route)].append(route)
        execution, stage, _ = self._split(self._top)
        made.setdefault((execution, stage), [])
        for place in way:
            if place[0] in self._executions:
                made.setdefault(place, [])
        nodes = {}
        for (execution, stage), routes in made.items():
            side: Side = "down"
            if (execution, stage) == way[0]:
                side = "self"
            elif (execution, stage) in way:
                side = "up"
            nodes[execution, stage] = self._node(execution, stage, routes, side)
        return nodes

    def _node(self, execution: UUID, stage: str, routes: Sequence[str], side: Side) -> Node:
        states = sum((self._counts[execution, route] for route in routes), Counter[str]())
        links = [link for route in routes for link in self._links[execution, route]]
        messages = states.total()
        outputs = sum(link.output_count for link in links) if len(links) == messages else None
        on_way = next(
            (
                key
                for key in (self._key, *(link.input_key for link in self._above))
                if self._split(key)[:2] == (execution, stage)
            ),
            None,
        )
        href = url(f"/executions/{execution}", stage=stage if stage != _NOTHING else None)
        if on_way:
            title = self._split(on_way)[2]
            href = url("/objects", key=on_way)
        elif outputs == 1 and links and links[0].output_keys:
            title = self._split(links[0].output_keys[0])[2]
            href = url("/objects", key=links[0].output_keys[0])
        elif stage != _NOTHING and outputs:
            title = f"{outputs:,} objects"
        else:
            title = f"{messages:,} message{'' if messages == 1 else 's'}"
            if messages == 1 and links:
                href = url(f"/lineage/{links[0].correlation_id}")
        said = [", ".join(routes) or ("input" if stage == keys.INPUT_STAGE else "stored by another program")]
        ran = {tuple((one.type, one.version) for one in link.adapters) for link in links if link.adapters}
        if len(ran) == 1 and len(routes) == 1:
            said[0] += "".join(f", {name} {version}" for name, version in ran.pop())
        if side == "self" and outputs and outputs > 1:
            said.insert(0, f"this, 1 of {outputs:,}")
        said += [f"{states[state]:,} {word}" for state, word in _SAID.items() if states[state]]
        return Node(
            f"{execution}/{stage}",
            str(execution),
            stage,
            title,
            "; ".join(said),
            href if side != "self" else None,
            side,
            bool(states["dead"]),
        )

    def _edges(self, nodes: Mapping[tuple[UUID, str], Node]) -> list[Edge]:
        edges: list[Edge] = []

        def add(source: tuple[UUID, str], target: tuple[UUID, str]) -> None:
            if source in nodes and target in nodes and source != target:
                edges.append(Edge(nodes[source].id, nodes[target].id))

        for execution, pipeline in self._pipelines.items():
            replay = self._replays.get(execution)
            if replay is None:
                add((execution, keys.INPUT_STAGE), (execution, self._stage(execution, pipeline.entry or "")))
            else:
                target = self._stage(execution, replay.to_route.rpartition("/")[2])
                add((replay.from_execution_id, replay.from_stage), (execution, target))
            for edge in pipeline.edges:
                ends = self._stage(execution, edge.from_route), self._stage(execution, edge.to_route)
                if (execution, edge.to_route) in self._counts:
                    add((execution, ends[0]), (execution, ends[1]))
        return list(dict.fromkeys(edges))

    def _columns(self, nodes: Mapping[tuple[UUID, str], Node], edges: Sequence[Edge]) -> list[str]:
        of = {node.id: node.column for node in nodes.values()}
        names = [name for name in dict.fromkeys(of.values()) if name != _NOTHING]
        found = ordered(names, [(of[edge.source], of[edge.target]) for edge in edges])
        return [*found, _NOTHING] if _NOTHING in of.values() else found


_SAID: Final = {
    "dead": "failed",
    "skipped": "skipped",
    "retry": "retried later",
    "running": "running",
    "pending": "waiting",
    "cancelled": "cancelled",
    "taken_over": "taken over",
}
