"""What waits for a person: it moves only if a person acts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from playhead.model import Dataset, Health, Publication, Replay, ReplayState, RouteStatus, Worker
from playhead.web.drawing import head_of
from playhead.web.evidence import limit_of
from playhead.web.links import link
from playhead.web.oldcode import old_code
from playhead.web.page import url
from playhead.web.queues import QueueRow
from playhead.web.render import capped, counted, short


@dataclass(frozen=True, slots=True)
class Step:
    """A link that leads on.

    Attributes:
        text: what it does.
        href: URL of the page.
    """

    text: str
    href: str


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that needs attention.

    Attributes:
        id: identifies it, also among the live numbers.
        level: `fail`: something has failed or stalled. `warn`: it may go on by itself, or was requested.
        title: what is wrong, with a number if there is one.
        code: error as it was reported; may be empty.
        detail: cause, or what to do.
        steps: pages that show or fix it.
        at: time at which it happened last; RFC 3339 in UTC; None if this is not known.
    """

    id: str
    level: Literal["fail", "warn"]
    title: str
    code: str
    detail: str
    steps: Sequence[Step]
    at: str | None = None


def of_backends(health: Health) -> Iterator[Need]:
    """Yield an item for each backend that is unavailable."""
    parts = (("store", health.store), ("broker", health.broker), ("catalog", health.catalog))
    for name, backend in parts:
        if backend.status != "ok":
            yield Need(
                f"backend.{name}",
                "fail",
                f"The {name} ({backend.backend}) is unavailable",
                backend.detail or "",
                "Parts of pages that need it cannot be shown.",
                [Step("Examine", url("/system"))],
            )


def of_queues(rows: Sequence[QueueRow]) -> Iterator[Need]:
    """Yield an item for each queue with messages but no worker, then for each route that waits."""
    for row in sorted(rows, key=lambda row: row.state != "no_worker"):
        route = row.route
        if row.state not in ("no_worker", "paused", "waiting"):
            continue
        # A worker that cannot run the route receives a message for a moment, and returns it.
        count = route.queue_depth + route.in_flight
        waiting = f"{counted(count, 'message')} in {route.queue}"
        waits = row.state != "no_worker"
        title = f"No worker for {waiting}"
        if waits:
            title = f"{route.config}/{route.route} waits" + (f", {waiting}" if count else "")
        yield Need(
            f"queue.{route.queue}",
            "warn" if waits else "fail",
            title,
            "",
            row.sentence if waits else "No process consumes the queue. Run: playhead worker",
            [Step("Open the queue", link("queue", route.queue))],
        )


_REASON: Final = 160
"""Characters of a reason."""
STOPPED: Final[tuple[ReplayState, ...]] = ("stalled", "paused")
"""States in which a replay publishes nothing until a person acts."""


def of_replays(replays: Sequence[Replay]) -> Iterator[Need]:
    """Yield an item for each replay that is stalled or paused."""
    for one in replays:
        if one.state not in STOPPED:
            continue
        sent = f"{one.objects_published:,} of {one.objects_found:,} published"
        if one.state == "stalled":
            cause = "The last five processes that published it have died."
        elif limit := limit_of(one):
            cause = f"{one.pause_reason}. {limit.capitalize()} may fail."
        else:
            cause = "It was paused on request."
        path = f"{one.from_stage}/{one.from_path}" if one.from_path else one.from_stage
        reason = f" Its reason: {head_of(one.reason, _REASON).shown}" if one.reason else ""
        yield Need(
            f"replay.{one.replay_batch_id}",
            "fail" if one.state == "stalled" else "warn",
            f"Replay {short(one.replay_batch_id)}, {path} → {one.to_route}, is {one.state}, {sent}",
            "",
            cause + reason,
            [Step("Open the replay", link("replay", one.replay_batch_id))],
        )


def of_workers(workers: Sequence[Worker], routes: Sequence[RouteStatus]) -> Iterator[Need]:
    """Yield an item for each source, or adapter, of which workers have not loaded the same current code.

    Args:
        routes: those that workers may serve.
    """
    noted = [
        replace(worker, adapters=[one for one in worker.adapters if one.notes])
        for worker in workers
        if worker.queues
    ]
    for one in old_code(noted, routes):
        made = [Step(f"Results of {kind} with this code", href) for kind, href in one.made.items()]
        steps = [Step("Open the processes", "/system#processes"), *made[:_MOST_ADAPTERS]]
        yield Need(one.id, "warn", one.title, "", one.detail, steps)


_MOST_ADAPTERS: Final = 3
_MOST_WAITING: Final = 10
"""Waiting executions that the catalog returns for a dataset."""
MOST_BEHIND: Final = 60.0
"""Seconds for which a sink may be behind its dataset."""


def of_datasets(datasets: Sequence[Dataset], refused: Sequence[Publication]) -> Iterator[Need]:
    """Yield an item for each refused publication, bad sink and hold, and for waiting results."""
    known = {(one.config, one.name) for one in datasets}
    for made in refused:
        if made.refusal and (made.config, made.dataset) in known:
            yield Need(
                f"refused.{made.config}/{made.dataset}",
                "fail",
                f"Publication {made.n} of {made.dataset} was refused",
                made.refusal.code,
                made.refusal.detail,
                [Step("Open the publication", url(f"/datasets/{made.dataset}/{made.n}", config=made.config))],
                made.created_at,
            )
    for one in datasets:
        yield from _of_dataset(one)


def _of_dataset(of: Dataset) -> Iterator[Need]:
    name = f"{of.config}/{of.name}"
    steps = [Step("Open the dataset", link("dataset", name))]
    for sink in of.sinks:
        if sink.problem or sink.lag_seconds > MOST_BEHIND:
            shown = f"publication {sink.shown}" if sink.shown else "nothing"
            seen = f"readers see {of.current}" if of.current else "nothing is published"
            yield Need(
                f"sink.{name}/{sink.route}",
                "fail",
                f"{of.config}/{sink.route} shows {shown} of {of.name}, and {seen}",
                sink.problem or "",
                f"It has been behind for {sink.lag_seconds:,.0f} s.",
                steps,
            )
    if of.held and of.publish == "automatic":
        yield Need(
            f"held.{name}",
            "warn",
            f"Publication of {of.name} is held, because of a rollback to {of.current}",
            "",
            "Publish, or press Release: runs that begin from then on are published automatically.",
            steps,
        )
    if of.unpublished:
        waiting = len(of.unpublished)
        waits = "1 result waits" if waiting == 1 else f"{capped(waiting, _MOST_WAITING)} results wait"
        yield Need(
            f"waiting.{name}",
            "warn",
            f"{waits} for publication in {of.name}",
            "",
            f"Readers see {f'publication {of.current}' if of.current else 'nothing'}.",
            steps,
        )
