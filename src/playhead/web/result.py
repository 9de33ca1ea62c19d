"""`/executions/{id}/result`: the objects of a replay, or of another execution, before and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final, Literal, get_args

from playhead.errors import BadRequest, PlayheadError
from playhead.model import (
    After,
    Before,
    DiffObject,
    Execution,
    Placement,
    Replay,
    ReplayedObject,
    ResultFilter,
    ResultGroup,
    ResultStep,
)
from playhead.reading.result import Result
from playhead.web.again import failed_again
from playhead.web.execution import placements
from playhead.web.matrix import MatrixView, matrix, result_url
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
    status_of,
    url,
)
from playhead.web.replayform import ReplayForm
from playhead.web.sidebyside import SideBySide, side_by_side
from playhead.wording import AFTER, BEFORE, FAILED_AFTER

By = Literal["error", "folder", "stage", "all"]
_BY: Final[tuple[By, ...]] = get_args(By)
_FIRST: Final[Sequence[tuple[Before, After]]] = (
    ("done", "other_error"),
    ("failed", "same_error"),
    ("failed", "other_error"),
    ("done", "other"),
    ("none", "other_error"),
    ("failed", "other"),
)
"""The cell whose objects are listed if none was chosen: the first of these with objects."""
_MOST_OUTPUTS: Final = 100


@dataclass(frozen=True, slots=True)
class ListView:
    """The objects of the chosen cell.

    Attributes:
        title: what happened to them.
        reviewed: how many of them are reviewed, in words; empty if none is.
        by: how they are listed.
        tabs: URL of the list in each way.
        where: the chosen objects.
        groups: a page of groups; empty if the objects are listed.
        objects: a page of objects; empty if groups are listed.
        hrefs: URL of each group or object, in their order.
        replays: URL of the form that replays a group again; None if it cannot be chosen by the form.
        next_url: URL of the next page; None at the end.
        first_url: URL of the first page; None on the first page.
    """

    title: str
    reviewed: str
    by: By
    tabs: Mapping[str, str]
    where: ResultFilter
    groups: Sequence[ResultGroup]
    objects: Sequence[ReplayedObject]
    hrefs: Sequence[str]
    replays: Sequence[str | None]
    next_url: str | None
    first_url: str | None


@dataclass(frozen=True, slots=True)
class ObjectStep:
    """One object of the list, before and after.

    Attributes:
        step: the object with its neighbours.
        outputs: its outputs that differ; the first ones.
        hrefs: URL of each of these outputs.
        others: number of outputs that are the same, or have moved.
        output: the output that is shown.
        shown: the output before and after, or why it cannot be shown now; None if no output differs.
        previous: URL of the object before it; None at the beginning.
        next: URL of the next one; None at the end.
        fields: hidden fields of the form of a review: which object it is, and the list.
    """

    step: ResultStep
    outputs: Sequence[DiffObject]
    hrefs: Sequence[str]
    others: int
    output: DiffObject | None
    shown: SideBySide | Missing | None
    previous: str | None
    next: str | None
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ResultView:
    """The result of a replay, or of another execution.

    Attributes:
        a: the execution before.
        b: the execution after.
        replay: the replay of `b`; None if it is a run.
        matrix: the matrix.
        list: the objects of the chosen cell; None without one.
        at: the chosen object; None without one.
        failed: form of a replay of what has failed.
        placements: where the results are in the datasets of the config.
        reviewer: name of the person who reviews objects; empty until the first review.
        notice: why a review was not recorded.
    """

    a: Execution
    b: Execution
    replay: Replay | None
    matrix: MatrixView
    list: ListView | None
    at: ObjectStep | None
    failed: str
    placements: Sequence[Placement]
    reviewer: str = ""
    notice: str | None = None


async def show(ask: Ask) -> Answer:
    return await _shown(ask)


async def _shown(ask: Ask, error: PlayheadError | None = None) -> Shown[ResultView]:
    services = ask.services
    a = await services.executions.get(await ask.execution())
    b = await services.executions.get(await services.resolve.execution(ask.needed("with")))
    replay = await services.executions.replay(b.replay_batch_id) if b.replay_batch_id else None
    where = _where(ask)
    counted, found = await matrix(services, a, b, ask.patience)
    if (where.before, where.after) == (None, None) and counted.rows:
        numbers = {(row.before, one.after): one.objects for row in counted.rows for one in row.cells}
        first = next((one for one in _FIRST if numbers.get(one)), None)
        if first:
            where = ResultFilter(*first, where.error, where.folder, where.stage)
    reviewer = ask.text("reviewer") or ""
    by = _by(ask, where)

    def at(**changed: object) -> str:
        return result_url(
            a.execution_id, b.execution_id, **{**asdict(where), "by": by, "reviewer": reviewer, **changed}
        )

    failed = failed_again(replay) if replay else _form_of_run(b)
    listed = step = None
    if found and where.before and where.after:
        listed = await _list(ask, counted, found, where, by, at, failed)
        step = await _step(ask, found, where, at)
    view = ResultView(
        *(a, b, replay, counted, listed, step, failed.href(), await placements(services, b)),
        reviewer=reviewer,
        notice=error.detail if error else None,
    )
    api = f"/api/v1/executions/{a.execution_id}/result/{b.execution_id}"
    what = "objects" if by == "all" else "groups"
    return Shown(
        "Did the fix work?",
        view,
        [ApiCall(api), ApiCall(url(f"{api}/{what}", before=where.before, after=where.after))],
        crumbs=_crumbs(a, replay),
        cells=counted.live(),
        shape=counted.shape,
        ended=counted.is_complete,
        status=status_of(error),
    )


def _crumbs(a: Execution, replay: Replay | None) -> list[Crumb]:
    if replay is None:
        return [
            Crumb("Executions", "/executions"),
            Crumb(f"{a.kind} {str(a.execution_id)[-8:]} of {a.config}", url(f"/executions/{a.execution_id}")),
            Crumb("Result"),
        ]
    return [
        Crumb("Replays", "/replays"),
        Crumb(f"{replay.from_stage} → {replay.to_route}", url(f"/replays/{replay.replay_batch_id}")),
        Crumb("Result"),
    ]


def _where(ask: Ask) -> ResultFilter:
    before = ask.choice("before", tuple(BEFORE))
    after = ask.choice("after", tuple(AFTER))
    return ResultFilter(
        next((one for one in BEFORE if one == before), None),
        next((one for one in AFTER if one == after), None),
        *(ask.text(name) for name in ("error", "folder", "stage")),
    )


def _by(ask: Ask, where: ResultFilter) -> By:
    asked = ask.choice("by", _BY)
    if where.error or where.folder or where.stage:
        return "all"
    if asked:
        return next(one for one in _BY if one == asked)
    has_error = where.before == "failed" or where.after in FAILED_AFTER
    return "error" if has_error and where.after != "undecided" else "all"


def _form_of_run(b: Execution) -> ReplayForm:
    return ReplayForm(from_execution_id=str(b.execution_id), from_stage="input", only="failed")


async def _list(
    ask: Ask,
    counted: MatrixView,
    found: Result,
    where: ResultFilter,
    by: By,
    at: Callable[..., str],
    failed: ReplayForm,
) -> ListView:
    cursor = ask.text("cursor")
    groups: Sequence[ResultGroup] = ()
    objects: Sequence[ReplayedObject] = ()
    if by == "all":
        page = await found.objects(where, cursor, ROWS)
        objects, following = page.items, page.next_cursor
        hrefs = [f"{at(at=one.ordinal)}#object" for one in objects]
    else:
        named = await found.groups(by, where.before, where.after, cursor, ROWS)
        groups, following = named.items, named.next_cursor
        hrefs = [f"{at(by=None, **{by: one.name})}#list" for one in groups]
    return ListView(
        f"{BEFORE[where.before or 'done'].capitalize()}; now: {AFTER[where.after or 'same']}",
        next(
            (
                one.reviewed
                for row in counted.rows
                for one in row.cells
                if (row.before, one.after) == (where.before, where.after)
            ),
            "",
        ),
        by,
        {one: f"{at(by=one, error=None, folder=None, stage=None)}#list" for one in _BY},
        where,
        groups,
        objects,
        hrefs,
        [_again(by, one, where, failed) for one in groups],
        at(cursor=following) if following else None,
        at() if cursor else None,
    )


def _again(by: By, group: ResultGroup, where: ResultFilter, failed: ReplayForm) -> str | None:
    """Return the form that replays what failed in a folder. The form has no condition for an error."""
    if by != "folder" or where.after not in FAILED_AFTER or group.name == "/":
        return None
    return replace(failed, from_path=group.name).href()


async def _step(ask: Ask, found: Result, where: ResultFilter, at: Callable[..., str]) -> ObjectStep | None:
    services, ids = ask.services, (found.counts.a, found.counts.b)
    ordinal = ask.number("at", 1, 2**53)
    if ordinal is None:
        if where.after != "other":
            return None
        first = await found.objects(where, limit=1)
        if not first.items:
            return None
        ordinal = first.items[0].ordinal
    step = await found.step(ordinal, where)
    if step is None:
        raise BadRequest("invalid_body", f"at is {ordinal}; the execution has listed no such object")
    every = await services.result.outputs(*ids, step.object)
    differ = [one for one in every if one.state not in ("same", "moved")]
    chosen = ask.text("output")
    output = next((one for one in differ if f"{one.stage}/{one.path}" == chosen), None)
    output = output or (differ[0] if differ else None)
    few = differ[:_MOST_OUTPUTS]
    return ObjectStep(
        step,
        few,
        [f"{at(at=ordinal, output=f'{one.stage}/{one.path}')}#object" for one in few],
        len(every) - len(differ),
        output,
        await side_by_side(services, output) if output else None,
        f"{at(at=step.previous)}#object" if step.previous else None,
        f"{at(at=step.next)}#object" if step.next else None,
        {
            **{name: text for name, text in asdict(where).items() if text},
            "with": str(found.counts.b),
            "by": "all",
            "at": str(ordinal),
            "next": str(step.next or ordinal),
        },
    )


async def _review(ask: Ask) -> Answer:
    """Record a review, and show the next object."""
    given = {name: str(value) for name, value in ask.form.items()}
    answered = Ask(ask.services, ask.path, ask.parameters, given, patience=ask.patience)
    a, b = await answered.execution(), await ask.services.resolve.execution(answered.needed("with"))
    try:
        verdict = answered.choice("verdict", ("right", "wrong")) or answered.needed("verdict")
        await ask.services.result.review(
            *(a, b, answered.number("at", 1, 2**53) or 0),
            is_right=verdict == "right",
            reviewed_by=given.get("reviewer", ""),
        )
    except PlayheadError as exc:
        return await _shown(answered, exc)
    where = _where(answered)
    query = {**asdict(where), "by": "all", "reviewer": given["reviewer"].strip(), "at": given.get("next")}
    return Redirect(f"{result_url(a, b, **query)}#object")


PAGES: Final = (
    Page("/executions/{execution_id}/result", "result.html", show, "replays", live=True, scope="read"),
)
ACTIONS: Final = (
    Action("/executions/{execution_id}/result/review", _review, "result.html", "replays", scope="operate"),
)
