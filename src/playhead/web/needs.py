"""What needs attention: one item for each cause, worst first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from playhead.model import DeadLetterGroup, Health, Replay, ReplayState, Worker
from playhead.web.links import link
from playhead.web.page import url
from playhead.web.queues import QueueRow
from playhead.web.render import capped, counted

_MOST_NAMED: Final = 3


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
                [Step("Examine", url("/system", examine="yes"))],
            )


def of_queues(rows: Sequence[QueueRow]) -> Iterator[Need]:
    """Yield an item for each queue with messages but no worker, then for each paused route."""
    for row in sorted(rows, key=lambda row: row.state != "no_worker"):
        route = row.route
        if row.state not in ("no_worker", "paused"):
            continue
        waiting = f"{counted(route.queue_depth, 'message')} in {route.queue}"
        is_paused = row.state == "paused"
        yield Need(
            f"queue.{route.queue}",
            "warn" if is_paused else "fail",
            f"{route.config}/{route.route} is paused, {waiting}" if is_paused else f"No worker for {waiting}",
            "",
            row.sentence if is_paused else "No process consumes the queue. Run: playhead worker",
            [Step("Open the queue", link("queue", route.queue))],
        )


def of_groups(groups: Sequence[DeadLetterGroup]) -> Iterator[Need]:
    """Yield an item for each group of dead letters, the largest first."""
    for one in sorted(groups, key=lambda group: -group.count):
        count = capped(one.count)
        letters = "dead letter" if one.count == 1 else "dead letters"
        alike = ", all alike" if one.count > 1 else ""
        yield Need(
            f"group.{one.group}",
            "fail",
            f"{count} {letters} in {one.config}/{one.route}{alike}",
            one.pattern,
            f"{one.error_code}, in {counted(one.executions, 'execution')}",
            [
                Step("Look at one", link("dead_letter", one.newest)),
                Step("Resend…", url("/dead-letters", group=one.group)),
            ],
            one.last_failed_at,
        )


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
        elif one.paused_by == "canary":
            cause = "Too many of its first objects failed."
        else:
            cause = "It was paused on request."
        yield Need(
            f"replay.{one.replay_batch_id}",
            "fail" if one.state == "stalled" else "warn",
            f"Replay {one.from_stage} → {one.to_route} is {one.state}, {sent}",
            "",
            cause,
            [Step("Open the replay", link("replay", one.replay_batch_id))],
        )


def of_workers(workers: Sequence[Worker]) -> Iterator[Need]:
    """Yield an item for each source of which workers have not loaded the current code.

    Then one for each adapter whose code differs between workers, unless its source is already named.
    """
    outdated: dict[tuple[str, str], tuple[dict[str, None], set[str]]] = {}
    differing: dict[str, dict[str, None]] = defaultdict(dict)
    for worker in workers:
        if not worker.queues:
            continue
        place = f"{worker.kind} {worker.pid} on {worker.host}"
        for one in worker.adapters:
            note = next((note for note in one.notes if note != "differs"), None)
            if note:
                places, types = outdated.setdefault((note, one.source), ({}, set()))
                places[place] = None
                types.add(one.type)
            elif one.notes:
                differing[one.type][place] = None
    named = set[str]()
    for (kind_of, source), (places, types) in outdated.items():
        named |= types
        name = source.rpartition("/")[2]
        adapters = ", ".join(sorted(types))
        is_one = len(places) == 1
        runs = f"{counted(len(places), 'worker')} {'runs' if is_one else 'run'}"
        yield Need(
            f"code.{kind_of}.{source}",
            "warn",
            f"{runs} old code of {name}"
            if kind_of == "changed"
            else f"{runs} another {name} than this server",
            "",
            f"{_listed(list(places))}; adapters: {adapters}. "
            f"Restart {'it' if is_one else 'them'} to load the new code.",
            [Step("Open the processes", "/system")],
        )
    for kind, places in differing.items():
        if kind not in named:
            yield Need(
                f"code.differs.{kind}",
                "warn",
                f"Workers have loaded different code of adapter {kind}",
                "",
                f"{_listed(list(places))}. Any of them may receive a message.",
                [Step("Open the processes", "/system")],
            )


def _listed(places: Sequence[str]) -> str:
    more = f" and {len(places) - _MOST_NAMED} more" if len(places) > _MOST_NAMED else ""
    return ", ".join(places[:_MOST_NAMED]) + more
