"""`/dead-letters`: groups of failures. With `?group=` the dead letters of one; `/dead-letters/{id}`: one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from playhead import keys
from playhead.errors import BadRequest, NotFound
from playhead.model import (
    MOST_COUNTED,
    Cause,
    ConfigVersion,
    DeadLetter,
    DeadLetterDetail,
    DeadLetterGroup,
    Lineage,
    ResendPlan,
)
from playhead.ports.catalog.browse import DeadLetterFilter
from playhead.web.links import link
from playhead.web.page import ROWS, Action, ApiCall, Ask, Crumb, Page, Redirect, Shown, checked_time, url
from playhead.web.render import capped

_MOST_GROUPS: Final = 1000
_MOST_ROUTES: Final = 500
_HEAD, _TAIL = 2, 12
"""Lines at the beginning and at the end of a traceback that are not folded, at least."""
_FRAME: Final = re.compile(r'[ |]*File "')
"""The first line of a frame of a traceback."""


@dataclass(frozen=True, slots=True)
class Resending:
    """A form that resends the dead letters that the page has drawn.

    Attributes:
        fields: fields of the form. `failed_before` leaves later dead letters alone.
        count: number of dead letters, as on the button; 10000 stands for 10,000 or more.
    """

    fields: Mapping[str, str]
    count: int


@dataclass(frozen=True, slots=True)
class GroupsView:
    """Groups of dead letters.

    Attributes:
        groups: dead letters that failed alike, the group of the newest one first.
        filters: values of the filters.
        configs: names of configs to choose from.
        routes: names of routes to choose from.
        resend: resends all that match the filters; None without a filter by route or execution, and if there
            are several pages.
        resent: number of dead letters that were resent just now.
        next_url: next page.
        first_url: first page; None if this is it.
    """

    groups: Sequence[DeadLetterGroup]
    filters: Mapping[str, str]
    configs: Sequence[str]
    routes: Sequence[str]
    resend: Resending | None
    resent: int | None
    next_url: str | None
    first_url: str | None


@dataclass(frozen=True, slots=True)
class GroupView:
    """The dead letters of one group.

    Attributes:
        id: id of the group.
        group: the group; None if it has no dead letters any more.
        rows: its dead letters, newest first.
        execution_id: only those of this execution; None: all.
        resend: resends the dead letters of the group that the page has drawn.
        resent: number of dead letters that were resent just now.
        replay_url: page that replays the failed objects of the newest execution; None without dead letters.
        next_url: next page.
        first_url: first page; None if this is it.
    """

    id: str
    group: DeadLetterGroup | None
    rows: Sequence[DeadLetter]
    execution_id: UUID | None
    resend: Resending | None
    resent: int | None
    replay_url: str | None
    next_url: str | None
    first_url: str | None


async def show_all(ask: Ask) -> Shown[GroupsView] | Shown[GroupView]:
    execution = await ask.execution() if ask.text("execution_id") else None
    if (group := ask.text("group")) is not None:
        return await _show_group(ask, group, execution)
    config, route, cursor = ask.text("config"), ask.text("route"), ask.text("cursor")
    filters = {"config": config, "route": route, "execution_id": str(execution) if execution else None}
    page = await ask.services.queues.dead_letter_groups(
        execution=execution, config=config, route=route, cursor=cursor, limit=ROWS
    )
    first, groups = url("/dead-letters", **filters), page.items
    configs = (await ask.services.configs.list(None, ROWS)).items
    resend = None
    if groups and not cursor and not page.next_cursor and (route or execution):
        whole = {**filters, "route": f"{config}/{route}" if config and route and "/" not in route else route}
        # A config alone is no selection that can be resent.
        if config is None or route is not None:
            resend = _resending(groups, whole)
    mark = max((one.last_failed_at for one in groups), default="")
    cells = {f"group.{one.group}": capped(one.count, MOST_COUNTED) for one in groups}
    if not cursor and (drawn := ask.text("mark")) is not None:
        cells["newer"] = _some([one for one in groups if one.first_failed_at > drawn])
    elif not cursor:
        cells["newer"] = ""
    view = GroupsView(
        groups,
        {name: value or "" for name, value in filters.items()},
        [one.name for one in configs],
        sorted({name for one in configs for name in one.routes if config in (None, one.name)})[:_MOST_ROUTES],
        resend,
        ask.number("resent", 0, 10**12),
        url("/dead-letters", **filters, cursor=page.next_cursor) if page.next_cursor else None,
        first if cursor else None,
    )
    call = ApiCall(url("/api/v1/dead-letters/groups", **filters, limit=ROWS, cursor=cursor))
    return Shown("Dead letters", view, [call], cells=cells, mark=mark)


async def _show_group(ask: Ask, group: str, execution: UUID | None) -> Shown[GroupView]:
    cursor = ask.text("cursor")
    page = await ask.services.queues.dead_letters(DeadLetterFilter(execution, group=group), cursor, ROWS)
    rows = page.items
    found = await _group_of(ask, rows[0], execution) if rows else None
    filters = {"group": group, "execution_id": str(execution) if execution else None}
    first = url("/dead-letters", **filters)
    mark = rows[0].failed_at if rows else "0"
    cells = {"count": capped(found.count if found else 0, MOST_COUNTED), "newer": ""}
    if (drawn := ask.text("mark")) is not None:
        cells["newer"] = _some([one for one in rows if one.failed_at > drawn])
    view = GroupView(
        group,
        found,
        rows,
        execution,
        _resending([found], filters) if found else None,
        ask.number("resent", 0, 10**12),
        await _replay_failed_url(ask, rows[0]) if rows else None,
        url("/dead-letters", **filters, cursor=page.next_cursor) if page.next_cursor else None,
        first if cursor else None,
    )
    title = f"Dead letters in {rows[0].config}/{rows[0].route}" if rows else "Dead letters of a group"
    calls = [ApiCall(url("/api/v1/dead-letters", **filters, limit=ROWS, cursor=cursor))]
    if view.resend:
        calls.append(ApiCall("/api/v1/dead-letters/resend", "POST", view.resend.fields))
    crumbs = [Crumb("Dead letters", "/dead-letters"), Crumb(title.removeprefix("Dead letters in "))]
    return Shown(title, view, calls, crumbs, cells, mark=mark, template="dead_group.html")


async def _group_of(ask: Ask, letter: DeadLetter, execution: UUID | None) -> DeadLetterGroup | None:
    """Return the group of a dead letter with its count."""
    page = await ask.services.queues.dead_letter_groups(
        execution=execution, route=f"{letter.config}/{letter.route}", limit=_MOST_GROUPS
    )
    return next((one for one in page.items if one.group == letter.group), None)


def _resending(groups: Sequence[DeadLetterGroup], fields: Mapping[str, str | None]) -> Resending:
    """Return the form for the dead letters that these groups count, and for no later ones."""
    before = max(one.last_failed_at for one in groups)
    given = {name: value for name, value in fields.items() if value and name != "config"}
    return Resending({**given, "failed_before": before}, sum(one.count for one in groups))


def _some(items: Sequence[object]) -> str:
    """Return the number of newer items, empty for none."""
    return capped(len(items), ROWS) if items else ""


@dataclass(frozen=True, slots=True)
class LetterView:
    """One dead letter.

    Attributes:
        letter: the dead letter.
        head, folded, tail: lines of its traceback: the first ones, those between, and the last ones.
        stage: stage of its input object.
        replay_url: page that replays only this object.
        group_url: dead letters that failed alike.
        success: newest message in which its route has processed the same object since; None without one.
        cause: its cause; None if that is unknown.
    """

    letter: DeadLetterDetail
    head: Sequence[str]
    folded: Sequence[str]
    tail: Sequence[str]
    stage: str
    replay_url: str
    group_url: str
    success: Lineage | None
    cause: Cause | None


async def show(ask: Ask) -> Shown[LetterView]:
    identity = await ask.services.resolve.dead_letter(ask.parameters["id"])
    letter = await ask.services.queues.dead_letter(identity)
    lines = (letter.traceback or "").rstrip().split("\n") if letter.traceback else []
    head, folded, tail = _fold(lines)
    stage, path = await _place(ask, letter)
    replay = _replay_url(letter, stage, path)
    group_url, success = url("/dead-letters", group=letter.group), await _success(ask, letter)
    cause = await ask.services.causes.of_letter(letter, path)
    view = LetterView(letter, head, folded, tail, stage, replay, group_url, success, cause)
    place = f"{letter.config}/{letter.route}"
    calls = [
        ApiCall(f"/api/v1/dead-letters/{identity}"),
        ApiCall(f"/api/v1/dead-letters/{identity}/resend", "POST"),
    ]
    crumbs = [Crumb("Dead letters", "/dead-letters"), Crumb(place, view.group_url), Crumb(str(identity)[-8:])]
    return Shown(f"Dead letter in {letter.route}", view, calls, crumbs)


async def _success(ask: Ask, letter: DeadLetter) -> Lineage | None:
    """Return the newest message in which the route has processed the object of a dead letter since."""
    try:
        found = await ask.services.lineage.chain(letter.input_key, "down", None, ROWS)
    except (BadRequest, NotFound):
        return None
    since = [
        one
        for one in found.items
        if (one.input_key, one.config, one.route) == (letter.input_key, letter.config, letter.route)
        and one.status == "completed"
        and one.ended_at
        and one.ended_at > letter.failed_at
    ]
    return max(since, key=lambda one: one.ended_at or "", default=None)


def _fold(lines: Sequence[str]) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
    """Return the first lines of a traceback, those between, and the last ones. No frame is cut."""
    frames = [number for number, line in enumerate(lines) if _FRAME.match(line)]
    start = next((number for number in frames if number >= _HEAD), _HEAD)
    end = max((number for number in frames if number <= len(lines) - _TAIL), default=len(lines) - _TAIL)
    if end - start <= 1:
        return lines, [], []
    return lines[:start], lines[start:end], lines[end:]


async def _place(ask: Ask, letter: DeadLetter) -> tuple[str, str]:
    """Return the stage and the path of the input of a dead letter."""
    _, rest = keys.parse_key(letter.input_key) or (None, letter.input_key)
    return keys.stage_of(rest, await _stages(ask, letter), rest.partition("/")[0])


def _replay_url(letter: DeadLetter, stage: str, path: str | None, **fields: object) -> str:
    """Return the page that replays the input of a dead letter, or more of its stage, into its route."""
    source, _ = keys.parse_key(letter.input_key) or (letter.execution_id, "")
    route = f"{letter.config}/{letter.route}"
    of = {"from_execution_id": source, "from_stage": stage, "from_path": path, "to_route": route}
    return url("/replay", **of, **fields)


async def _replay_failed_url(ask: Ask, letter: DeadLetter) -> str:
    """Return the page that replays what has failed in the execution of a dead letter, from the same stage."""
    stage, _ = await _place(ask, letter)
    if letter.input_key.startswith(f"{letter.execution_id}/"):
        return _replay_url(letter, stage, None, only="failed")
    execution = await ask.services.executions.get(letter.execution_id)
    return _replay_url(letter, stage, None, only="failed", in_replay=execution.replay_batch_id)


async def _stages(ask: Ask, letter: DeadLetter) -> Sequence[str]:
    """Return the stages of the config that processed a dead letter."""
    try:
        version: ConfigVersion = await ask.services.configs.get(letter.config, letter.config_version)
    except NotFound:
        return ["input"]
    return ["input", *version.stages]


@dataclass(frozen=True, slots=True)
class ResendView:
    """What a resend would repeat, before a person confirms it.

    Attributes:
        plan: what it would repeat.
        form: the form that resends.
        external: the routes with external effects that messages reach, as `config/route`.
    """

    plan: ResendPlan
    form: Resending
    external: Sequence[str]


async def plan_resend(ask: Ask) -> Shown[ResendView]:
    """Show what the resend of a form would repeat."""
    fields, where, before = await _selected(ask)
    plan = await ask.services.recover.plan(where, failed_before=before)
    external = dict.fromkeys(f"{one.config}/{route}" for one in plan.routes for route in one.external)
    view = ResendView(plan, Resending({**fields, "failed_before": before}, plan.letters), list(external))
    given = {name: value for name, value in view.form.fields.items() if value}
    calls = [ApiCall("/api/v1/dead-letters/resend", "POST", given)]
    crumbs = [Crumb("Dead letters", "/dead-letters"), Crumb("Resend")]
    return Shown("Resend", view, calls, crumbs, template="resend.html")


async def resend(ask: Ask) -> Redirect:
    """Resend the dead letters of a form, as of the time at which its page was drawn."""
    fields, where, before = await _selected(ask)
    sent = await ask.services.recover.resend(None, where, failed_before=before)
    return Redirect(url("/dead-letters", **fields, resent=len(sent)))


async def _selected(ask: Ask) -> tuple[dict[str, str], DeadLetterFilter, str]:
    """Return the fields of a form, the dead letters that they select, and until when these failed."""
    fields = {name: str(ask.form.get(name) or "") for name in ("group", "execution_id", "route")}
    before = checked_time("failed_before", str(ask.form.get("failed_before") or ""))
    execution = await ask.services.resolve.execution(text) if (text := fields["execution_id"]) else None
    where = DeadLetterFilter(execution, fields["route"] or None, group=fields["group"] or None)
    return fields, where, before


async def resend_one(ask: Ask) -> Redirect:
    identity = await ask.services.resolve.dead_letter(ask.parameters["id"])
    await ask.services.recover.resend([identity])
    return Redirect(link("message", identity))


PAGES: Final = (
    Page("/dead-letters", "dead_letters.html", show_all, "dead-letters", live=True, scope="read"),
    Page("/dead-letters/{id}", "dead_letter.html", show, "dead-letters", scope="read"),
)
ACTIONS: Final = (
    Action("/dead-letters/resend", resend, section="dead-letters", scope="operate"),
    Action("/dead-letters/resend/plan", plan_resend, "resend.html", "dead-letters", scope="operate"),
    Action("/dead-letters/{id}/resend", resend_one, section="dead-letters", scope="operate"),
)
