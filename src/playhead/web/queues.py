"""`/queues`: all queues with their routes. `/queues/{queue}`: one with its workers and its first messages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from playhead import times
from playhead.envelope import Message
from playhead.errors import BadRequest, NotFound, PlayheadError
from playhead.ids import parse_uuid
from playhead.model import RoutePause, RouteStatus, Worker, WorkerAdapter
from playhead.reading import codecheck
from playhead.services import Services
from playhead.web.oldcode import without_current
from playhead.web.page import (
    ROWS,
    Action,
    Answer,
    ApiCall,
    Ask,
    Crumb,
    Missing,
    Page,
    Redirect,
    Shown,
    or_missing,
    status_of,
    url,
)
from playhead.web.states import STUCK
from playhead.wording import wait_text

PEEKED: Final = 20
"""Messages of a queue that its page shows."""
MOST_ROUTES: Final = 1000
"""Routes among which a queue is looked for at once."""
State = Literal["no_worker", "paused", "waiting", "busy", "retrying", "external", "unattended", "idle"]


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A queue with the route that it feeds.

    Attributes:
        route: the route, with the numbers of its queue.
        state: `no_worker`: messages wait, and no process consumes the queue. `unattended`: no process
            consumes it, but it is empty. `retrying`: it is empty, but messages wait for their next attempt.
        sentence: why messages of the queue are processed, or are not.
    """

    route: RouteStatus
    state: State
    sentence: str


def row_of(route: RouteStatus) -> QueueRow:
    """Return a queue with its state."""
    waiting = f"{route.queue_depth:,} {'message waits' if route.queue_depth == 1 else 'messages wait'}"
    if route.wait is not None:
        return QueueRow(route, "paused" if route.wait.is_paused else "waiting", f"It {wait_text(route.wait)}")
    if not route.adapters:
        return QueueRow(route, "external", "Other programs consume this queue.")
    if not route.workers and route.queue_depth:
        return QueueRow(
            route, "no_worker", f"{waiting}, and no worker consumes the queue. Run: playhead worker"
        )
    if not route.workers:
        return QueueRow(route, "unattended", "The queue is empty, and no worker consumes it.")
    if route.queue_depth or route.in_flight:
        processed = f"{route.in_flight:,} {'is' if route.in_flight == 1 else 'are'} being processed"
        return QueueRow(route, "busy", f"{waiting}, and {processed}.")
    if route.retrying:
        wait = f"{route.retrying:,} {'message waits' if route.retrying == 1 else 'messages wait'}"
        due = f"The first is due in {route.retry_seconds or 0:,.0f} s."
        return QueueRow(route, "retrying", f"{wait} for the next attempt. {due}")
    return QueueRow(route, "idle", "The queue is empty. Its workers wait for messages.")


async def all_routes(services: Services) -> list[RouteStatus]:
    """Return the routes of all active configs."""
    found: list[RouteStatus] = []
    cursor: str | None = None
    while True:
        page = await services.queues.routes(cursor, MOST_ROUTES)
        found += page.items
        if (cursor := page.next_cursor) is None:
            return found


def _cells(rows: Sequence[QueueRow]) -> dict[str, str]:
    cells: dict[str, str] = {}
    for row in rows:
        cells[f"waiting.{row.route.queue}"] = f"{row.route.queue_depth:,}"
        cells[f"flight.{row.route.queue}"] = f"{row.route.in_flight:,}"
        cells[f"workers.{row.route.queue}"] = f"{row.route.workers:,}"
        cells[f"say.{row.route.queue}"] = row.sentence
    return cells


@dataclass(frozen=True, slots=True)
class QueuesView:
    """All queues.

    Attributes:
        queues: queues of the routes of all active configs, or why they cannot be read. Those whose messages
            are not processed come first, on the first page.
        outdated: number of the processes with old code that consume a queue, by queue.
        next_url: next page.
    """

    queues: Sequence[QueueRow] | Missing
    outdated: Mapping[str, int]
    next_url: str | None


async def show_all(ask: Ask) -> Shown[QueuesView]:
    cursor = ask.text("cursor")
    page, workers = await asyncio.gather(
        or_missing(ask.services.queues.routes, cursor, ROWS),
        or_missing(ask.services.workers.list, None, MOST_ROUTES),
    )
    call = ApiCall(url("/api/v1/routes", limit=ROWS, cursor=cursor))
    if isinstance(page, Missing):
        return Shown("Queues", QueuesView(page, {}, None), [call])
    live = () if isinstance(workers, Missing) else workers.items
    every = await all_routes(ask.services) if cursor or page.next_cursor else page.items
    stuck = [row for route in every if (row := row_of(route)).state in STUCK]
    stuck.sort(key=lambda row: STUCK.index(row.state))
    first = {row.route.queue for row in stuck}
    rows = [row_of(route) for route in page.items if route.queue not in first]
    rows = rows if cursor else stuck + rows
    outdated = {
        row.route.queue: old
        for row in rows
        if (old := sum(one.outdated for one in _consumers(live, row.route.queue, row.route.adapters)))
    }
    next_url = url("/queues", cursor=page.next_cursor) if page.next_cursor else None
    shape = " ".join(f"{row.state} {outdated.get(row.route.queue)}" for row in rows)
    return Shown(
        "Queues",
        QueuesView(rows, outdated, next_url),
        [call, ApiCall("/api/v1/workers")],
        cells=_cells(rows),
        shape=shape,
    )


@dataclass(frozen=True, slots=True)
class Consumer:
    """A process that consumes a queue.

    Attributes:
        worker: the process.
        adapters: those of its adapters that the route of the queue uses.
        outdated: whether it runs other code than its source has now.
    """

    worker: Worker
    adapters: Sequence[WorkerAdapter]
    outdated: bool


@dataclass(frozen=True, slots=True)
class Peeked:
    """A message of a queue that was read without consuming it.

    Attributes:
        correlation_id, execution_id: ids in its headers; None if they are missing, as in messages of other
            programs.
        replay_batch_id: replay that sent it; None for other messages.
        object_key: key of its object; None if the payload has none.
    """

    correlation_id: UUID | None
    execution_id: UUID | None
    replay_batch_id: UUID | None
    object_key: str | None


@dataclass(frozen=True, slots=True)
class QueueView:
    """One queue.

    Attributes:
        queue: its name.
        row: its route and numbers; None if no active config uses it.
        consumers: processes that consume it, or why they cannot be read.
        messages: its first messages, or why they cannot be read.
        notice: why a request had no effect.
    """

    queue: str
    row: QueueRow | Missing | None
    consumers: Sequence[Consumer] | Missing
    messages: Sequence[Peeked] | Missing
    notice: str | None


async def show(ask: Ask) -> Shown[QueueView]:
    return await _shown(ask)


async def _shown(ask: Ask, error: PlayheadError | None = None) -> Shown[QueueView]:
    queue = ask.parameters["queue"]
    routes, workers, messages = await asyncio.gather(
        or_missing(all_routes, ask.services),
        or_missing(ask.services.workers.list, None, MOST_ROUTES),
        or_missing(ask.services.queues.peek, queue, PEEKED),
    )
    row: QueueRow | Missing | None = routes if isinstance(routes, Missing) else None
    if not isinstance(routes, Missing):
        row = next((row_of(route) for route in routes if route.queue == queue), None)
    if row is None and not messages:
        raise NotFound("not_found", f"no active config has a queue {queue!r}, and it holds no messages")
    types = row.route.adapters if isinstance(row, QueueRow) else []
    consumers = workers if isinstance(workers, Missing) else _consumers(workers.items, queue, types)
    peeked = messages if isinstance(messages, Missing) else [_peeked(one) for one in messages]
    calls = [
        ApiCall(url(f"/api/v1/queues/{queue}/messages", limit=PEEKED)),
        ApiCall("/api/v1/routes"),
        ApiCall("/api/v1/workers"),
    ]
    cells = _cells([row]) if isinstance(row, QueueRow) else {}
    return Shown(
        queue,
        QueueView(queue, row, consumers, peeked, error.detail if error else None),
        calls,
        [Crumb("Queues", "/queues"), Crumb(queue)],
        cells,
        shape=row.state if isinstance(row, QueueRow) else "",
        status=status_of(error),
    )


def _consumers(workers: Sequence[Worker], queue: str, types: Sequence[str]) -> list[Consumer]:
    found = []
    for worker in without_current(workers):
        if queue in worker.queues:
            used = [one for one in worker.adapters if one.type in types]
            found.append(Consumer(worker, used, any(map(codecheck.outdated, used))))
    return found


def _peeked(message: Message) -> Peeked:
    headers, key = message.headers, message.payload.get("object_key")
    return Peeked(
        parse_uuid(headers.get("correlation_id", "")),
        parse_uuid(headers.get("execution_id", "")),
        parse_uuid(headers.get("replay_batch_id", "")),
        key if isinstance(key, str) else None,
    )


async def _pause(ask: Ask, route: RouteStatus) -> None:
    typed = str(ask.form.get("duration", "")).strip()
    try:
        seconds = times.duration(typed) if typed else None
    except ValueError as exc:
        raise BadRequest("invalid_body", f"{typed!r} {exc}") from None
    pause = RoutePause(str(ask.form.get("reason", "")).strip(), seconds)
    await ask.services.queues.pause(route.config, route.route, pause)


async def _resume(ask: Ask, route: RouteStatus) -> None:
    await ask.services.queues.resume(route.config, route.route)


def _action(name: str, perform: Callable[[Ask, RouteStatus], Awaitable[None]]) -> Action:
    async def answer(ask: Ask) -> Answer:
        queue = ask.parameters["queue"]
        try:
            route = next((one for one in await all_routes(ask.services) if one.queue == queue), None)
            if route is None:
                raise NotFound("not_found", f"no active config has a queue {queue!r}")
            await perform(ask, route)
        except (PlayheadError, ValueError) as exc:
            error = exc if isinstance(exc, PlayheadError) else BadRequest("invalid_body", str(exc))
            return await _shown(ask, error)
        return Redirect(f"/queues/{queue}")

    return Action(f"/queues/{{queue}}/{name}", answer, "queue.html", "queues", scope="operate")


ACTIONS: Final = (_action("pause", _pause), _action("resume", _resume))
PAGES: Final = (
    Page("/queues", "queues.html", show_all, "queues", live=True, scope="read"),
    Page("/queues/{queue}", "queue.html", show, "queues", live=True, scope="read"),
)
