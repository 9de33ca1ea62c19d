"""`/affected`: what a version of an adapter, or a worker, has made, and the replays of these objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from playhead.errors import BadRequest
from playhead.ids import moment
from playhead.model import AffectedRoute
from playhead.web.page import ROWS, Answer, ApiCall, Ask, Crumb, Missing, Page, Shown, or_missing, url
from playhead.web.render import number
from playhead.web.replayform import ReplayForm
from playhead.wording import replay_of

_MOST_WORKERS: Final = 1000


@dataclass(frozen=True, slots=True)
class AffectedRow:
    """A route of an execution.

    Attributes:
        route: the route with the number of its results.
        objects_url: the list of these messages, with what they received and made.
        replay_url: form of the replay of exactly these objects.
        command: the command that starts it.
    """

    route: AffectedRoute
    objects_url: str
    replay_url: str
    command: str


@dataclass(frozen=True, slots=True)
class AffectedView:
    """Results by what has made them.

    Attributes:
        adapter: the adapter with its version or code; empty without one.
        worker: the worker; empty without one.
        of: the adapter, or the live process that has this id, such as `worker 7 on b3`; else the id.
        since: from which time executions are read.
        rows: a page of routes, the newest execution first.
        problem: why nothing was read; None if it was.
        is_read: whether the rows are known; otherwise executions are still being read.
        as_of: when older rows were read; None if they are new.
        next_url: URL of the next page; None at the end.
        first_url: URL of the first page; None on the first page.
    """

    adapter: str
    worker: str
    of: str
    since: str
    rows: Sequence[AffectedRow]
    problem: str | None
    is_read: bool
    as_of: str | None
    next_url: str | None
    first_url: str | None


def affected_url(**query: str | None) -> str:
    """Return the URL of the page."""
    return url("/affected", **query)


async def show(ask: Ask) -> Answer:
    adapter, worker, cursor = ask.text("adapter"), ask.text("worker"), ask.text("cursor")
    since = ask.text("since") or "-24h"
    rows: list[AffectedRow] = []
    problem = following = as_of = None
    is_read, read = True, 0
    if adapter or worker:
        try:
            found = await ask.services.affected.reading(
                adapter=adapter,
                worker=worker,
                since=since,
                cursor=cursor,
                limit=ROWS,
                patience=ask.patience,
            )
            is_read, read = found.result is not None, found.done
            as_of = None if found.as_of is None else moment(found.as_of)
            if found.result:
                rows, following = [_row(one) for one in found.result.items], found.result.next_cursor
        except (BadRequest, ValueError) as exc:
            problem = str(exc)

    def here(cursor: str | None) -> str:
        return affected_url(adapter=adapter, worker=worker, since=since, cursor=cursor)

    view = AffectedView(
        *(
            adapter or "",
            worker or "",
            adapter or await _process(ask, worker),
            since,
            rows,
            problem,
            is_read,
            as_of,
        ),
        here(following) if following else None,
        here(None) if cursor else None,
    )
    calls = [ApiCall(url("/api/v1/affected", adapter=adapter, worker=worker, since=since))]
    crumbs = [Crumb("System", "/system"), Crumb("Affected by")]
    return Shown(
        "Affected by",
        view,
        calls if adapter or worker else [],
        crumbs,
        cells={"read": number(read)},
        shape="read" if is_read else "reading",
        ended=is_read,
    )


async def _process(ask: Ask, worker: str | None) -> str:
    """Return the kind, the number and the host of a live process; its id if it is not found."""
    found = await or_missing(ask.services.workers.list, None, _MOST_WORKERS) if worker else None
    live = () if found is None or isinstance(found, Missing) else found.items
    names = [f"{one.kind} {one.pid} on {one.host}" for one in live if one.worker_id == worker]
    return names[0] if names else worker or ""


def _row(one: AffectedRoute) -> AffectedRow:
    form = ReplayForm(
        from_execution_id=str(one.from_execution_id),
        from_stage=one.from_stage,
        to_route=f"{one.config}/{one.route}",
        made_by=one.made_by,
        in_replay=str(one.in_replay or ""),
    )
    here = f"/executions/{one.execution_id}"
    return AffectedRow(
        one,
        url(here, tab="messages", route=one.route, made_by=one.made_by),
        form.href(),
        replay_of(one),
    )


PAGES: Final = (Page("/affected", "affected.html", show, live=True, scope="read"),)
