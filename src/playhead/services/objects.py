"""Read stored objects and their sidecars."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from playhead import keys
from playhead.errors import BadRequest, NotFound
from playhead.model import Execution, ObjectVersion, Page, PublishedIn, StoredObject
from playhead.ports.catalog.browse import Browse, ExecutionFilter
from playhead.ports.catalog.configs import Configs
from playhead.ports.store import Store, read_one
from playhead.reading.listing import Listing
from playhead.reading.lookup import PrunedObjects, check_key, find_execution, missing_object
from playhead.reading.paging import decode_cursor, encode_cursor, list_of
from playhead.work import sidecar

_MOST_FAMILY: Final = 100
_MOST_ABOVE: Final = 20
_MOST_RUNS: Final = 20


class ObjectCatalog(Browse, Configs, PrunedObjects, Protocol):
    """The part of the catalog that `ObjectService` needs."""

    async def published_in(self, keys: Sequence[str]) -> dict[str, list[PublishedIn]]: ...


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a stored object.

    Attributes:
        size: of the whole object, in bytes.
        chunks: its bytes, or the first ones if they were limited. It may be read once, and should be closed.
    """

    content_type: str
    size: int
    chunks: AsyncGenerator[bytes, None]


class ObjectService:
    """Reads stored objects. Every method raises `Unavailable` if a backend that it needs is unavailable.

    Args:
        noted: is called with each key whose content is read.
    """

    def __init__(self, catalog: ObjectCatalog, store: Store, noted: Callable[[str], None]) -> None:
        self._catalog = catalog
        self._store = store
        self._noted = noted
        self._listing = Listing(catalog, store)

    async def content(self, key: str, *, limit: int | None = None) -> Content:
        """Return the content of an object, with the content type of its sidecar (else of its suffix).

        With `limit`, which is at least 1, `chunks` has only the first bytes, and no others are read.

        The first chunk is read before this method returns. So an unavailable store raises here, and does not
        truncate a response that has already begun.

        Raises:
            BadRequest: `invalid_path`.
            NotFound: `object_not_found`, `object_pruned`, `records_deleted`.
        """
        check_key(key)
        found = await self._listing.find(key)
        if found is None:
            raise await missing_object(self._catalog, key)
        location, entry = found
        info = sidecar.read(await read_one(self._store, keys.sidecar_key(location)))
        chunks = self._store.stream(location, limit=limit)
        first = await anext(chunks, b"")
        self._noted(key)

        async def all_chunks() -> AsyncGenerator[bytes, None]:
            async with aclosing(chunks):
                yield first
                async for chunk in chunks:
                    yield chunk

        return Content(info.content_type or keys.content_type_of(key), entry.size, all_chunks())

    async def metadata(self, key: str) -> bytes:
        """Return the stored bytes of an object's sidecar; of a pruned object, what the catalog knows of it.

        An object that was taken over has the sidecar of its original.

        Raises:
            BadRequest: `invalid_path`.
            NotFound: `object_not_found`; the object does not exist, or has no sidecar. `records_deleted`.
        """
        check_key(key)
        if pruned := await self._catalog.pruned_object(key):
            return sidecar.of_pruned(key, pruned)
        found = await self._listing.find(key)
        if found is None:
            raise await missing_object(self._catalog, key)
        its_sidecar = await read_one(self._store, keys.sidecar_key(found[0]))
        if its_sidecar is None:
            raise NotFound(
                "object_not_found", f"the object {key!r} has no sidecar: it was stored by another program"
            )
        return its_sidecar

    async def versions(self, key: str) -> list[ObjectVersion]:
        """Return the objects with the same stage and path in the family of an execution, oldest first.

        The object itself is one of them. Pruned objects, and those of other programs, are left out. At most
        100 executions of the family are searched.

        Raises:
            BadRequest: `invalid_path`.
            NotFound: `execution_not_found`.
        """
        member, rest = await self._owner(key)
        return await self._in(await self._family(member), rest)

    async def versions_and_runs(
        self, execution: Execution, rest: str
    ) -> tuple[list[ObjectVersion], list[ObjectVersion]]:
        """Return the versions of an object, and those in the newest runs of its config, newest first.

        Versions are not repeated. At most 20 runs are searched.

        Args:
            execution: its execution, which was read a moment ago.
            rest: its key without the execution.
        """
        family, runs = await asyncio.gather(self._family(execution), self._runs(execution))
        members = {one.execution_id for one in family}
        every = [*family, *(one for one in runs if one.execution_id not in members)]
        found = await self._in(every, rest)
        versions = [one for one in found if one.execution_id in members]
        return versions, found[len(versions) :]

    async def _runs(self, execution: Execution) -> list[Execution]:
        if execution.config is None:
            return []
        of = ExecutionFilter(config=execution.config, kind="run")
        return (await self._catalog.executions(of, limit=_MOST_RUNS))[0]

    async def _owner(self, key: str) -> tuple[Execution, str]:
        """Return the execution of a key, and the rest of the key."""
        check_key(key)
        owner, _, rest = key.partition("/")
        return await find_execution(self._catalog, self._listing, UUID(owner)), rest

    async def _in(self, executions: Sequence[Execution], rest: str) -> list[ObjectVersion]:
        found = await self._catalog.sources([f"{one.execution_id}/{rest}" for one in executions])
        published = await self._catalog.published_in(list(found))
        return [
            ObjectVersion(
                *(of, one.execution_id, one.kind, one.config, one.config_version, one.created_at),
                *(source.size, source.sha256.hex(), source.content_type, published.get(of, [])),
            )
            for one in executions
            if (source := found.get(of := f"{one.execution_id}/{rest}"))
        ]

    async def _family(self, member: Execution) -> list[Execution]:
        """Return an execution, the run at its beginning, and all replays of these, oldest first."""
        found = {member.execution_id: member}
        first = member
        for _ in range(_MOST_ABOVE):
            parent = first.parent_execution_id
            if parent is None or (above := await self._catalog.execution(parent)) is None:
                break
            first = found[parent] = above
        waiting = [first.execution_id]
        while waiting and len(found) < _MOST_FAMILY:
            of = ExecutionFilter(parent=waiting.pop(0))
            children, _ = await self._catalog.executions(of, limit=_MOST_FAMILY)
            waiting += [child.execution_id for child in children]
            found |= {child.execution_id: child for child in children}
        return sorted(found.values(), key=lambda one: (one.created_at, one.execution_id))[:_MOST_FAMILY]

    async def list(
        self, execution: UUID, stage: str | None, path: str | None, cursor: str | None, limit: int
    ) -> Page[StoredObject]:
        """Return the objects that a replay of this stage and path would list, in byte order of their keys.

        Args:
            execution: the execution.
            stage: the stage; None selects all stages.
            path: a folder or an object in the stage; None or empty selects the whole stage. One trailing `/`
                is removed.
            cursor: the cursor from the previous page.
            limit: maximum number of objects in the page.

        Raises:
            BadRequest: `invalid_path`, `invalid_cursor`.
            NotFound: `execution_not_found`, `stage_not_found`.
        """
        if path != "/":
            path = (path or "").removesuffix("/") or None
        of = list_of("objects", execution, stage, path)
        after = decode_cursor(cursor, str, of) or ""
        if stage is not None:
            keys.check_path(stage, "stage")
        if path is not None:
            keys.check_path(path)
            if stage is None:
                raise BadRequest("invalid_path", f"path {path!r} needs a stage: also name the stage")
        found = await find_execution(self._catalog, self._listing, execution)
        if stage is not None:
            await self._listing.check_stage(found, stage)
        items, more = await self._listing.objects(found, stage, path, after=after, limit=limit)
        last = f"{execution}/{items[-1].stage}/{items[-1].path}" if more else ""
        return Page(items, encode_cursor(last, of) if more else None)
