"""Read the routes with their queues, pause routes, and read the dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import UUID

from playhead import events
from playhead.envelope import Message
from playhead.errors import Conflict, NotFound
from playhead.model import (
    DeadLetter,
    DeadLetterDetail,
    DeadLetterGroup,
    Page,
    Route,
    RoutePause,
    RouteStatus,
    WorkerInfo,
)
from playhead.ports.broker import Broker, Depth
from playhead.ports.catalog.browse import EVERY_DEAD_LETTER, Browse, DeadLetterFilter
from playhead.ports.catalog.configs import Configs
from playhead.ports.catalog.limits import Limits
from playhead.ports.store import Store
from playhead.reading.listing import Listing
from playhead.reading.lookup import check_records, find_execution
from playhead.reading.paging import decode_cursor, encode_cursor, list_of, page_before
from playhead.similar import did_you_mean
from playhead.work.routelimits import wait_of_route


class QueueCatalog(Browse, Configs, Limits, Protocol):
    """The part of the catalog that `QueueService` needs."""

    async def workers(self) -> list[WorkerInfo]: ...


class QueueService:
    """Reads routes, queues and dead letters, and pauses routes.

    Every method raises `Unavailable` if a backend that it needs is unavailable.

    Args:
        noted: is called with the id of each dead letter that is read alone, with its traceback.
    """

    def __init__(
        self, catalog: QueueCatalog, broker: Broker, store: Store, noted: Callable[[str], None]
    ) -> None:
        self._catalog = catalog
        self._noted = noted
        self._broker = broker
        self._listing = Listing(catalog, store)

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
        items = await self._statuses([(config, route) for config, _, route in left[:limit]])
        if len(left) <= limit:
            return Page(items)
        config, number, last = left[limit - 1]
        return Page(items, encode_cursor(f"{config}/{number}/{last.name}", of))

    async def _statuses(self, shown: Sequence[tuple[str, Route]]) -> list[RouteStatus]:
        dead = await self._catalog.dead_by_route()
        retries = await self._catalog.retries_by_route()
        workers = await self._catalog.workers()
        cooldowns = await self._catalog.cooldowns()
        depths = await self._depths([route.queue for _, route in shown])
        return [
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
                wait=wait_of_route(cooldowns, config, route),
                on_replay=route.on_replay or "run",
                retrying=waiting.messages if (waiting := retries.get((config, route.name))) else 0,
                retry_seconds=waiting.seconds if waiting else None,
            )
            for config, route in shown
        ]

    async def pause(self, config: str, route: str, pause: RoutePause) -> RouteStatus:
        """Let workers start no attempt of a route, until it is resumed or the time has passed.

        Workers notice it within a second; attempts that run then finish. Messages stay in the queue, and no
        attempt is counted. An earlier pause is replaced.

        Raises:
            Conflict: `route_external`.
            NotFound: `config_not_found`, `route_not_found`.
        """
        found = await self._route(config, route)
        if found.external:
            raise Conflict(
                "route_external",
                f"route {config}/{route} is external: another program consumes its queue, so Playhead cannot "
                "pause it. Pause that program",
            )
        await self._catalog.pause_route(config, route, pause)
        events.emit(
            events.ROUTE_PAUSED, config=config, route=route, seconds=pause.seconds, detail=pause.reason
        )
        return (await self._statuses([(config, found)]))[0]

    async def resume(self, config: str, route: str) -> RouteStatus:
        """End the pause of a route. A route that is not paused stays as it is.

        Raises:
            NotFound: `config_not_found`, `route_not_found`.
        """
        found = await self._route(config, route)
        if await self._catalog.resume_route(config, route):
            events.emit(events.ROUTE_RESUMED, config=config, route=route)
        return (await self._statuses([(config, found)]))[0]

    async def _route(self, config: str, route: str) -> Route:
        active = {one.config.name: one.config for one in await self._catalog.active_configs()}
        if config not in active:
            raise NotFound(
                "config_not_found", f"no active config {config!r}.{did_you_mean(config, list(active))}"
            )
        routes = active[config].routes
        if route not in routes:
            raise NotFound(
                "route_not_found",
                f"config {config} has no route {route!r}.{did_you_mean(route, list(routes))}",
            )
        return routes[route]

    async def dead_total(self) -> int:
        """Return the number of all dead letters."""
        return sum((await self._catalog.dead_by_route()).values())

    async def peek(self, queue: str, limit: int) -> list[Message]:
        """Return the first messages of a queue without consuming them."""
        return await self._broker.peek(queue, limit)

    async def dead_letters(
        self, where: DeadLetterFilter = EVERY_DEAD_LETTER, cursor: str | None = None, limit: int = 100
    ) -> Page[DeadLetter]:
        """Return dead letters, newest first.

        Raises:
            NotFound: `execution_not_found`, `records_deleted`.
        """
        of = list_of("dead letters", *where)
        before = decode_cursor(cursor, int, of)
        found = await self._catalog.dead_letters(where, before=before, limit=limit)
        await self._check(where.execution)
        return page_before(found, of)

    async def dead_letter_groups(
        self,
        *,
        execution: UUID | None = None,
        config: str | None = None,
        route: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[DeadLetterGroup]:
        """Return groups of dead letters that failed alike, the group of the newest message first.

        `route` is the name of a route, or `config/route`. With `execution`, only its dead letters count.

        Raises:
            NotFound: `execution_not_found`, `records_deleted`.
        """
        of = list_of("groups of dead letters", execution, config, route)
        before = decode_cursor(cursor, int, of)
        found = await self._catalog.dead_letter_groups(
            execution=execution, config=config, route=route, before=before, limit=limit
        )
        await self._check(execution)
        return page_before(found, of)

    async def _check(self, execution: UUID | None) -> None:
        """Raise if an execution does not exist, or has no records any more after they were read."""
        if execution is not None:
            check_records(await find_execution(self._catalog, self._listing, execution))

    async def dead_letter(self, correlation_id: UUID) -> DeadLetterDetail:
        """Return one dead letter with its traceback.

        Raises:
            NotFound: `dead_letter_not_found`.
        """
        found = await self._catalog.dead_letter(correlation_id)
        if found is None:
            raise NotFound("dead_letter_not_found", f"there is no dead letter {correlation_id}")
        self._noted(str(correlation_id))
        return found

    async def _depths(self, queues: Sequence[str]) -> dict[str, Depth]:
        found = await asyncio.gather(*(self._broker.depth(queue) for queue in queues))
        return dict(zip(queues, found, strict=True))


def _route_place(place: str, lanes: Sequence[tuple[str, int, Route]]) -> tuple[str, int]:
    """Return the position (config, number) of the route in a cursor, after which the next page starts.

    A new version of the config may have moved the route. If the new version has removed it, the number that
    the cursor recorded is used.
    """
    config, number, name = (*place.split("/"), "", "")[:3]
    at = int(number) if number.isdecimal() and len(number) < 10 else -1
    return config, next((n for of, n, route in lanes if of == config and route.name == name), at)
