"""`/`: the last 24 hours, what waits for a person, causes of failures, and executions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final
from uuid import UUID

from playhead import __version__
from playhead.model import Execution, Replay
from playhead.ports.catalog.browse import ExecutionFilter
from playhead.services import Services
from playhead.web import needs
from playhead.web.causes import CauseRow, cells_of, period_of, rows_of
from playhead.web.needs import STOPPED, Need
from playhead.web.outcomes import endings
from playhead.web.page import ROWS, ApiCall, Ask, Missing, Page, Shown, or_missing, url
from playhead.web.queues import all_routes, row_of
from playhead.web.render import counted
from playhead.web.strip import HEIGHT, LINE_HEIGHT, WIDTH, Strip, numbers, strip_of

_NEWEST: Final = 10
_MOST_WORKERS: Final = 1000
_MOST_CAUSES: Final = 10


@dataclass(frozen=True, slots=True)
class HomeView:
    """What needs attention.

    Attributes:
        verdict: what waits, and what fails, as a sentence.
        level: state that stands for it.
        since, until: the period to which the page is filtered; None: all times.
        strip: the last 24 hours; None if they cannot be read.
        strip_size: width of its drawings, and the heights of that of its bars and that of its line.
        needs: what moves only if a person acts, worst first. None is left out.
        causes: causes of failures that are not acknowledged, the newest failure first.
        more_causes: there are more of them.
        missing: parts that cannot be read now, although no backend is reported as unavailable.
        replays: replays that publish now.
        running: executions that are running: the newest ones.
        executions: the newest executions, without those in `running`; or why they cannot be read.
        endings: state and word, by execution, of replays that stopped: paused, stalled, cancelled or refused.
        next_command: command to run next, if there is no execution yet; else empty.
        catalog: which catalog the server reads, such as `sqlite 3.46.1 in /home/ann/.playhead/playhead.db`.
    """

    verdict: str
    level: str
    since: str | None
    until: str | None
    strip: Strip | None
    strip_size: tuple[float, float, float]
    needs: Sequence[Need]
    causes: Sequence[CauseRow]
    more_causes: bool
    missing: Sequence[Missing]
    replays: Sequence[Replay]
    running: Sequence[Execution]
    executions: Sequence[Execution] | Missing
    endings: Mapping[UUID, tuple[str, str]]
    next_command: str
    catalog: str


async def show(ask: Ask) -> Shown[HomeView]:
    services = ask.services
    times = period_of(ask)
    recent = ExecutionFilter(since=times["since"], until=times["until"])
    system, published, (replays, running, newest), (day, failing) = await asyncio.gather(
        asyncio.gather(
            services.system.health(__version__),
            or_missing(all_routes, services),
            or_missing(services.workers.list, None, _MOST_WORKERS),
        ),
        asyncio.gather(or_missing(services.publish.datasets), or_missing(services.publish.refused)),
        asyncio.gather(
            or_missing(services.executions.replays, None, None, ROWS, is_open=True),
            or_missing(services.executions.list, recent._replace(status="running"), None, _NEWEST),
            or_missing(services.executions.list, recent, None, 2 * _NEWEST),
        ),
        asyncio.gather(or_missing(services.activity.last_day), or_missing(_causes, services, times)),
    )
    health, routes, workers = system
    datasets, refused = published
    found = list(needs.of_backends(health))
    missing = {
        part.error_code: part
        for part in (routes, workers, datasets, refused, replays, running, newest, day, failing)
        if isinstance(part, Missing)
    }
    if not isinstance(routes, Missing):
        found += needs.of_queues([row_of(route) for route in routes])
    if not isinstance(replays, Missing):
        found += needs.of_replays(replays.items)
    if not isinstance(workers, Missing):
        found += needs.of_workers(workers.items, () if isinstance(routes, Missing) else routes)
    if not isinstance(datasets, Missing) and not isinstance(refused, Missing):
        found += needs.of_datasets(datasets, refused)
    found.sort(key=lambda need: need.level != "fail")
    down = {need.id for need in found}
    shown = [] if isinstance(running, Missing) else running.items
    known = {one.execution_id for one in shown}
    others = (
        [] if isinstance(newest, Missing) else [one for one in newest.items if one.execution_id not in known]
    )
    ends = await or_missing(endings, services, [*shown, *others])
    causes, more_causes = ((), False) if isinstance(failing, Missing) else failing
    view = HomeView(
        _verdict(len(found), causes, more=more_causes, uncertain=bool(missing)),
        _level(found, causes, uncertain=bool(missing)),
        times["since"],
        times["until"],
        None if isinstance(day, Missing) else strip_of(day, times["since"], times["until"]),
        (WIDTH, HEIGHT, LINE_HEIGHT),
        found,
        causes,
        more_causes,
        [one for code, one in missing.items() if f"backend.{code.removesuffix('_unavailable')}" not in down],
        [] if isinstance(replays, Missing) else [one for one in replays.items if one.state not in STOPPED],
        shown,
        newest if isinstance(newest, Missing) else others[:_NEWEST],
        {} if isinstance(ends, Missing) else ends,
        await _next_command(ask) if not isinstance(newest, Missing) and not newest.items else "",
        health.catalog.detail or "",
    )
    shape = _shape(view)
    cells = _cells(view)
    is_new = ask.text("mark") not in (None, shape)
    cells["news"] = f"Reload: {view.verdict[0].lower()}{view.verdict[1:-1]}" if is_new else ""
    calls = [
        ApiCall(url("/api/v1/causes", **times, limit=_MOST_CAUSES)),
        ApiCall("/api/v1/routes"),
        ApiCall("/api/v1/workers"),
        ApiCall("/api/v1/datasets"),
        ApiCall("/api/v1/replays?open=true"),
        ApiCall(url("/api/v1/executions", **times, limit=2 * _NEWEST)),
        ApiCall("/api/v1/system/health"),
    ]
    return Shown("Now", view, calls, cells=cells, shape=shape, mark=shape)


async def _causes(services: Services, times: Mapping[str, str | None]) -> tuple[Sequence[CauseRow], bool]:
    """Return the open causes of a period, and whether there are more."""
    page = await services.causes.list(state="open", **times, limit=_MOST_CAUSES)
    return await rows_of(services, page.items), page.next_cursor is not None


def _verdict(waiting: int, causes: Sequence[CauseRow], *, more: bool, uncertain: bool) -> str:
    new = sum(row.state == "new" for row in causes)
    known = len(causes) - new
    parts = [f"{waiting:,} thing waits for you" if waiting == 1 else f"{waiting:,} things wait for you"]
    parts = parts if waiting else []
    for count, kind in ((new, "new"), (known, "known")):
        if count:
            parts.append(f"{counted(count, f'{kind} cause')} of failures")
    if more:
        parts.append("more causes of failures")
    if not parts:
        return "Some parts cannot be read now." if uncertain else "Nothing needs attention."
    return f"{', '.join(parts)}."


def _level(found: Sequence[Need], causes: Sequence[CauseRow], *, uncertain: bool) -> str:
    if any(need.level == "fail" for need in found) or any(row.state == "new" for row in causes):
        return "failed"
    return "paused" if found or causes or uncertain else "ok"


async def _next_command(ask: Ask) -> str:
    """Return the command for a deployment without executions."""
    configs = await or_missing(ask.services.configs.list, None, 1)
    if isinstance(configs, Missing) or not configs.items:
        return "playhead init"
    return f"playhead run {configs.items[0].name} inputs/"


def _cells(view: HomeView) -> dict[str, str]:
    cells: dict[str, str] = {}
    for need in view.needs:
        cells[f"title.{need.id}"] = need.title
        cells[f"detail.{need.id}"] = need.detail
        if need.at:
            cells[f"at.{need.id}"] = need.at
    cells |= cells_of(view.causes)
    if view.strip:
        cells["day"] = numbers(view.strip.done, view.strip.failed, view.strip.waiting)
    for replay in view.replays:
        cells[f"sent.{replay.replay_batch_id}"] = f"{replay.objects_published:,}"
        cells[f"found.{replay.replay_batch_id}"] = f"{replay.objects_found:,}"
    executions = [] if isinstance(view.executions, Missing) else view.executions
    for one in [*view.running, *executions]:
        cells[f"done.{one.execution_id}"] = f"{one.counts.completed:,}"
        cells[f"failed.{one.execution_id}"] = f"{one.counts.failed:,}"
        cells[f"left.{one.execution_id}"] = f"{one.counts.pending:,}"
    return cells


def _shape(view: HomeView) -> str:
    """Return a text that changes when the page would have other rows, or rows in other states."""
    executions = [] if isinstance(view.executions, Missing) else view.executions
    parts = (
        view.verdict,
        *(need.id for need in view.needs),
        *(f"{row.cause.id} {row.state}" for row in view.causes),
        *(f"{one.replay_batch_id} {one.state}" for one in view.replays),
        *(f"{one.execution_id} {one.status}" for one in [*view.running, *executions]),
    )
    return blake2b("\n".join(parts).encode(), digest_size=6).hexdigest()


PAGES: Final = (Page("/", "home.html", show, "now", live=True, scope="read"),)
