"""Read executions, stages, objects, lineage, queues, adapters and health. No method changes any state."""

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
    """The part of the catalog that `BrowseService` needs."""

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
    """Reads the state of the deployment.

    Every method raises `Unavailable` if a backend that it needs is unavailable.

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
        """Return an execution.

        An execution that has objects in the store but no row in the catalog is returned as `adopted`. No row
        is written for it.

        Raises:
            NotFound: `execution_not_found`.
        """
        found = await self._catalog.execution(execution) or await self._listing.adoptable(execution)
        if found is None:
            raise NotFound(
                "execution_not_found",
                f"there is no execution {execution}: neither the catalog nor the store contains this id",
            )
        return found

    async def executions(self, where: ExecutionFilter, cursor: str | None, limit: int) -> Page[Execution]:
        """Return executions, newest first."""
        of = list_of("executions", *where)
        before = decode_cursor(cursor, int, of)
        return _page(await self._catalog.executions(where, before=before, limit=limit), of)

    async def resolve(self, text: str) -> UUID:
        """Return the id of an execution given as an id, as `latest`, or as `tag:NAME` (the newest with it).

        An id is only parsed: this method does not check that the execution exists.

        Raises:
            NotFound: `execution_not_found`.
        """
        return await resolve(text, self.executions)

    async def route_counts(self, execution: UUID) -> list[RouteCounts]:
        """Return message counts by route, in the order of the config; empty for an adopted execution.

        Raises:
            NotFound: `execution_not_found`.
        """
        await self.execution(execution)
        return await self._catalog.route_counts(execution)

    async def stages(self, execution: UUID) -> list[StageSummary]:
        """Return the stages: `input`, then those of the config, then those that other programs created.

        Only objects that a replay would list are counted. Sidecars, folder markers and outputs that are not
        marked as stored are excluded. Reads the whole listing of the execution.

        Raises:
            NotFound: `execution_not_found`.
        """
        return await self._listing.stages(await self.execution(execution))

    async def replays(self, source: UUID | None, cursor: str | None, limit: int) -> Page[Replay]:
        """Return replay batches, newest first; with `source`, only those that replay this execution.

        Raises:
            NotFound: `execution_not_found`.
        """
        of = list_of("replays", source)
        before = decode_cursor(cursor, int, of)
        if source is not None:
            await self.execution(source)
        return _page(await self._catalog.replays(source=source, before=before, limit=limit), of)

    async def replay(self, batch: UUID) -> Replay:
        """Return a replay batch with its current progress.

        Raises:
            NotFound: `replay_not_found`.
        """
        found = await self._catalog.replay(batch)
        if found is None:
            raise NotFound("replay_not_found", f"there is no replay batch {batch}")
        return found

    # -- lineage -----------------------------------------------------------------------------------

    async def lineage(self, correlation_id: UUID) -> Lineage:
        """Return one message, its state and its outputs.

        Raises:
            NotFound: `message_not_found`.
        """
        found = await self._catalog.lineage(correlation_id)
        if found is None:
            raise _no_message(correlation_id)
        return found

    async def lineage_of_object(self, key: str) -> list[Lineage]:
        """Return the message that produced an object.

        For an input, and for an object that another program stored, return the messages that read it, newest
        first. The list may be empty.

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
        """Return messages of an execution, or of a replay batch including all descendants, newest first.

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

    # -- stored objects ----------------------------------------------------------------------------

    async def objects(
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
        found = await self.execution(execution)
        if stage is not None:
            await self._listing.check_stage(found, stage)
        items, more = await self._listing.objects(found, stage, path, after=after, limit=limit)
        return Page(items, encode_cursor(items[-1].key, of) if more else None)

    async def content(self, key: str) -> Content:
        """Return the content of an object, with the content type of its sidecar (else of its suffix).

        The first chunk is read before this method returns. So an unavailable store raises here, and does not
        truncate a response that has already begun.

        Raises:
            BadRequest: `invalid_path`.
            NotFound: `object_not_found`.
        """
        _check_key(key)
        entry = await self._store.stat(key)
        if entry is None or await self._catalog.unstored([key]):
            raise _no_object(key)
        info = sidecar.read(await read_one(self._store, keys.sidecar_key(key)))
        chunks = self._store.stream(key)
        first = await anext(chunks, b"")

        async def all_chunks() -> AsyncIterator[bytes]:
            yield first
            async for chunk in chunks:
                yield chunk

        return Content(info.content_type or keys.content_type_of(key), entry.size, all_chunks())

    async def metadata(self, key: str) -> bytes:
        """Return the stored bytes of an object's sidecar.

        Raises:
            BadRequest: `invalid_path`.
            NotFound: `object_not_found`; the object does not exist, or has no sidecar.
        """
        _check_key(key)
        if await self._catalog.unstored([key]):
            raise _no_object(key)
        found = await read_one(self._store, keys.sidecar_key(key))
        if found is None:
            if await self._store.stat(key) is None:
                raise _no_object(key)
            raise NotFound(
                "object_not_found", f"the object {key!r} has no sidecar: it was stored by another program"
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
        """Return the routes of all active configs with their queues, sorted by config, then as declared."""
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
        """Return the first messages of a queue without consuming them."""
        return await self._broker.peek(queue, limit)

    async def adapter_infos(self) -> list[AdapterInfo]:
        """Return the adapters that this process has loaded, sorted by name."""
        return describe_adapters(self.adapters)

    async def health(self, version: str) -> Health:
        """Return the health of each backend, and the live processes. Does not raise `Unavailable`."""
        store, broker, catalog = await check_all(self._store, self._broker, self._catalog)
        workers: list[WorkerInfo] = []
        if catalog.status == "ok":
            try:
                workers = await self._catalog.workers()
            except Unavailable as exc:
                catalog = BackendHealth(catalog.backend, "down", exc.detail)
        well = all(backend.status == "ok" for backend in (store, broker, catalog))
        return Health("ok" if well else "degraded", version, store, broker, catalog, workers)

    async def _depths(self, queues: Sequence[str]) -> dict[str, Depth]:
        found = await asyncio.gather(*(self._broker.depth(queue) for queue in queues))
        return dict(zip(queues, found, strict=True))


async def resolve(
    text: str, executions: Callable[[ExecutionFilter, str | None, int], Awaitable[Page[Execution]]]
) -> UUID:
    """Resolve as `BrowseService.resolve` does, with any function that lists executions."""
    if identity := parse_uuid(text):
        return identity
    if text == "latest":
        where, missing = ExecutionFilter(), "there is no execution yet"
    elif text.startswith("tag:"):
        where, missing = ExecutionFilter(tag=text[4:]), f"no execution has the tag {text[4:]!r}"
    else:
        raise NotFound(
            "execution_not_found", f"{text!r} is not an execution: use an id, `latest` or `tag:NAME`"
        )
    found = await executions(where, None, 1)
    if not found.items:
        raise NotFound("execution_not_found", missing)
    return found.items[0].execution_id


def describe_adapters(adapters: Mapping[str, AdapterSpec]) -> list[AdapterInfo]:
    """Describe adapters for users, sorted by name."""
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
    """Return the position (config, number) of the route in a cursor, after which the next page starts.

    A new version of the config may have moved the route. If the new version has removed it, the number that
    the cursor recorded is used.
    """
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
