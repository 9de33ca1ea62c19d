"""What became of an object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal
from uuid import UUID

from playhead.ids import moment
from playhead.model import ChainLink, Lineage
from playhead.ports.catalog.trace import LONGEST_TEXT, Descendant
from tests.catalog_memory.browse import BrowsePart
from tests.catalog_memory.rows import MessageRow

Bond = Literal["self", "parent", "replay"]
Found = tuple[int, Bond, MessageRow]


class TracePart(BrowsePart):
    async def takers(self, key: str, *, execution: UUID | None = None, limit: int) -> list[UUID]:
        await self._begin()
        found = [row for _, row in self._takers(key) if execution in (None, row.execution.id)]
        return [row.id for row in found[:limit]]

    async def replayed(self, messages: Sequence[UUID], *, execution: UUID, limit: int) -> list[UUID]:
        await self._begin()
        rows = [self._messages[one] for one in messages if one in self._messages]
        below = [taker for row in rows for via, taker in self._below(row) if via == "replay"]
        found = sorted((row for row in below if row.execution.id == execution), key=lambda row: row.n)
        return [row.id for row in found[:limit]]

    def _producer(self, key: str) -> MessageRow | None:
        output = self._outputs.get(key)
        return output.message if output and output.state == "stored" else None

    def _takers(self, key: str) -> list[tuple[Bond, MessageRow]]:
        producer = self._producer(key)
        found: list[tuple[Bond, MessageRow]] = []
        for row in sorted(self._messages.values(), key=lambda row: row.n):
            if row.object_key == key and row.parent is None:
                found.append(("replay", row))
            elif row.object_key == key and producer is not None and row.parent is producer:
                found.append(("parent", row))
        return found

    async def chain(
        self,
        of: UUID | str,
        *,
        direction: Literal["up", "down", "both"],
        after: UUID | None = None,
        limit: int,
    ) -> tuple[list[ChainLink], UUID | None]:
        await self._begin()
        nearest: list[Found] = []
        below: list[tuple[Bond, MessageRow]] | None = None
        if isinstance(of, UUID):
            start = self._messages.get(of)
        else:
            start = self._producer(of)
            below = self._takers(of)
        if start is None:
            nearest = [(0, "self", row) for _, row in below or ()]
            up, down, below = [], [row for _, _, row in nearest], None
        else:
            nearest = [] if below is not None and direction == "down" else [(0, "self", start)]
            up, down = [start], [start]
        up = up if direction != "down" else []
        down = down if direction != "up" else []
        distance = 0
        while up or down:
            distance += 1
            above = [found for row in up for found in self._above(row)]
            if below is None or direction == "up":
                below = [found for row in down for found in self._below(row)]
            nearest += [(-distance, via, row) for via, row in above]
            nearest += [(distance, via, row) for via, row in below]
            up, down, below = [row for _, row in above], [row for _, row in below], None
        begin = next((at + 1 for at, link in enumerate(nearest) if link[2].id == after), 0)
        page = nearest[begin : begin + limit]
        links = [
            ChainLink(**_fields(self._lineage(row)), distance=distance, via=via)
            for distance, via, row in sorted(page, key=lambda link: (link[0], link[2].n))
        ]
        return links, page[-1][2].id if len(nearest) > begin + limit else None

    async def descendants(
        self, messages: Sequence[UUID], *, across_replays: bool, limit: int
    ) -> tuple[list[Descendant], bool]:
        await self._begin()
        level = sorted((self._messages[one] for one in messages if one in self._messages), key=lambda r: r.n)
        found = [(0, row) for row in level]
        distance = 0
        while level:
            distance += 1
            level = [
                below for row in level for via, below in self._below(row) if via == "parent" or across_replays
            ]
            found += [(distance, row) for row in level]
        described = [
            _descendant(row, distance)._replace(outputs_pruned_at=self._outputs_pruned_at(row))
            for distance, row in found[:limit]
        ]
        return described, len(found) <= limit

    async def some_outputs(self, message: UUID, *, limit: int) -> list[str]:
        await self._begin()
        row = self._messages.get(message)
        return sorted(o.key for o in self._outputs_of(row) if o.state == "stored")[:limit] if row else []

    async def known_keys(self, keys: Sequence[str]) -> set[str]:
        await self._begin()
        roots = {row.object_key for row in self._messages.values() if row.parent is None}
        stored = {key for key, output in self._outputs.items() if output.state == "stored"}
        return set(keys) & (roots | stored)

    async def stored_after(self, first: str, last: str, *, limit: int) -> list[str]:
        await self._begin()
        keys = (key for key, output in self._outputs.items() if output.state == "stored")
        return sorted(key for key in keys if first.encode() < key.encode() < last.encode())[:limit]

    def _above(self, row: MessageRow) -> Iterator[tuple[Bond, MessageRow]]:
        if row.parent:
            yield "parent", row.parent
            return
        made = self._outputs.get(row.object_key)
        if made and made.message:
            yield "replay", made.message

    def _below(self, row: MessageRow) -> Iterator[tuple[Bond, MessageRow]]:
        made = {output.key for output in self._outputs_of(row) if output.state == "stored"}
        for other in self._messages.values():
            if other.parent is row:
                yield "parent", other
            elif other.parent is None and other.object_key in made:
                yield "replay", other


def _descendant(row: MessageRow, distance: int) -> Descendant:
    text = row.skip_reason or (row.error.message if row.error else None)
    return Descendant(
        correlation_id=row.id,
        distance=distance,
        execution_id=row.execution.id,
        config=row.execution.ran.config.name,
        config_version=row.execution.ran.number,
        route=row.route.name,
        input_key=row.object_key,
        status=row.state,
        attempts=row.attempt,
        error_code=row.error.code if row.error else None,
        text=text[:LONGEST_TEXT] if text else None,
        retry_at=moment(row.not_before) if row.state == "retry" else None,
    )


def _fields(lineage: Lineage) -> dict[str, Any]:
    """Return the fields of a message for a link. `asdict` would also convert `error` to a dict."""
    return {name: getattr(lineage, name) for name in Lineage.__slots__}
