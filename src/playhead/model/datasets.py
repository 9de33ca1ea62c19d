"""Datasets: what readers use of a config, and the requests for its publications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal
from uuid import UUID

from annotated_types import Interval, Len

from playhead.limits import COUNT_OR_SHARE, InvalidValue, Limited, NoNul, check
from playhead.model.publications import Publication
from playhead.model.results import Declaration

OnFailure = Literal["keep_last", "leave_out", "refuse"]
Allowed = Literal["incomplete", "removed", "older", "empty"]
ChangeKind = Literal["added", "changed", "removed"]
DatasetEvent = Literal[
    "dataset.published",
    "dataset.rolled_back",
    "dataset.refused",
    "dataset.sink_lagging",
    "dataset.held",
]

MOST_PARTS: Final = 100
NOT_IN_BODY: Final = ("automatic", "keeps_hold")
"""Fields of `PublishRequest` that no client sets."""
MAX_NUMBER: Final = 2**53
"""Highest number of a publication or a switch: every reader of JSON has it exactly."""


@dataclass(frozen=True, slots=True)
class DatasetConfig(Limited):
    """What a config declares of a dataset.

    Attributes:
        routes: routes whose results readers use.
        publish: `automatic`: publish each run of the config when it has settled.
        on_failure: what happens to a document whose processing failed: its earlier results are kept, it is
            left out, or the publication is refused.
        max_failed: documents that may have failed in an automatic publication: a number, or a share below 1.
        max_removed: share of the inputs that a publication may remove.
        runs: `complete`: each run has all inputs. `partial`: a run adds inputs, and so does a replay of a
            stage of another config.
        keep: publications that are kept, besides the current one and pinned ones.
        webhook: URL that receives the events of the dataset; None: there is no webhook.
        sinks: those of its routes whose last adapter follows publications.
    """

    name: str
    routes: tuple[str, ...]
    publish: Literal["manual", "automatic"] = "manual"
    on_failure: OnFailure = "keep_last"
    max_failed: Annotated[float, Interval(ge=0, le=1e9), COUNT_OR_SHARE] = 0
    max_removed: Annotated[float, Interval(ge=0, le=1)] = 0.2
    runs: Literal["complete", "partial"] = "complete"
    keep: Annotated[int, Interval(ge=0, le=1_000)] = 5
    webhook: Annotated[str, Len(1, 2_000), NoNul] | None = None
    sinks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(self, leave_out=("routes", "sinks"))


@dataclass(frozen=True, slots=True)
class PublishRequest(Limited):
    """What a client asks for when it publishes.

    Attributes:
        executions: settled executions. The newest run is the base, which defines the inputs; replays, and
            runs of a dataset with `runs: partial`, are layers on it. Without a run, they are layers on the
            current publication.
        base: run that is the base, if `executions` has several. In a dataset of a config without runs, it is
            a replay of a whole stage of another config; the replayed objects are the inputs.
        add: runs that are layers, although each run of the dataset has all inputs; and replays of a stage of
            another config, whose objects are added to the inputs. With `runs: partial`, all of them are.
        on_failure: what happens to a document whose processing failed; None: as the config says.
        skip_superseded: leave out replayed objects that are no longer published, instead of refusing.
        allow: what is not refused: `incomplete`: documents without a result in a route; `removed`: more
            removed inputs than `max_removed`; `older`: results that are older than those they replace;
            `empty`: a publication without objects.
        expect_seq: refuse unless this is the number of the newest switch.
        reason: why it is published.
        automatic: no person asked for it, so `max_failed` of the dataset applies.
        keeps_hold: automatic publication stays held, as it does not change what readers see.
    """

    executions: Annotated[list[UUID], Len(0, MOST_PARTS)] = field(default_factory=list)
    base: UUID | None = None
    add: Annotated[list[UUID], Len(0, MOST_PARTS)] = field(default_factory=list)
    on_failure: OnFailure | None = None
    skip_superseded: bool = False
    allow: Annotated[list[Allowed], Len(0, 4)] = field(default_factory=list)
    expect_seq: Annotated[int, Interval(ge=0, le=MAX_NUMBER)] | None = None
    reason: Annotated[str, Len(0, 1_000), NoNul] | None = None
    automatic: bool = False
    keeps_hold: bool = False

    def __post_init__(self) -> None:
        check(self)
        if not self.parts:
            raise InvalidValue("executions", "needs at least one execution")

    @property
    def parts(self) -> list[UUID]:
        """All named executions, each once."""
        return list(dict.fromkeys([*([self.base] if self.base else []), *self.executions, *self.add]))


@dataclass(frozen=True, slots=True)
class Switch:
    """An event that made a publication current.

    Attributes:
        seq: number, which only grows.
        n: publication that readers see since then.
        kind: `publish` or `rollback`.
        reason: as given.
        switched_at: time of the switch; RFC 3339 in UTC.
    """

    seq: int
    n: int
    kind: Literal["publish", "rollback"]
    reason: str | None
    switched_at: str


@dataclass(frozen=True, slots=True)
class SinkCheck:
    """How an index or a table differed from the current publication.

    Attributes:
        publication: number of that publication.
        missing: number of its results that were not there.
        left_over: number of results that were there for it, and that it does not have.
        first_missing: keys of up to 10 objects whose results were missing.
        stages: stages of all objects whose results were missing.
        checked_at: time of the comparison; RFC 3339 in UTC.
    """

    publication: int
    missing: int
    left_over: int
    first_missing: list[str]
    stages: list[str]
    checked_at: str


@dataclass(frozen=True, slots=True)
class SinkRepair:
    """How `index check --repair` writes lost rows of a sink again.

    Attributes:
        results: number of results whose rows were lost.
        replays: replays of exactly the objects of these results.
        publication: publication of the replays; None if they are not published.
        problem: why the rows were not written, or the replays not published.
        is_open: the replays are not published yet. They are as soon as they have settled.
    """

    results: int
    replays: list[str]
    publication: int | None
    problem: str | None
    is_open: bool


@dataclass(frozen=True, slots=True)
class SinkState:
    """An index or a table that follows a dataset.

    Attributes:
        route: route that fills it.
        adapter: its adapter.
        shown: publication that its readers see; None: none yet.
        seq: number of the switch that it has applied; 0: none yet.
        lag_seconds: how long it has been behind the dataset; 0 if it is not.
        staged: pages of the draft that it has recorded.
        pages: pages that the draft has for it; 0 without a draft.
        problem: why it cannot be changed now.
        is_checked: it is being compared with what is published, or rebuilt.
        check: the last comparison; None if it was never compared.
        repair: how rows that it had lost were written again, the last time; None: never.
    """

    route: str
    adapter: str
    shown: int | None
    seq: int
    lag_seconds: float
    staged: int
    pages: int
    problem: str | None
    is_checked: bool = False
    check: SinkCheck | None = None
    repair: SinkRepair | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the results of an execution are in a dataset.

    Attributes:
        dataset: name of the dataset.
        config: config that declares it.
        current: publication that readers see; None: nothing is published.
        n: newest publication of which the execution is a part, if possible one on which the current one is
            based; None: none that readers have seen.
        is_current: the current publication is this one, or is based on it.
        replaced_in: publication in which another run has replaced the results; None: they were not replaced,
            or a rollback has taken them back.
    """

    dataset: str
    config: str
    current: int | None
    n: int | None
    is_current: bool
    replaced_in: int | None


@dataclass(frozen=True, slots=True)
class Dataset:
    """What readers see now.

    Attributes:
        name: its name, unique in its config.
        config: config that declares it.
        current: number of the publication that readers see; None: nothing is published.
        switched_at: time of the newest switch; RFC 3339 in UTC; None: nothing is published.
        seq: number of the newest switch; 0 before the first one.
        decided: highest number that was ever current; None: nothing was published.
        draft: publication that is being prepared.
        refused: newest publication, if it was refused. None as soon as another one is prepared.
        held: automatic publication waits for a person, because of a rollback.
        publish: `manual` or `automatic`.
        routes: routes whose results readers use.
        sinks: indexes and tables that follow it.
        unpublished: newest settled executions that are not in the current publication, newest first.
        declared_valid: the newest 100 declarations about results of other code than the newest that were not
            undone, newest first.
    """

    name: str
    config: str
    current: int | None
    switched_at: str | None
    seq: int
    decided: int | None
    draft: Publication | None
    refused: Publication | None
    held: bool
    publish: Literal["manual", "automatic"]
    routes: list[str]
    sinks: list[SinkState]
    unpublished: list[UUID]
    declared_valid: list[Declaration] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DatasetChange:
    """An object that differs between two publications.

    Attributes:
        stage: stage of the object.
        path: path in the stage.
        change: what happened to it.
        key: key of the object in the later publication; None if it was removed.
        sha256: of its content, in hex; None if it was removed.
        was: the same of the object in the earlier publication; None if it was added.
    """

    stage: str
    path: str
    change: ChangeKind
    key: str | None
    sha256: str | None
    was: str | None


def relevant_routes(entry: str, feeds: Mapping[str, Sequence[str]], wanted: Sequence[str]) -> frozenset[str]:
    """Return the routes of a dataset, and those on a way from the entry to one of them.

    Args:
        feeds: which routes each route feeds.
        wanted: routes of the dataset; others are ignored.
    """
    above: dict[str, list[str]] = {}
    for route, targets in feeds.items():
        for target in targets:
            above.setdefault(target, []).append(route)
    reached, todo = {entry}, [entry]
    while todo:
        for target in feeds.get(todo.pop(), ()):
            if target not in reached:
                reached.add(target)
                todo.append(target)
    found = {route for route in wanted if route in feeds}
    todo = list(found)
    while todo:
        for route in above.get(todo.pop(), ()):
            if route in reached and route not in found:
                found.add(route)
                todo.append(route)
    return frozenset(found)
