"""What happened to an object: the messages that received it, and all above and below them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, cast
from uuid import UUID

from playhead.backends._sql_catalog.declared import declarations_named
from playhead.backends._sql_catalog.lanes import as_uuid, moment_or_none
from playhead.backends._sql_catalog.lineages import lineages
from playhead.backends._sql_catalog.part import Part
from playhead.backends.sql import RETRY
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.keys import stage_of
from playhead.model import ROW_STATES, ChainLink
from playhead.ports.catalog.trace import LONGEST_TEXT, Descendant, PublishedBelow, Relative

Direction = Literal["up", "down", "both"]
Via = Literal["self", "parent", "replay"]
"""See `ChainLink.via`."""


class _Link(NamedTuple):
    """A message in a walk, by its number."""

    n: int
    distance: int
    via: Via


class _Start(NamedTuple):
    """Where a walk begins.

    Attributes:
        message: the message at distance 0 from which the walk goes up; None if there is nothing above.
        nearest: the messages at distance 0.
        below: those at distance 1, if they are not all messages below the nearest.
    """

    message: int | None
    nearest: list[_Link]
    below: list[_Link] | None = None


class TracePart(Part):
    async def takers(self, key: str, *, execution: UUID | None = None, limit: int) -> list[UUID]:
        async def find(db: Session) -> list[UUID]:
            stored = (await self._aliases.real(db, [key]))[key]
            rows = await db.rows(SQL.takers, key=stored, execution=execution, limit=limit)
            return [as_uuid(cid) for _, _, cid in rows]

        return await self._db.read(find)

    async def replayed(self, messages: Sequence[UUID], *, execution: UUID, limit: int) -> list[UUID]:
        async def find(db: Session) -> list[UUID]:
            above = await _numbers_of(db, messages)
            rows = await db.rows(SQL.replayed, above=above, execution=execution, limit=limit)
            return [as_uuid(cid) for (cid,) in rows]

        return await self._db.read(find)

    async def chain(
        self, of: UUID | str, *, direction: Direction, after: UUID | None = None, limit: int
    ) -> tuple[list[ChainLink], UUID | None]:
        async def find(db: Session) -> tuple[list[ChainLink], UUID | None]:
            last = await db.value(SQL.message_number, id=after) if after else None
            room = limit + 1
            while True:
                start = await self._start(db, of, direction, room)
                if start is None:
                    return [], None
                walked = await self._walk(db, start, direction, room)
                begin = next((at + 1 for at, link in enumerate(walked) if link.n == last), 0)
                if len(walked) < room or (len(walked) > begin + limit and (begin or last is None)):
                    break
                room *= 4  # the page is further on; only the walk itself shows how far
            page = walked[begin : begin + limit]
            rows = {row[0]: row for row in await db.rows(SQL.lineages, rows=[link.n for link in page])}
            order = sorted(page, key=lambda link: (link.distance, link.n))
            lines = await lineages(db, self._lanes, [rows[link.n] for link in order])
            links = [
                ChainLink(**line, distance=link.distance, via=link.via)
                for link, line in zip(order, lines, strict=True)
            ]
            more = len(walked) > begin + limit
            return links, as_uuid(rows[page[-1].n][1]) if more else None

        return await self._db.read(find)

    async def _start(self, db: Session, of: UUID | str, direction: Direction, room: int) -> _Start | None:
        if isinstance(of, UUID):
            message = await db.value(SQL.message_number, id=of)
            return None if message is None else _Start(message, [_Link(message, 0, "self")])
        of = (await self._aliases.real(db, [of]))[of]
        producer = await db.value(SQL.producer, key=of)
        if producer is not None and direction == "up":
            return _Start(producer, [_Link(producer, 0, "self")], [])
        takers = await db.rows(SQL.takers, key=of, execution=None, limit=room)
        if producer is None:
            return _Start(None, [_Link(n, 0, "self") for n, _, _ in takers])
        nearest = [] if direction == "down" else [_Link(producer, 0, "self")]
        return _Start(producer, nearest, [_Link(n, 1, cast("Via", via)) for n, via, _ in takers])

    async def _walk(self, db: Session, start: _Start, direction: Direction, room: int) -> list[_Link]:
        """Return the first `room` messages of a chain, nearest first."""
        walked = start.nearest[:room]
        up: dict[int, _Link] = {}
        if direction != "down" and start.message is not None:
            rows = await db.rows(SQL.chain_up, start=start.message, limit=room)
            up = {-distance: _Link(n, distance, via) for n, distance, via in rows}
        level = [link.n for link in start.nearest]
        distance = 0
        while len(walked) < room:
            distance += 1
            above = up.get(distance)
            if above is not None:
                walked.append(above)
            below: list[_Link] = []
            if direction != "up":
                if distance == 1 and start.below is not None:
                    below = start.below[: room - len(walked)]
                elif level:
                    rows = await db.rows(SQL.chain_down, above=level, limit=room - len(walked))
                    below = [_Link(n, distance, via) for n, via, _ in rows]
            walked += below
            level = [link.n for link in below]
            if above is None and not level:
                break
        return walked[:room]

    async def descendants(
        self, messages: Sequence[UUID], *, across_replays: bool, limit: int
    ) -> tuple[list[Descendant], bool]:
        below = SQL.chain_down if across_replays else SQL.children

        async def find(db: Session) -> tuple[list[Descendant], bool]:
            level = await _numbers_of(db, messages)
            walked = dict.fromkeys(level, 0)
            distance = 0
            while level and len(walked) <= limit:
                distance += 1
                rows = await db.rows(below, above=level, limit=limit + 1 - len(walked))
                level = [row[0] for row in rows if row[0] not in walked]
                walked |= dict.fromkeys(level, distance)
            numbers = list(walked)[:limit]
            return await self._described(db, numbers, walked), len(walked) <= limit

        return await self._db.read(find)

    async def _described(
        self, db: Session, numbers: Sequence[int], distances: dict[int, int]
    ) -> list[Descendant]:
        rows = {row[0]: row for row in await db.rows(SQL.descendants, rows=numbers, length=LONGEST_TEXT)}
        lanes = await self._lanes.learn(db, {row[3] for row in rows.values()})
        declared = await declarations_named(db, [row[-1] for row in rows.values()])
        found = []
        for number in numbers:
            _, cid, execution, lane_id, key, state, attempt, code, text, due, *rest = rows[number]
            pruned, declaration = rest
            lane: Any = lanes[lane_id]
            found.append(
                Descendant(
                    correlation_id=as_uuid(cid),
                    distance=distances[number],
                    execution_id=as_uuid(execution),
                    config=lane.config,
                    config_version=lane.version,
                    route=lane.route,
                    input_key=key,
                    status=ROW_STATES[state],
                    attempts=attempt,
                    error_code=code,
                    text=text or None,
                    declared_valid=declared.get(declaration),
                    retry_at=moment_or_none(due) if state == RETRY else None,
                    outputs_pruned_at=moment_or_none(pruned),
                )
            )
        return found

    async def family(self, of: UUID | str, *, limit: int) -> tuple[list[Relative], bool]:
        async def find(db: Session) -> tuple[list[Relative], bool]:
            start = await self._start(db, of, "both", limit + 1)
            if start is None:
                return [], True
            # The number of each message, with its link and the next message towards the start.
            walked: dict[int, tuple[_Link, int | None]] = {}
            below = start.below
            if start.message is None:
                below = [_Link(link.n, 1, "replay") for link in start.nearest]
            else:
                rows = await db.rows(SQL.chain_up, start=start.message, limit=limit + 1)
                last = None
                for n, distance, via in rows:
                    walked[n] = _Link(n, distance, via), last
                    last = n
            walked |= {link.n: (link, start.message) for link in below or ()}
            level = [start.message] if below is None else [link.n for link in below]
            distance = 1 if below is None else 2
            while level and len(walked) <= limit:
                rows = await db.rows(SQL.chain_down, above=level, limit=limit + 1 - len(walked))
                found = {n: (_Link(n, distance, via), above) for n, via, above in rows if n not in walked}
                walked |= found
                level = list(found)
                distance += 1
            kept = dict(list(walked.items())[:limit])
            return await self._relatives(db, kept), len(walked) <= limit

        return await self._db.read(find)

    async def _relatives(self, db: Session, walked: dict[int, tuple[_Link, int | None]]) -> list[Relative]:
        rows = {row[0]: row for row in await db.rows(SQL.relatives, rows=list(walked))}
        counted = {row[0]: row[1:] for row in await db.rows(SQL.outputs_counted, rows=list(walked))}
        lanes = await self._lanes.learn(db, {row[3] for row in rows.values()})
        places = {n: place for place, n in enumerate(walked)}
        found = []
        for n, (link, neighbour) in walked.items():
            _, cid, execution, lane_id, key, state = rows[n]
            lane: Any = lanes[lane_id]
            outputs, first = counted.get(n, (0, None))
            found.append(
                Relative(
                    correlation_id=as_uuid(cid),
                    distance=link.distance,
                    via=link.via,
                    neighbour=None if neighbour is None else places[neighbour],
                    execution_id=as_uuid(execution),
                    config=lane.config,
                    config_version=lane.version,
                    route=lane.route,
                    stage=lane.stage,
                    status=ROW_STATES[state],
                    input_key=key,
                    outputs=outputs,
                    output_key=first,
                )
            )
        return found

    async def published_below(self, key: str, *, limit: int) -> PublishedBelow:
        async def find(db: Session) -> PublishedBelow:
            owner, _, rest = key.partition("/")
            of = await self._aliases.publication(db, owner)
            if of is None:
                return PublishedBelow([], set(), is_complete=True)
            stage, path = stage_of(rest, await self._aliases.stages(db, owner), "")
            given = {"dataset": of[0], "at": of[1]}
            top = await db.rows(SQL.entries_at, **given, stages=[stage], paths=[path])
            places, walked, distance = {rest}, dict[int, int](), 0
            ups = [-row[7] if row[4] is None else row[4] for row in top]
            while ups and len(walked) <= limit:
                rows = await db.rows(SQL.entries_below, **given, ups=ups)
                if not distance:  # the message that made the object may have made others
                    rows = [row for row in rows if row[11].partition("/")[2] == rest]
                places |= {f"{row[1]}/{row[2]}" for row in rows if row[7] is not None}
                ups = [n for n in dict.fromkeys(row[4] for row in rows) if n not in walked]
                walked |= dict.fromkeys(ups, distance)
                distance += 1
            numbers = list(walked)[:limit]
            found = await self._described(db, numbers, walked)
            return PublishedBelow(found, places, len(walked) <= limit)

        return await self._db.read(find)

    async def some_outputs(self, message: UUID, *, limit: int) -> tuple[list[str], int]:
        rows = await self._db.rows(SQL.some_outputs, id=message, limit=limit)
        return sorted(key for key, _ in rows), rows[0][1] if rows else 0

    async def known_keys(self, keys: Sequence[str]) -> set[str]:
        rows = await self._db.rows(SQL.known_keys, keys=list(keys))
        return {key for (key,) in rows}

    async def stored_after(self, first: str, last: str, *, limit: int) -> list[str]:
        rows = await self._db.rows(SQL.stored_between, first=first, last=last, limit=limit)
        return [key for (key,) in rows]


async def _numbers_of(db: Session, messages: Sequence[UUID]) -> list[int]:
    return [n for (n,) in await db.rows(SQL.message_numbers, ids=list(messages))]
