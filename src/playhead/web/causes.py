"""`/causes`: causes of failures. `/causes/{id}`: one of them, with the form that acknowledges it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from playhead.errors import BadRequest, NotFound, PlayheadError
from playhead.model import Cause, CauseObject, CauseState
from playhead.services import Services
from playhead.web.links import link
from playhead.web.page import (
    Action,
    Answer,
    ApiCall,
    Ask,
    Crumb,
    Page,
    Redirect,
    Shown,
    checked_time,
    status_of,
    url,
)
from playhead.web.render import capped, counted
from playhead.web.strip import spark

_ROWS: Final = 20


@dataclass(frozen=True, slots=True)
class CauseRow:
    """A cause in a list.

    Attributes:
        cause: the cause.
        state: `new`, `known`, `acknowledged` or `closed`.
        origin: its adapters and its place in the code, in words; may be empty.
        hours: path of the bars of its small graph: failures in the last 24 hours.
        failures: number of failures in the last 24 hours.
        replay_url: form that replays what failed; None if its objects are in several executions or routes.
    """

    cause: Cause
    state: str
    origin: str
    hours: str
    failures: int
    replay_url: str | None


async def rows_of(services: Services, causes: Sequence[Cause]) -> list[CauseRow]:
    """Return causes as rows of a list."""
    hours = await services.activity.failures(causes)
    return [_row(one, hours.get(one.id, [])) for one in causes]


def period_of(ask: Ask) -> dict[str, str | None]:
    """Return the period to which the address filters a page. Raises `BadRequest`."""
    given = {name: ask.text(name) for name in ("since", "until")}
    return {name: checked_time(name, text) if text else None for name, text in given.items()}


def cells_of(rows: Sequence[CauseRow]) -> dict[str, str]:
    """Return the live numbers of a list of causes."""
    cells: dict[str, str] = {}
    for row in rows:
        cells[f"objects.{row.cause.id}"] = _objects(row.cause)
        cells[f"letters.{row.cause.id}"] = _letters(row.cause)
        cells[f"last.{row.cause.id}"] = row.cause.last_failed_at
    return cells


def _row(one: Cause, hours: Sequence[int]) -> CauseRow:
    state = ("new" if one.is_new else "known") if one.state == "open" else one.state
    adapters = " → ".join(f"{adapter.type} {adapter.version}" for adapter in one.adapters)
    origin = ", ".join(part for part in (adapters, one.place) if part)
    return CauseRow(one, state, origin, spark(hours), sum(hours), _replay_url(one))


def _objects(one: Cause) -> str:
    return f"{capped(one.objects)} object{'' if one.objects == 1 else 's'}"


def _letters(one: Cause) -> str:
    repeats = one.letters - sum(route.objects for route in one.routes)
    parts = [counted(one.letters, "dead letter")]
    if repeats > 0 and one.route_count == len(one.routes):
        parts.append("1 is a repeat" if repeats == 1 else f"{repeats:,} are repeats")
    if one.processed and one.state != "closed":
        parts.append(f"{capped(one.processed)} processed since")
    return ", ".join(parts)


def _replay_url(one: Cause) -> str | None:
    """Return the form of a replay. It selects by one execution, and by what failed in it."""
    if one.executions != 1 or one.route_count != 1 or one.input_key is None or one.state == "closed":
        return None
    if not one.input_key.startswith(f"{one.execution_id}/"):
        return None
    route = f"{one.routes[0].config}/{one.routes[0].route}"
    of = {"from_execution_id": one.execution_id, "from_stage": one.input_stage, "to_route": route}
    return url("/replay", **of, only="failed")


@dataclass(frozen=True, slots=True)
class CausesView:
    """A list of causes.

    Attributes:
        rows: the causes.
        filters: the conditions of the list, by name.
        next_url: next page.
    """

    rows: Sequence[CauseRow]
    filters: Mapping[str, str | None]
    next_url: str | None


STATES: Final = (*get_args(CauseState), "all")


async def show_all(ask: Ask) -> Shown[CausesView]:
    chosen = ask.choice("state", STATES) or "open"
    state: CauseState | None = next((one for one in get_args(CauseState) if one == chosen), None)
    given = {"route": ask.text("route"), **period_of(ask)}
    page = await ask.services.causes.list(state=state, **given, cursor=ask.text("cursor"), limit=_ROWS)
    rows = await rows_of(ask.services, page.items)
    filters = {"state": chosen, **given}
    next_url = url("/causes", **filters, cursor=page.next_cursor) if page.next_cursor else None
    calls = [ApiCall(url("/api/v1/causes", **filters, limit=_ROWS))]
    crumbs = [Crumb("Dead letters", "/dead-letters"), Crumb("Causes")]
    shape = " ".join(f"{row.cause.id} {row.state}" for row in rows)
    return Shown("Causes", CausesView(rows, filters, next_url), calls, crumbs, cells_of(rows), shape)


@dataclass(frozen=True, slots=True)
class CauseView:
    """One cause.

    Attributes:
        row: the cause.
        objects: some of its objects, the newest failure first.
        next_url, first_url: the next page of them, and the first one; None if they are on this page.
        next_versions: the version of each config that follows the newest one: ends of an acknowledgement.
        fields: what was typed into the form.
        problem: why it was refused; empty if it was not.
    """

    row: CauseRow
    objects: Sequence[CauseObject]
    next_url: str | None
    first_url: str | None
    next_versions: Sequence[str]
    fields: Mapping[str, str]
    problem: str


_FIELDS: Final = ("reason", "requested_by", "until")


async def show(ask: Ask) -> Answer:
    return await _page(ask, await ask.services.causes.get(ask.parameters["id"]), None)


async def _page(ask: Ask, cause: Cause, error: PlayheadError | None) -> Shown[CauseView]:
    [row] = await rows_of(ask.services, [cause])
    configs = dict.fromkeys(one.config for one in cause.routes)
    versions = [f"{name}@{await _next_version(ask, name)}" for name in configs]
    fields = {name: str(ask.form.get(name) or "") for name in _FIELDS}
    cursor = ask.text("cursor")
    page = await ask.services.causes.objects(cause.id, cursor, _ROWS)
    here = f"/causes/{cause.id}"
    next_url = url(here, cursor=page.next_cursor) if page.next_cursor else None
    first_url = here if cursor else None
    view = CauseView(row, page.items, next_url, first_url, versions, fields, error.detail if error else "")
    path = f"/api/v1/causes/{cause.id}"
    calls = [
        ApiCall(path),
        ApiCall(f"{path}/objects"),
        ApiCall(f"{path}/acknowledge", "POST", {"reason": "…", "until": versions[0]}),
    ]
    if cause.acknowledgement:
        calls.append(ApiCall(f"{path}/unacknowledge", "POST"))
    crumbs = [Crumb("Dead letters", "/dead-letters"), Crumb("Causes", "/causes"), Crumb(cause.id)]
    return Shown("Cause of failures", view, calls, crumbs, status=status_of(error), template="cause.html")


async def _next_version(ask: Ask, config: str) -> int:
    return (await ask.services.configs.get(config)).version + 1


async def acknowledge(ask: Ask) -> Answer:
    """Acknowledge a cause as the form says, or show the form again with the reason why not."""
    cause = ask.parameters["id"]
    fields = {name: str(ask.form.get(name) or "").strip() for name in _FIELDS}
    try:
        if not fields["reason"]:
            raise BadRequest("invalid_body", "an acknowledgement needs a reason")
        await ask.services.causes.acknowledge(
            cause, fields["reason"], fields["requested_by"], fields["until"] or None
        )
    except (BadRequest, NotFound) as exc:
        return await _page(ask, await ask.services.causes.get(cause), exc)
    return Redirect(link("cause", cause))


async def unacknowledge(ask: Ask) -> Redirect:
    await ask.services.causes.unacknowledge(ask.parameters["id"])
    return Redirect(link("cause", ask.parameters["id"]))


PAGES: Final = (
    Page("/causes", "causes.html", show_all, "dead-letters", live=True, scope="read"),
    Page("/causes/{id}", "cause.html", show, "dead-letters", scope="read"),
)
ACTIONS: Final = (
    Action("/causes/{id}/acknowledge", acknowledge, "cause.html", "dead-letters", scope="operate"),
    Action("/causes/{id}/unacknowledge", unacknowledge, section="dead-letters", scope="operate"),
)
