"""`/executions/{id}/compare`: what is the same, changed, added or missing in another execution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from playhead.ids import moment
from playhead.model import (
    Diff,
    DiffBy,
    DiffCounts,
    DiffFilter,
    DiffObject,
    DiffState,
    Execution,
    Page as Listed,
)
from playhead.web.page import ROWS, Answer, ApiCall, Ask, Crumb, Page, Redirect, Shown, url
from playhead.web.render import number

STATES: Final[tuple[DiffState, ...]] = get_args(DiffState)
_DIFFERENT: Final[tuple[DiffState, ...]] = ("changed", "added", "missing")
_BUDGET: Final = 10_000
"""A page of the list ends after it has compared this many objects."""
_BYS: Final[tuple[DiffBy, ...]] = get_args(DiffBy)
_FILTERS: Final[tuple[DiffFilter, ...]] = ("different", *STATES)


@dataclass(frozen=True, slots=True)
class CompareView:
    """A comparison of two executions.

    Attributes:
        a: first execution, for example the source of a replay.
        b: second execution; None: the page asks which one.
        others: executions that may be compared with the first: its replays.
        diff: numbers of objects by stage and state; None without a second execution, and while counting.
        awaited: states of objects that an execution lacks, but may still produce: it has not ended.
        different: number of objects that differ, without those in these states.
        read: objects that were read, while they are counted.
        as_of: time of outdated numbers, while the objects are counted again; None if they are up to date.
        stage: only objects of this stage are listed; None: of all stages.
        state: only objects in this state are listed.
        by: how objects are paired.
        states: the states that objects can have.
        bys: URL of the page with objects paired in each way.
        objects: a page of the objects.
        filters: URL of the list for each state.
        next_url: URL of the next page; None at the end.
        first_url: URL of the first page; None on the first page.
    """

    a: Execution
    b: Execution | None
    others: Sequence[Execution]
    diff: Diff | None
    awaited: Sequence[DiffState]
    different: int
    read: int
    as_of: str | None
    stage: str | None
    state: DiffFilter
    by: DiffBy
    states: Sequence[DiffState]
    bys: Mapping[DiffBy, str]
    objects: Sequence[DiffObject]
    filters: Mapping[str, str]
    next_url: str | None
    first_url: str | None


async def show(ask: Ask) -> Answer:
    services = ask.services
    a_id = await ask.execution()
    a = await services.executions.get(a_id)
    path = f"/executions/{a_id}/compare"
    crumbs = [
        Crumb("Executions", "/executions"),
        Crumb(f"{a.kind} {str(a_id)[-8:]} of {a.config or 'adopted'}", url(f"/executions/{a_id}")),
        Crumb("Compare"),
    ]
    if ask.text("with") is None:
        if a.parent_execution_id:
            return Redirect(url(f"/executions/{a.parent_execution_id}/compare", **{"with": a_id}))
        replays = await services.executions.replays(a_id, None, ROWS)
        others = [await services.executions.get(one.execution_id) for one in replays.items]
        empty = CompareView(
            a, None, others, None, (), 0, 0, None, None, "different", "path", (), {}, (), {}, None, None
        )
        return Shown("Compare", empty, crumbs=crumbs)
    b_id = await services.resolve.execution(ask.needed("with"))
    b = await services.executions.get(b_id)
    stage = ask.text("stage")
    state: DiffFilter = next((one for one in _FILTERS if one == ask.choice("state", _FILTERS)), "different")
    by: DiffBy = "content" if ask.choice("by", _BYS) == "content" else "path"
    counted = await services.diff.counting(a_id, b_id, patience=ask.patience, by=by)
    diff = counted.result
    as_of = None if counted.as_of is None else moment(counted.as_of)
    awaited = _awaited(a, b) if diff and not diff.is_complete else ()
    different = tuple(one for one in _DIFFERENT if one not in awaited)
    wanted = different if state == "different" else (state,)
    if diff and stage is None and sum(_numbers(diff.totals).values()) > _BUDGET:
        stage = _first_stage(diff, wanted)
    page: Listed[DiffObject] = Listed([])
    if diff and _has(diff, stage, wanted):
        cursor = ask.text("cursor")
        page = await services.diff.objects(a_id, b_id, stage, wanted, None, cursor, ROWS, _BUDGET, by)

    shown_by = None if by == "path" else by
    states = [one for one in STATES if by == "content" or one != "moved"]

    def at(**changed: object) -> str:
        return url(path, **{"with": b_id, "by": shown_by, "stage": stage, "state": state, **changed})

    api = f"/api/v1/executions/{a_id}/diff/{b_id}"
    view = CompareView(
        a,
        b,
        (),
        diff,
        awaited,
        _wanted(diff.totals, different) if diff else 0,
        counted.done,
        as_of,
        stage,
        state,
        by,
        states,
        {"path": at(by=None), "content": at(by="content")},
        page.items,
        {one: at(state=one) for one in _FILTERS if one == "different" or one in states},
        at(cursor=page.next_cursor) if page.next_cursor else None,
        at() if ask.text("cursor") else None,
    )
    return Shown(
        "Compare",
        view,
        [
            ApiCall(url(api, by=shown_by)),
            ApiCall(url(f"{api}/objects", stage=stage, state=state, by=shown_by, limit=ROWS)),
        ],
        crumbs=crumbs,
        cells={"read": number(counted.done), "as_of": as_of or ""},
        shape=f"{diff is not None:d}{as_of is not None:d}",
        ended=diff is not None and (as_of is None or a.ended_at is None or b.ended_at is None),
    )


def _numbers(counts: DiffCounts) -> dict[DiffState, int]:
    return {state: getattr(counts, state) for state in STATES}


def _awaited(a: Execution, b: Execution) -> tuple[DiffState, ...]:
    """Return the states of objects that only one execution has, while the other one has not ended."""
    lacking: tuple[tuple[DiffState, Execution], ...] = (("missing", b), ("added", a))
    return tuple(state for state, execution in lacking if execution.ended_at is None)


def _wanted(counts: DiffCounts, states: Sequence[DiffState]) -> int:
    """Return how many objects are in these states."""
    numbers = _numbers(counts)
    return sum(numbers[one] for one in states)


def _first_stage(diff: Diff, states: Sequence[DiffState]) -> str | None:
    """Return the first stage with an object in a state: a search in all stages may read millions."""
    return next((one.stage for one in diff.stages if _wanted(one, states)), None)


def _has(diff: Diff, stage: str | None, states: Sequence[DiffState]) -> bool:
    counts = next((one for one in diff.stages if one.stage == stage), None)
    return counts is None or _wanted(counts, states) > 0


PAGES: Final = (
    Page("/executions/{execution_id}/compare", "compare.html", show, "executions", live=True, scope="read"),
)
