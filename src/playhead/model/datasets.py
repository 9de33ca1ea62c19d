"""Datasets: what readers use of a config, and its numbered publications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal
from uuid import UUID

from annotated_types import Interval, Len

from playhead.limits import InvalidValue, Limited, Meets, NoNul, check

OnFailure = Literal["keep_last", "leave_out", "refuse"]
Allowed = Literal["incomplete", "removed", "older", "empty"]
PublicationState = Literal[
    "resolving", "staging", "checking", "prepared", "published", "abandoned", "dropped"
]
OPEN_PUBLICATION_STATES: Final = ("resolving", "staging", "checking", "prepared")
PartRole = Literal["base", "layer"]
NoteKind = Literal["kept", "left_out", "superseded", "removed", "older"]
ChangeKind = Literal["added", "changed", "removed"]

MOST_PARTS: Final = 100
MAX_NUMBER: Final = 2**53
"""Highest number of a publication or a switch: every reader of JSON has it exactly."""


def _count_or_share(number: float) -> None:
    if number >= 1 and not float(number).is_integer():
        raise ValueError("is neither a whole number nor a share below 1")


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
        runs: `complete`: each run has all inputs. `partial`: a run adds inputs.
        keep: publications that are kept, besides the current one and pinned ones.
        sinks: those of its routes whose last adapter follows publications.
    """

    name: str
    routes: tuple[str, ...]
    publish: Literal["manual", "automatic"] = "manual"
    on_failure: OnFailure = "keep_last"
    max_failed: Annotated[float, Interval(ge=0, le=1e9), Meets(_count_or_share)] = 0
    max_removed: Annotated[float, Interval(ge=0, le=1)] = 0.2
    runs: Literal["complete", "partial"] = "complete"
    keep: Annotated[int, Interval(ge=0, le=1_000)] = 5
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
        base: run that is the base, if `executions` has several.
        add: runs that are layers, although each run of the dataset has all inputs.
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
class PublicationPart:
    """An execution from which a publication takes results.

    Attributes:
        execution_id: the execution.
        role: `base` defines the inputs; a `layer` replaces some results.
        revision: how often the execution had ended.
    """

    execution_id: UUID
    role: PartRole
    revision: int


@dataclass(frozen=True, slots=True)
class StageChanges:
    """Objects of a stage, or results of a route without a stage, compared with the publication before.

    Attributes:
        total: number in this publication.
        added, changed, removed: number of those that differ.
    """

    total: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0

    @property
    def same(self) -> int:
        return self.total - self.added - self.changed


@dataclass(frozen=True, slots=True)
class UnitCounts:
    """What happened to the documents and replayed objects of the parts.

    Attributes:
        good: their new results are published.
        kept: processing failed, and the earlier results are kept.
        left_out: processing failed, and there are no results.
        superseded: another version of the object is published.
        removed: the object is no longer published.
        older: the published results are newer.
        covered: a later part has the results.
    """

    good: int = 0
    kept: int = 0
    left_out: int = 0
    superseded: int = 0
    removed: int = 0
    older: int = 0
    covered: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a publication was refused.

    Attributes:
        code: as `playhead errors` lists it.
        detail: the reason, and what to do.
    """

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Publication:
    """One numbered version of a dataset.

    Attributes:
        dataset: name of the dataset.
        config: config that declares it.
        n: number, which is given once.
        execution_id: id under which it can be read like an execution.
        state: `resolving`: its content is computed. `staging`: its sinks are prepared. `prepared`: ready to
            be shown. `published`: it was current at least once. `abandoned`: it will never be current.
            `dropped`: it was published, and is no longer kept.
        base: publication on which it was prepared; None: the first one.
        parts: executions from which it takes results.
        config_version: highest config version of its parts.
        counts: changes to the publication before, by stage, and by `:ROUTE` for routes without a stage.
        units: what happened to the documents and replayed objects of its parts.
        digest: SHA-256 sums of all objects, added up; detects damage.
        refusal: why it was abandoned; None: a person cancelled it, or it was not abandoned.
        reason: as given.
        is_pinned: it is kept until it is unpinned.
        created_at: time at which it began to be prepared; RFC 3339 in UTC.
        published_at: time at which it became current for the first time; RFC 3339 in UTC; None until then.
        dropped_at: time from which it cannot be read any more; RFC 3339 in UTC; None until then.
    """

    dataset: str
    config: str
    n: int
    execution_id: UUID
    state: PublicationState
    base: int | None
    parts: list[PublicationPart]
    config_version: int
    counts: Mapping[str, StageChanges]
    units: UnitCounts
    digest: str | None
    refusal: Refusal | None
    reason: str | None
    is_pinned: bool
    created_at: str
    published_at: str | None
    dropped_at: str | None


@dataclass(frozen=True, slots=True)
class PublicationPreview:
    """What a publication would change now.

    Attributes:
        dataset: name of the dataset.
        config: config that declares it.
        base: publication on which it would be prepared; None: the first one.
        expect_seq: number of the newest switch, for the request that publishes.
        counts: changes to the publication before, by stage, and by `:ROUTE` for routes without a stage.
        units: what would happen to the documents and replayed objects.
        notes: the first 100 documents and replayed objects whose new results would not be published.
    """

    dataset: str
    config: str
    base: int | None
    expect_seq: int
    counts: Mapping[str, StageChanges]
    units: UnitCounts
    notes: list[PublicationNote]


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
        publication: publication of the replays; None: there is none.
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
        check: the last comparison; None: there was none.
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
        held: automatic publication waits for a person, because of a rollback.
        publish: `manual` or `automatic`.
        routes: routes whose results readers use.
        sinks: indexes and tables that follow it.
        unpublished: newest settled executions that are not in the current publication, newest first.
    """

    name: str
    config: str
    current: int | None
    switched_at: str | None
    seq: int
    decided: int | None
    draft: Publication | None
    held: bool
    publish: Literal["manual", "automatic"]
    routes: list[str]
    sinks: list[SinkState]
    unpublished: list[UUID]


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


@dataclass(frozen=True, slots=True)
class PublicationNote:
    """A document or a replayed object whose new results are not published.

    Attributes:
        kind: `kept`: earlier results are published. `left_out`: none are. `superseded`: another version of
            the object is published. `removed`: the object is no longer published. `older`: the published
            results are newer.
        stage: stage of the document or the object.
        path: path in the stage.
        execution_id: part that processed it.
        correlation_id: message that failed, or that received the object; None if its records are deleted.
        detail: what failed.
    """

    kind: NoteKind
    stage: str
    path: str
    execution_id: UUID
    correlation_id: UUID | None
    detail: str | None


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
