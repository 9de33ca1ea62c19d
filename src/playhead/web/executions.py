"""`/executions`: runs and replays, newest first, with filters in the URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from playhead.errors import BadRequest
from playhead.model import Execution
from playhead.ports.catalog.browse import ExecutionFilter
from playhead.web.outcomes import endings
from playhead.web.page import ROWS, ApiCall, Ask, Page, Shown, checked_time, url
from playhead.web.render import number

STATUSES: Final = ("running", "completed", "failed", "cancelled")
KINDS: Final = ("run", "replay", "adopted", "publication")


@dataclass(frozen=True, slots=True)
class ExecutionsView:
    """A page of executions.

    Attributes:
        executions: the page.
        filters: the filters of the address, by name.
        configs: names of configs to choose from.
        tags: tags to choose from: those of the page.
        next_href: next page; None: this is the last one.
        first_href: first page; None: this is it.
        is_filtered: whether a filter is set.
        endings: state and word, by execution, of replays that stopped.
        problem: why a filter is invalid; None if all are valid.
    """

    executions: Sequence[Execution]
    filters: Mapping[str, str | None]
    configs: Sequence[str]
    tags: Sequence[str]
    next_href: str | None
    first_href: str | None
    is_filtered: bool
    endings: Mapping[UUID, tuple[str, str]]
    problem: str | None = None


async def show(ask: Ask) -> Shown[ExecutionsView]:
    filters = {name: ask.text(name) for name in ("status", "config", "kind", "tag", "since", "until")}
    configs = [one.name for one in (await ask.services.configs.list(None, ROWS)).items]
    try:
        _check(ask, filters)
    except BadRequest as exc:
        given = {**filters, "parent": ask.text("parent")}
        view = ExecutionsView(
            (), given, configs, (), None, None, is_filtered=True, endings={}, problem=exc.detail
        )
        return Shown("Executions", view, status=400)
    parent = await ask.execution("parent") if ask.text("parent") else None
    cursor = ask.text("cursor")
    where = ExecutionFilter(**{name: value for name, value in filters.items() if value}, parent=parent)
    page = await ask.services.executions.list(where, cursor, ROWS)
    given = {**filters, "parent": str(parent) if parent else None}
    view = ExecutionsView(
        executions=page.items,
        filters=given,
        configs=configs,
        tags=sorted({tag for one in page.items for tag in one.tags}),
        next_href=url("/executions", **given, cursor=page.next_cursor) if page.next_cursor else None,
        first_href=url("/executions", **given) if cursor else None,
        is_filtered=any(given.values()),
        endings=await endings(ask.services, page.items),
    )
    is_first = cursor is None and filters["until"] is None
    return Shown(
        "Executions",
        view,
        [ApiCall(url("/api/v1/executions", **given, limit=ROWS, cursor=cursor))],
        cells=_cells(page.items) | (_newer(page.items, ask.text("mark")) if is_first else {}),
        shape=",".join(view.endings.get(one.execution_id, (one.status,))[0] for one in page.items),
        ended=not is_first and all(one.status != "running" for one in page.items),
        mark=str(page.items[0].execution_id) if is_first and page.items else "",
    )


def _check(ask: Ask, filters: Mapping[str, str | None]) -> None:
    """Raise `BadRequest` if a filter is invalid."""
    ask.choice("status", STATUSES)
    ask.choice("kind", KINDS)
    for name in ("since", "until"):
        if text := filters[name]:
            checked_time(name, text)


def _cells(executions: Sequence[Execution]) -> dict[str, str]:
    found = {}
    for one in executions:
        counts = one.counts
        for name, count in (("done", counts.completed), ("failed", counts.failed), ("open", counts.pending)):
            found[f"{name}.{one.execution_id}"] = number(count)
    return found


def _newer(executions: Sequence[Execution], mark: str | None) -> dict[str, str]:
    """Return how many executions are newer than the newest one that the browser shows."""
    if mark is None:
        return {"newer": ""}
    ids = [str(one.execution_id) for one in executions]
    count = ids.index(mark) if mark in ids else len(ids)
    return {"newer": f"{count:,}{'' if mark in ids else '+'}" if count else ""}


PAGES: Final = (Page("/executions", "executions.html", show, "executions", live=True, scope="read"),)
