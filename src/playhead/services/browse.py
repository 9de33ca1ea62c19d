"""Looking at things: executions, stages, objects, lineage, queues, adapters, health. Nothing here changes
anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar
from uuid import UUID

from playhead import keys
from playhead.engine import sidecar
from playhead.engine.health import Checked, check_all
from playhead.engine.listing import Listing
from playhead.engine.paging import decode_cursor, encode_cursor, list_of
from playhead.envelope import Message
from playhead.errors import BadRequest, NotFound, Unavailable
from playhead.ids import parse_uuid
from playhead.model import (
    AdapterInfo,
    BackendHealth,
    ChainLink,
    DeadLetter,
    DeadLetterDetail,
    Execution,
    Health,
    Lineage,
    Page,
    Replay,
    Route,
    RouteCounts,
    RouteStatus,
    StageSummary,
    StoredObject,
    WorkerInfo,
)
from playhead.ports.catalog.browse import Browse, ExecutionFilter
from playhead.ports.catalog.configs import Configs
from playhead.ports.store import Store, read_one

if TYPE_CHECKING:
    from playhead.ports.adapter import AdapterSpec
    from playhead.ports.broker import Broker, Depth

_T = TypeVar("_T")


class Reading(Browse, Configs, Checked, Protocol):
    """What looking needs of the catalog."""

    async def replay(self, batch: UUID) -> Replay | None: ...

    async def replays(
        self, *, source: UUID | None = None, before: int | None = None, limit: int = 100
    ) -> tuple[list[Replay], int | None]: ...

    async def workers(self) -> list[WorkerInfo]: ...


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a stored object. `size` in bytes; `chunks` may be read once."""

    content_type: str
    size: int
    chunks: AsyncIterator[bytes]


class BrowseService:
    """Answers questions. Every method raises `Unavailable` when a backend that it needs is away.

    Attributes:
        adapters: the adapters that this process has loaded, by name.
    """

    def __init__(
        self, catalog: Reading, store: Store, broker: Broker, adapters: Mapping[str, AdapterSpec]
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._broker = broker
        self._listing = Listing(catalog, store)
        self.adapters = adapters

    # -- executions --------------------------------------------------------------------------------

    async def execution(self, execution: UUID) -> Execution:
        """Return an execution; one that only the store knows is shown as adopted, and not written.

        Raises:
            NotFound: `execution_not_found`.
        """
        found = await self._catalog.execution(execution) or await self._listing.adoptable(execution)
        if found is None:
            raise NotFound(
                "execution_not_found", f"there is no execution {execution}, and no object under its id"
            )
        return found

    async def executions(self, where: ExecutionFilter, cursor: str | None, limit: int) -> Page[Execution]:
        """Return executions, newest first."""
        of = list_of("executions", *where)
        before = decode_cursor(cursor, int, of)
        return _page(await self._catalog.executions(where, before=before, limit=limit), of)

    async def resolve(self, text: str) -> UUID:
        """Return the id that a person means: an id in any spelling, `latest`, or `tag:NAME` (its newest).

        An id is taken as it is; whether there is such an execution is left to its use.

        Raises:
            NotFound: `execution_not_found`.
        """
        return await resolve(text, self.executions)

    async def route_counts(self, execution: UUID) -> list[RouteCounts]:
        """Return counts by route, in the order of the config; none for an adopted execution.

        Raises:
            NotFound: `execution_not_found`.
        """
        await self.execution(execution)
        return await self._catalog.route_counts(execution)

    async def stages(self, execution: UUID) -> list[StageSummary]:
        """Return the stages: `input`, then those that the config declares, then what others put there.

        Counts what a replay could take: no sidecars, no folder markers, nothing that is not stored (yet).
        Reads the whole listing of the execution.

        Raises:
            NotFound: `execution_not_found`.
        """
        return await self._listing.stages(await self.execution(execution))

    async def replays(self, source: UUID | None, cursor: str | None, limit: int) -> Page[Replay]:
        """Return replay batches, newest first; those from one execution when `source` is given.

        Raises:
            NotFound: `execution_not_found`.
        """
        of = list_of("replays", source)
        before = decode_cursor(cursor, int, of)
        if source is not None:
            await self.execution(source)
        return _page(await self._catalog.replays(source=source, before=before, limit=limit), of)

    async def replay(self, batch: UUID) -> Replay:
        """Return a replay batch as it stands.

        Raises:
            NotFound: `replay_not_found`.
        """
        found = await self._catalog.replay(batch)
        if found is None:
            raise NotFound("replay_not_found", f"there is no replay batch {batch}")
        return found

    # -- lineage -----------------------------------------------------------------------------------

    async def lineage(self, correlation_id: UUID) -> Lineage:
        """Return one message and what came of it.

        Raises:
            NotFound: `message_not_found`.
        """
        found = await self._catalog.lineage(correlation_id)
        if found is None:
            raise _no_message(correlation_id)
        return found

    async def lineage_of_object(self, key: str) -> list[Lineage]:
        """Return the message that made an object; for an input, and for objects of others, those that
        took it (none, if none did).

        Newest first.

        Raises:
            BadRequest: `invalid_path`.
            NotFound: `object_not_found`.
        """
        _check_key(key)
        rows = await self._catalog.lineage_of_object(key)
        if not rows and (await self._store.stat(key) is None or await self._catalog.unstored([key])):
            raise _no_object(key)
        return rows

    async def lineage_list(
        self,
        *,
        execution: UUID | None = None,
        batch: UUID | None = None,
        route: str | None = None,
        status: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Lineage]:
        """Return the messages of an execution, or of a replay batch with all that descends from them.

        Raises:
            NotFound: `execution_not_found`, `replay_not_found`.
        """
        of = list_of("lineage", execution, batch, route, status)
        before = decode_cursor(cursor, int, of)
        if execution is not None:
            await self.execution(execution)
        if batch is not None:
            await self.replay(batch)
        return _page(
            await self._catalog.lineage_list(
                execution=execution, batch=batch, route=route, status=status, before=before, limit=limit
            ),
            of,
        )

    async def chain(
        self,
        correlation_id: UUID,
        direction: Literal["up", "down", "both"],
        cursor: str | None,
        limit: int,
    ) -> Page[ChainLink]:
        """Return a message with those above and below it, across replays: the nearest ones on the first
        page; each page in itself by distance.

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

    # -- stored objects ----------------------------------------------------------------------------

    async def objects(
        self, execution: UUID, stage: str | None, path: str | None, cursor: str | None, limit: int
    ) -> Page[StoredObject]:
        """Return objects in byte order of their keys, as a replay of the same stage and path would see them.

        Args:
            execution: whose objects.
            stage: None for all stages.
            path: a folder or an object in the stage; one trailing `/` is dropped, empty is none.
            cursor: where the last page ended.
            limit: objects a page.

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
                raise BadRequest("invalid_path", f"path {path!r} needs a stage to lie in")
        found = await self.execution(execution)
        if stage is not None:
            await self._listing.check_stage(found, stage)
        items, more = await self._listing.objects(found, stage, path, after=after, limit=limit)
        return Page(items, encode_cursor(items[-1].key, of) if more else None)

    async def content(self, key: str) -> Content:
        """Return the bytes of an object, and the content type of its sidecar (else of its suffix).

        The first piece is read before this returns, so that an absent store is an error and not half
        an answer.

        Raises:
            BadRequest: `invalid_path`.
            NotFound: `object_not_found`.
        """
        _check_key(key)
        entry = await self._store.stat(key)
        if entry is None or await self._catalog.unstored([key]):
            raise _no_object(key)
        told = sidecar.read(await read_one(self._store, keys.sidecar_key(key)))
        chunks = self._store.stream(key)
        first = await anext(chunks, b"")

        async def all_chunks() -> AsyncIterator[bytes]:
            yield first
            async for chunk in chunks:
                yield chunk

        return Content(told.content_type or keys.content_type_of(key), entry.size, all_chunks())

    async def metadata(self, key: str) -> bytes:
        """Return the sidecar of an object as it is stored.

        Raises:
            BadRequest: `invalid_path`.
            NotFound: `object_not_found`; there is no object, or it has no sidecar.
        """
        _check_key(key)
        if await self._catalog.unstored([key]):
            raise _no_object(key)
        found = await read_one(self._store, keys.sidecar_key(key))
        if found is None:
            if await self._store.stat(key) is None:
                raise _no_object(key)
            raise NotFound(
                "object_not_found", f"the object {key!r} has no sidecar: another program put it there"
            )
        return found

    # -- dead letters, routes, queues --------------------------------------------------------------

    async def dead_letters(
        self,
        *,
        execution: UUID | None = None,
        route: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[DeadLetter]:
        """Return dead letters, newest first.

        Raises:
            NotFound: `execution_not_found`.
        """
        of = list_of("dead letters", execution, route)
        before = decode_cursor(cursor, int, of)
        if execution is not None:
            await self.execution(execution)
        return _page(
            await self._catalog.dead_letters(execution=execution, route=route, before=before, limit=limit), of
        )

    async def dead_letter(self, correlation_id: UUID) -> DeadLetterDetail:
        """Return one dead letter with its traceback.

        Raises:
            NotFound: `dead_letter_not_found`.
        """
        found = await self._catalog.dead_letter(correlation_id)
        if found is None:
            raise NotFound("dead_letter_not_found", f"there is no dead letter {correlation_id}")
        return found

    async def routes(self, cursor: str | None, limit: int) -> Page[RouteStatus]:
        """Return the routes of all active configs with their queues, by config, in the order declared."""
        of = list_of("routes")
        place = decode_cursor(cursor, str, of)
        lanes = [
            (loaded.config.name, number, route)
            for loaded in sorted(await self._catalog.active_configs(), key=lambda one: one.config.name)
            for number, route in enumerate(loaded.config.routes.values())
        ]
        after = _route_place(place, lanes) if place is not None else ("", -1)
        left = [lane for lane in lanes if lane[:2] > after]
        shown = [(config, route) for config, _, route in left[:limit]]
        dead = await self._catalog.dead_by_route()
        workers = await self._catalog.workers()
        depths = await self._depths([route.queue for _, route in shown])
        items = [
            RouteStatus(
                config=config,
                route=route.name,
                queue=route.queue,
                stage=route.stage,
                adapters=[step.type for step in route.steps],
                to=list(route.to),
                queue_depth=depths[route.queue].ready,
                in_flight=depths[route.queue].in_flight,
                dead=dead.get((config, route.name), 0),
                workers=sum(route.queue in worker.queues for worker in workers),
            )
            for config, route in shown
        ]
        if len(left) <= limit:
            return Page(items)
        config, number, last = left[limit - 1]
        return Page(items, encode_cursor(f"{config}/{number}/{last.name}", of))

    async def peek(self, queue: str, limit: int) -> list[Message]:
        """Return the first messages of a queue, consuming nothing."""
        return await self._broker.peek(queue, limit)

    async def adapter_infos(self) -> list[AdapterInfo]:
        """Return the adapters of this process, by name."""
        return describe_adapters(self.adapters)

    async def health(self, version: str) -> Health:
        """Return how the backends are, and the processes that are alive. One that is away is no error."""
        store, broker, catalog = await check_all(self._store, self._broker, self._catalog)
        workers: list[WorkerInfo] = []
        if catalog.status == "ok":
            try:
                workers = await self._catalog.workers()
            except Unavailable as exc:
                catalog = BackendHealth(catalog.backend, "down", exc.detail)
        well = all(backend.status == "ok" for backend in (store, broker, catalog))
        return Health("ok" if well else "degraded", version, store, broker, catalog, workers)

    # -- inner --------------------------------------------------------------------------------------

    async def _depths(self, queues: Sequence[str]) -> dict[str, Depth]:
        found = await asyncio.gather(*(self._broker.depth(queue) for queue in queues))
        return dict(zip(queues, found, strict=True))


async def resolve(
    text: str, executions: Callable[[ExecutionFilter, str | None, int], Awaitable[Page[Execution]]]
) -> UUID:
    """What `BrowseService.resolve` does, whoever lists the executions."""
    if identity := parse_uuid(text):
        return identity
    if text == "latest":
        where, missing = ExecutionFilter(), "there is no execution yet"
    elif text.startswith("tag:"):
        where, missing = ExecutionFilter(tag=text[4:]), f"no execution has the tag {text[4:]!r}"
    else:
        raise NotFound(
            "execution_not_found", f"{text!r} names no execution: give an id, `latest` or `tag:NAME`"
        )
    found = await executions(where, None, 1)
    if not found.items:
        raise NotFound("execution_not_found", missing)
    return found.items[0].execution_id


def describe_adapters(adapters: Mapping[str, AdapterSpec]) -> list[AdapterInfo]:
    """Adapters as they are shown, by name."""
    found = [adapters[name] for name in sorted(adapters)]
    return [
        AdapterInfo(
            type=spec.name,
            version=spec.version,
            produces=spec.produces,
            effects=spec.effects,
            description=spec.doc,
            origin=spec.origin,
            config=spec.config_model.model_json_schema() if spec.config_model is not None else None,
        )
        for spec in found
    ]


def _route_place(place: str, lanes: Sequence[tuple[str, int, Route]]) -> tuple[str, int]:
    """Where the list of routes goes on: after the route of a cursor, wherever a new version has put it; a
    route that the new version lacks leaves its number."""
    config, number, name = (*place.split("/"), "", "")[:3]
    at = int(number) if number.isdecimal() and len(number) < 10 else -1
    return config, next((n for of, n, route in lanes if of == config and route.name == name), at)


def _page(found: tuple[list[_T], int | None], of: str) -> Page[_T]:
    items, before = found
    return Page(items, encode_cursor(before, of))


def _check_key(key: str) -> None:
    if keys.parse_key(key) is None:
        why = keys.problem(key) or "is not {execution_id}/{stage}/{path}"
        raise BadRequest("invalid_path", f"key {key!r} {why}")


def _no_object(key: str) -> NotFound:
    return NotFound("object_not_found", f"there is no stored object {key!r}")


def _no_message(correlation_id: UUID) -> NotFound:
    return NotFound("message_not_found", f"there is no message with the correlation id {correlation_id}")
