"""`/datasets` and `/datasets/{name}`: what readers see, and the history of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from playhead.errors import BadRequest, NotFound, PlayheadError
from playhead.ids import parse_uuid
from playhead.model import (
    MAX_NUMBER,
    Dataset,
    Execution,
    Publication,
    SinkState,
    StageChanges,
    Switch,
    WebhookDelivery,
)
from playhead.model.access import HistoryEntry
from playhead.services import Services
from playhead.web.links import link
from playhead.web.page import ROWS, Action, Answer, ApiCall, Ask, Crumb, Page, Redirect, Shown, status_of, url
from playhead.web.render import counted, number
from playhead.web.stale import StaleRow, stale_rows

_SWITCHES: Final = 20
_DELIVERIES: Final = 20
_STAGES: Final = 6
"""Stages that the first sentence names."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something is refused.

    Attributes:
        error_code: as `playhead errors` lists it.
        detail: the reason, and what to do.
    """

    error_code: str
    detail: str

    @classmethod
    def of(cls, error: PlayheadError) -> Problem:
        return cls(error.code, error.detail)


@dataclass(frozen=True, slots=True)
class StageRow:
    """Objects of a stage in a publication, compared with the publication that it is based on.

    Attributes:
        name: the stage; the route of results without a stage.
        is_route: whether it is a route.
    """

    name: str
    is_route: bool
    total: int
    added: int
    changed: int
    removed: int
    same: int


def stage_rows(counts: Mapping[str, StageChanges]) -> list[StageRow]:
    """Return the counts of a publication, stages first."""
    rows = [
        StageRow(
            stage.removeprefix(":"),
            stage.startswith(":"),
            one.total,
            one.added,
            one.changed,
            one.removed,
            one.same,
        )
        for stage, one in counts.items()
    ]
    return sorted(rows, key=lambda row: row.is_route)


def place_of(dataset: Dataset | Publication, last: str = "") -> str:
    """Return the path of the page of a dataset, or of one below it. Its query is `config`."""
    name = dataset.name if isinstance(dataset, Dataset) else dataset.dataset
    return f"/datasets/{name}" + (f"/{last}" if last else "")


async def dataset_of(ask: Ask) -> Dataset:
    """Return the dataset that a request names.

    Raises `NotFound` (`dataset_not_found`) and `BadRequest` (`dataset_ambiguous`).
    """
    return await ask.services.publish.dataset(_asked(ask))


def full_name(dataset: Dataset) -> str:
    """Return the name by which services find exactly this dataset."""
    return f"{dataset.config}/{dataset.name}"


def _asked(ask: Ask) -> str:
    config, name = ask.text("config"), ask.parameters["name"]
    return f"{config}/{name}" if config else name


def api_of(dataset: Dataset, last: str = "", **query: object) -> str:
    return url(f"/api/v1/datasets/{dataset.name}{last}", config=dataset.config, **query)


def crumbs_of(dataset: Dataset, last: str = "") -> list[Crumb]:
    here = link("dataset", full_name(dataset))
    found = [Crumb("Datasets", "/datasets"), Crumb(dataset.name, here if last else None)]
    return [*found, Crumb(last)] if last else found


def number_of(dataset: Dataset, text: str) -> int:
    """Return the number of a publication that an address or a form names. Raises `NotFound`."""
    if text.isascii() and text.isdecimal() and len(text) <= 16 and 1 <= int(text) <= MAX_NUMBER:
        return int(text)
    raise NotFound("publication_not_found", f"dataset {dataset.name} has no publication {text!r}")


def seq_of(text: str) -> int | None:
    """Return the number of the newest switch that a form was made with. Raises `BadRequest`."""
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 16 and int(text) <= MAX_NUMBER):
        raise BadRequest("invalid_body", f"expect_seq is {text!r}; use a number")
    return int(text)


# -- all datasets ----------------------------------------------------------------------------------


def sink_text(sink: SinkState) -> str:
    """Return what a sink shows, in a few words."""
    if sink.problem:
        return f"cannot be changed: {sink.problem}"
    if sink.lag_seconds > 0:
        return f"behind for {sink.lag_seconds:,.0f} s"
    if sink.is_checked:
        return "is being compared with the publication"
    if sink.check and (sink.check.missing or sink.check.left_over):
        return (
            f"lacks {sink.check.missing:,} results, and has {sink.check.left_over:,} that are not published"
        )
    return "up to date" if sink.shown else "shows nothing yet"


def _sinks_text(sinks: Sequence[SinkState]) -> str:
    """Return the end of the first sentence: whether all sinks show the current publication."""
    if not sinks:
        return ""
    late = [one for one in sinks if one.problem or one.lag_seconds > 0]
    if late:
        return f"{number(len(late))} of {counted(len(sinks), 'sink')} behind: {late[0].route}"
    return "the sink is up to date" if len(sinks) == 1 else f"all {len(sinks)} sinks are up to date"


def stages_text(counts: Mapping[str, int]) -> str:
    """Return numbers of objects by stage."""
    found = [f"{number(count)} in {stage}" for stage, count in list(counts.items())[:_STAGES]]
    if len(counts) > _STAGES:
        found.append(f"and {counted(len(counts) - _STAGES, 'more stage')}")
    return ", ".join(found)


def _objects_text(counts: Mapping[str, StageChanges]) -> str:
    """Return the numbers of objects of a publication."""
    totals = {row.name: row.total for row in stage_rows(counts) if not row.is_route}
    return f"{counted(sum(totals.values()), 'object')} ({stages_text(totals)})" if totals else ""


@dataclass(frozen=True, slots=True)
class DatasetsView:
    """The list of datasets.

    Attributes:
        datasets: by config and name.
        name: only datasets with this name; None: all.
        sinks: what each sink shows, by `CONFIG/NAME/ROUTE`.
    """

    datasets: Sequence[Dataset]
    name: str | None
    sinks: Mapping[str, str]


async def show_all(ask: Ask) -> Shown[DatasetsView]:
    name = ask.text("name")
    found = [one for one in await ask.services.publish.datasets() if name in (None, one.name)]
    sinks = {f"{full_name(one)}/{sink.route}": sink_text(sink) for one in found for sink in one.sinks}
    shape = " ".join(_shape(one) for one in found)
    cells = {f"sink.{route}": text for route, text in sinks.items()}
    calls = [ApiCall(url("/api/v1/datasets", name=name))]
    return Shown("Datasets", DatasetsView(found, name, sinks), calls, cells=cells, shape=shape)


def _shape(dataset: Dataset) -> str:
    """Return what changes when the page of a dataset has other parts."""
    draft = f"{dataset.draft.n} {dataset.draft.state}" if dataset.draft else ""
    sinks = "".join(f"{one.shown} {one.problem is None}" for one in dataset.sinks)
    waits = " ".join(str(one) for one in dataset.unpublished)
    return f"{full_name(dataset)} {dataset.seq} {dataset.held} {draft} {sinks} {waits}"


# -- one dataset -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DatasetView:
    """A dataset.

    Attributes:
        dataset: what readers see now.
        current: the publication that readers see; None: nothing is published.
        stages: its numbers of objects, in words.
        sinks: whether all sinks show it, in words; empty without a sink.
        sink_texts: what each sink shows, by route.
        waiting: newest settled executions that are not published.
        publications: newest first, also refused and dropped ones.
        switches: what readers saw, newest first.
        next_url: older publications; None at the end.
        first_url: the newest publications; None if they are shown.
        stale: routes of the current publication with results that are not of the newest code.
        deliveries: newest events for its webhook.
        history: its newest changes.
        problem: why something that a person asked for was refused.
    """

    dataset: Dataset
    current: Publication | None
    stages: str
    sinks: str
    sink_texts: Mapping[str, str]
    waiting: Sequence[Execution]
    publications: Sequence[Publication]
    switches: Sequence[Switch]
    next_url: str | None
    first_url: str | None
    stale: Sequence[StaleRow] = ()
    deliveries: Sequence[WebhookDelivery] = ()
    history: Sequence[HistoryEntry] = ()
    problem: Problem | None = None


async def show(ask: Ask) -> Answer:
    try:
        dataset = await dataset_of(ask)
    except BadRequest as exc:
        if exc.code != "dataset_ambiguous":
            raise
        return Redirect(url("/datasets", name=ask.parameters["name"]))
    if ask.text("mark") is not None:
        return _live(dataset)
    return await shown(ask.services, dataset, ask.text("cursor"))


def _live(dataset: Dataset) -> Shown[DatasetView]:
    """Return only what changes while the page is open: it costs one look at the dataset."""
    texts = {one.route: sink_text(one) for one in dataset.sinks}
    view = DatasetView(dataset, None, "", _sinks_text(dataset.sinks), texts, (), (), (), None, None)
    return Shown(dataset.name, view, cells=_cells(view), shape=_shape(dataset))


def _cells(view: DatasetView) -> dict[str, str]:
    cells = {f"sink.{route}": text for route, text in view.sink_texts.items()} | {"sinks": view.sinks}
    for one in view.dataset.sinks:
        cells[f"staged.{one.route}"] = f"{one.staged:,} of {one.pages:,} pages"
    return cells


async def shown(
    services: Services, dataset: Dataset, cursor: str | None = None, error: PlayheadError | None = None
) -> Shown[DatasetView]:
    """Return the page of a dataset. `error` is why something was refused."""
    name, publish = full_name(dataset), services.publish
    current = await publish.publication(name, dataset.current) if dataset.current else None
    page = await publish.publications(name, cursor, ROWS, every=True)
    here = link("dataset", name)
    deliveries = (await services.webhooks.list_of_dataset(name, None, _DELIVERIES)).items
    texts = {one.route: sink_text(one) for one in dataset.sinks}
    view = DatasetView(
        dataset,
        current,
        _objects_text(current.counts) if current else "",
        _sinks_text(dataset.sinks),
        texts,
        [await services.executions.get(one) for one in dataset.unpublished],
        page.items,
        await publish.switches(name, _SWITCHES),
        url(place_of(dataset), config=dataset.config, cursor=page.next_cursor) if page.next_cursor else None,
        here if cursor else None,
        stale_rows(current) if current else (),
        deliveries,
        await services.audit.history(dataset=name),
        Problem.of(error) if error else None,
    )
    calls = [
        ApiCall(api_of(dataset)),
        ApiCall(api_of(dataset, "/publications", all="true", limit=ROWS, cursor=cursor)),
        ApiCall(api_of(dataset, "/switches", limit=_SWITCHES)),
    ]
    if deliveries:
        calls.append(ApiCall(api_of(dataset, "/deliveries", limit=_DELIVERIES)))
    if current:
        calls.insert(1, ApiCall(api_of(dataset, f"/publications/{current.n}")))
    return Shown(
        dataset.name,
        view,
        calls,
        crumbs_of(dataset),
        _cells(view),
        shape=_shape(dataset),
        status=status_of(error),
        mark="live",
    )


# -- control ---------------------------------------------------------------------------------------


async def _cancel(ask: Ask, dataset: Dataset) -> None:
    """Cancel the draft that the form names. A later one is left alone."""
    n = number_of(dataset, str(ask.form.get("n") or ""))
    if dataset.draft and dataset.draft.n == n:
        await ask.services.publish.cancel(full_name(dataset))


async def _release(ask: Ask, dataset: Dataset) -> None:
    await ask.services.publish.release(full_name(dataset))


async def _forget(ask: Ask, dataset: Dataset) -> None:
    """Undo what was declared about the results of the route that the form names."""
    await ask.services.publish.forget(full_name(dataset), str(ask.form.get("route") or ""))


async def _check(ask: Ask, dataset: Dataset) -> None:
    """Have all sinks compared with what readers see. The page shows the result when a worker has it."""
    await ask.services.publish.check(full_name(dataset))


async def _send(ask: Ask, dataset: Dataset) -> None:
    """Make an event for the webhook due again."""
    delivery = parse_uuid(str(ask.form.get("delivery_id") or ""))
    if delivery is None:
        raise BadRequest("invalid_body", "the form needs delivery_id, the id of a delivery")
    await ask.services.webhooks.send_again_of_dataset(full_name(dataset), delivery)


def _action(name: str, act: Callable[[Ask, Dataset], Awaitable[None]]) -> Action:
    async def perform(ask: Ask) -> Answer:
        dataset = await dataset_of(ask)
        try:
            await act(ask, dataset)
        except PlayheadError as exc:
            return await shown(ask.services, await dataset_of(ask), error=exc)
        return Redirect(link("dataset", full_name(dataset)))

    return Action(f"/datasets/{{name}}/{name}", perform, "dataset.html", "datasets", scope="operate")


PAGES: Final = (
    Page("/datasets", "datasets.html", show_all, "datasets", live=True, scope="read"),
    Page("/datasets/{name}", "dataset.html", show, "datasets", live=True, scope="read"),
)
ACTIONS: Final = (
    _action("cancel", _cancel),
    _action("release", _release),
    _action("forget", _forget),
    _action("check", _check),
    _action("send", _send),
)
