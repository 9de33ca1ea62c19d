"""Read messages: the inputs, outputs, ancestors and descendants of each."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Final, Literal, Protocol
from uuid import UUID

from playhead.errors import NotFound
from playhead.ids import parse_uuid
from playhead.keys import owner_of
from playhead.model import ChainCount, ChainCounts, ChainLink, ChainSummary, Lineage, Page, Replay
from playhead.ports.catalog.browse import Browse
from playhead.ports.catalog.configs import Configs
from playhead.ports.catalog.trace import Trace
from playhead.ports.store import Store
from playhead.reading.affecting import affecting
from playhead.reading.families import summarize
from playhead.reading.listing import Listing
from playhead.reading.lookup import (
    PrunedObjects,
    check_key,
    check_records,
    find_execution,
    find_replay,
    no_object,
    no_records,
)
from playhead.reading.paging import decode_cursor, encode_cursor, list_of, page_before

MOST_COUNTED: Final = 10_000

Direction = Literal["up", "down", "both"]


class LineageCatalog(Browse, Trace, Configs, PrunedObjects, Protocol):
    """The part of the catalog that `LineageService` needs."""

    async def replay(self, batch: UUID) -> Replay | None: ...


class LineageService:
    """Reads messages. Every method raises `Unavailable` if a backend that it needs is unavailable."""

    def __init__(self, catalog: LineageCatalog, store: Store) -> None:
        self._catalog = catalog
        self._listing = Listing(catalog, store)

    async def get(self, correlation_id: UUID) -> Lineage:
        """Return one message, its state and its outputs.

        Raises:
            NotFound: `message_not_found`.
        """
        found = await self._catalog.lineage(correlation_id)
        if found is None:
            raise _no_message(correlation_id)
        return found

    async def of_object(self, key: str) -> list[Lineage]:
        """Return the message that produced an object.

        For an input, and for an object that another program stored, return the messages that read it, newest
        first. The list may be empty.

        Raises:
            BadRequest: `invalid_path`.
            NotFound: `object_not_found`, `records_deleted`.
        """
        check_key(key)
        rows = await self._catalog.lineage_of_object(key)
        if not rows:
            await self._check_object(key)
        return rows

    async def chain(
        self, of: UUID | str, direction: Direction, cursor: str | None, limit: int
    ) -> Page[ChainLink]:
        """Return the messages above and below a message or an object, also across replays.

        The nearest messages are on the first page. Each page is sorted by distance. A message itself has
        distance 0. Of an object, messages that received its siblings are not included. Its producer has
        distance 0 and is left out in direction `down`. The messages that received it have distance 1; if no
        message produced it, they have distance 0.

        Args:
            of: the correlation id of a message, or the key of an object.

        Raises:
            BadRequest: `invalid_path`.
            NotFound: `message_not_found`; `object_not_found`, `records_deleted`.
        """
        _check(of)
        list_ = list_of("chain", of, direction)
        place = decode_cursor(cursor, str, list_)
        after = parse_uuid(place) if place is not None else None
        links, then = await self._catalog.chain(of, direction=direction, after=after, limit=limit)
        if not links and cursor is None:
            await self._check_exists(of)
        return Page(links, encode_cursor(str(then) if then else None, list_))

    async def counts(self, of: UUID | str) -> ChainCounts:
        """Count the messages below a message, or those that received an object and all below them.

        Also across replays; up to 10,000 of them.

        Args:
            of: as in `chain`.

        Raises:
            BadRequest, NotFound: as `chain`.
        """
        _check(of)
        if isinstance(of, UUID):
            starts, nearest = [of], 1
        else:
            starts, nearest = await self._catalog.takers(of, limit=MOST_COUNTED), 0
        found, is_all = await self._catalog.descendants(
            starts, across_replays=True, limit=MOST_COUNTED + nearest
        )
        if not found:
            await self._check_exists(of)
            return ChainCounts(0, True, [])
        below = [one for one in found if one.distance >= nearest]
        by_route = Counter((one.execution_id, one.config, one.route, one.status) for one in below)
        counts = [ChainCount(*group, messages) for group, messages in by_route.items()]
        is_complete = is_all and not (isinstance(of, str) and await self._deleted_at(of))
        return ChainCounts(len(below), is_complete, counts)

    async def summary(self, of: UUID | str) -> ChainSummary:
        """Return the chain of a message or an object, in both directions, grouped by execution and route.

        Messages that received other outputs of the same message are not included. There are no groups if no
        message produced or received an object. Reads up to 10,000 messages, the nearest ones.

        Args:
            of: as in `chain`.

        Raises:
            BadRequest, NotFound: as `chain`.
        """
        _check(of)
        found, is_complete = await self._catalog.family(of, limit=MOST_COUNTED)
        executions = await self._catalog.executions_named(list({one.execution_id for one in found}))
        summary = summarize(found, executions, of, is_complete=is_complete)
        if not found:
            await self._check_exists(of)
            return summary
        furthest = min(found, key=lambda one: one.distance)
        return replace(summary, records_deleted_at=await self._deleted_at(furthest.input_key))

    async def _check_exists(self, of: UUID | str) -> None:
        """Raise unless `of` is the key of an object that exists, or whose records are kept."""
        if isinstance(of, UUID):
            raise _no_message(of)
        await self._check_object(of)

    async def _check_object(self, key: str) -> None:
        if when := await self._deleted_at(key):
            raise no_records(owner_of(key), when)
        if await self._catalog.pruned_object(key):
            return  # its records are kept
        if await self._listing.find(key) is None:
            raise no_object(key)

    async def _deleted_at(self, key: str) -> str | None:
        """Return when the records of the execution of a key were deleted; None if they were not."""
        owner = owner_of(key)
        return (await self._catalog.records_deleted([owner])).get(owner)

    async def list(
        self,
        *,
        execution: UUID | None = None,
        batch: UUID | None = None,
        route: str | None = None,
        status: str | None = None,
        made_by: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Lineage]:
        """Return messages of an execution, or of a replay batch including all descendants, newest first.

        Args:
            made_by: only messages whose result such code or such a worker has made: `chunk=2`, `worker:ID`.

        Raises:
            NotFound: `execution_not_found`, `replay_not_found`, `records_deleted`.
            ValueError: `made_by` is not such a condition.
        """
        of = list_of("lineage", execution, batch, route, status, made_by)
        before = decode_cursor(cursor, int, of)
        found = await self._catalog.lineage_list(
            execution=execution,
            batch=batch,
            route=route,
            status=status,
            made_by=affecting(made_by) if made_by else None,
            before=before,
            limit=limit,
        )
        # Looked up after the messages, which may be deleted meanwhile.
        if execution is not None:
            check_records(await find_execution(self._catalog, self._listing, execution))
        if batch is not None:
            check_records(await find_replay(self._catalog, batch))
        return page_before(found, of)


def _check(of: UUID | str) -> None:
    if isinstance(of, str):
        check_key(of)


def _no_message(correlation_id: UUID) -> NotFound:
    return NotFound("message_not_found", f"there is no message with the correlation id {correlation_id}")
