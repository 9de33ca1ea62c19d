"""Read messages: the inputs, outputs, ancestors and descendants of each."""

from __future__ import annotations

from typing import Literal, Protocol
from uuid import UUID

from playhead.engine.listing import Listing
from playhead.engine.lookup import check_key, find_execution, find_replay, no_object
from playhead.engine.paging import decode_cursor, encode_cursor, list_of, page_before
from playhead.errors import NotFound
from playhead.ids import parse_uuid
from playhead.model import ChainLink, Lineage, Page, Replay
from playhead.ports.catalog.browse import Browse
from playhead.ports.catalog.configs import Configs
from playhead.ports.store import Store


class LineageCatalog(Browse, Configs, Protocol):
    """The part of the catalog that `LineageService` needs."""

    async def replay(self, batch: UUID) -> Replay | None: ...


class LineageService:
    """Reads messages. Every method raises `Unavailable` if a backend that it needs is unavailable."""

    def __init__(self, catalog: LineageCatalog, store: Store) -> None:
        self._catalog = catalog
        self._store = store
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
            NotFound: `object_not_found`.
        """
        check_key(key)
        rows = await self._catalog.lineage_of_object(key)
        if not rows and (await self._store.stat(key) is None or await self._catalog.unstored([key])):
            raise no_object(key)
        return rows

    async def chain(
        self,
        correlation_id: UUID,
        direction: Literal["up", "down", "both"],
        cursor: str | None,
        limit: int,
    ) -> Page[ChainLink]:
        """Return a message with its ancestors and descendants, also across replays.

        The nearest messages are on the first page. Each page is sorted by distance.

        Raises:
            NotFound: `message_not_found`.
        """
        of = list_of("chain", correlation_id, direction)
        place = decode_cursor(cursor, str, of)
        after = parse_uuid(place) if place is not None else None
        links, then = await self._catalog.chain(correlation_id, direction=direction, after=after, limit=limit)
        if not links and after is None:
            raise _no_message(correlation_id)
        return Page(links, encode_cursor(str(then) if then else None, of))

    async def list(
        self,
        *,
        execution: UUID | None = None,
        batch: UUID | None = None,
        route: str | None = None,
        status: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Lineage]:
        """Return messages of an execution, or of a replay batch including all descendants, newest first.

        Raises:
            NotFound: `execution_not_found`, `replay_not_found`.
        """
        of = list_of("lineage", execution, batch, route, status)
        before = decode_cursor(cursor, int, of)
        if execution is not None:
            await find_execution(self._catalog, self._listing, execution)
        if batch is not None:
            await find_replay(self._catalog, batch)
        return page_before(
            await self._catalog.lineage_list(
                execution=execution, batch=batch, route=route, status=status, before=before, limit=limit
            ),
            of,
        )


def _no_message(correlation_id: UUID) -> NotFound:
    return NotFound("message_not_found", f"there is no message with the correlation id {correlation_id}")
