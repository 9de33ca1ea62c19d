"""What became of an object: the messages that received it, and all above and below them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, cast
from uuid import UUID

from playhead.backends._sql_catalog.browse import BrowsePart
from playhead.backends._sql_catalog.lanes import as_uuid, moment_or_none
from playhead.backends.sql import RETRY
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.model import ROW_STATES, ChainLink
from playhead.ports.catalog.trace import LONGEST_TEXT, Descendant

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


class TracePart(BrowsePart):
    async def takers(self, key: str, *, execution: UUID | None = None, limit: int) -> list[UUID]:
        rows = await self._db.read(lambda db: db.rows(SQL.takers, key=key, execution=execution, limit=limit))
        return [as_uuid(cid) for _, _, cid in rows]

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
            lines = await self._lineages(db, [rows[link.n] for link in order])
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
        takers = await db.rows(SQL.takers, key=of, execution=None, limit=room)
        producer = await db.value(SQL.producer, key=of)
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
                    below = [_Link(n, distance, via) for n, via in rows]
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
                level = [n for n, _ in rows if n not in walked]
                walked |= dict.fromkeys(level, distance)
            numbers = list(walked)[:limit]
            return await self._described(db, numbers, walked), len(walked) <= limit

        return await self._db.read(find)

    async def _described(
        self, db: Session, numbers: Sequence[int], distances: dict[int, int]
    ) -> list[Descendant]:
        rows = {row[0]: row for row in await db.rows(SQL.descendants, rows=numbers, length=LONGEST_TEXT)}
        lanes = await self._learn(db, {row[3] for row in rows.values()})
        found = []
        for number in numbers:
            _, cid, execution, lane_id, key, state, attempt, code, text, due, pruned = rows[number]
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
                    retry_at=moment_or_none(due) if state == RETRY else None,
                    outputs_pruned_at=moment_or_none(pruned),
                )
            )
        return found

    async def some_outputs(self, message: UUID, *, limit: int) -> list[str]:
        rows = await self._db.read(lambda db: db.rows(SQL.some_outputs, id=message, limit=limit))
        return sorted(key for (key,) in rows)

    async def known_keys(self, keys: Sequence[str]) -> set[str]:
        rows = await self._db.read(lambda db: db.rows(SQL.known_keys, keys=list(keys)))
        return {key for (key,) in rows}

    async def stored_after(self, first: str, last: str, *, limit: int) -> list[str]:
        rows = await self._db.read(
            lambda db: db.rows(SQL.stored_between, first=first, last=last, limit=limit)
        )
        return [key for (key,) in rows]


async def _numbers_of(db: Session, messages: Sequence[UUID]) -> list[int]:
    return [n for (n,) in await db.rows(SQL.message_numbers, ids=list(messages))]
