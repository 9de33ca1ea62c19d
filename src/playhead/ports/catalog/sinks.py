"""Sinks that follow datasets: their next step, and what they have answered.

The rows have the next step of each sink, so a worker that dies loses nothing. A repeated answer changes
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from playhead.ports.catalog.drafts import Draft


class DuePage(NamedTuple):
    """The next page of a draft for a sink.

    Attributes:
        n: number of the publication.
        k, of: place of the page, from 0, and number of pages.
        after: highest number that was decided when the draft was staged; 0: the sink had no publication.
        cursor: where the page begins.
    """

    n: int
    k: int
    of: int
    after: int
    cursor: int


class SinkIdentity(NamedTuple):
    """A sink, with the config version that has its step."""

    dataset: int
    route: str
    version: int


class DueSink(NamedTuple):
    """A sink that is not up to date.

    Attributes:
        dataset: number of the dataset; `config` and `name` are its names.
        version: config version that has the step of the sink.
        generation: number of its line of publications.
        page: what to stage; None: nothing.
        shows: publication to be shown; None: it is shown.
        seq: number of the newest switch.
        current: publication that it names; None: nothing is published.
        must_forget: dropped publications, or executions, are to be forgotten.
        must_check: it is to be compared with what is published.
        must_rebuild: it is to be rebuilt if it differs.
        must_write: it was rebuilt, and rows that it still lacks are to be written again.
        repairs: how often a repair was asked for.
    """

    dataset: int
    config: str
    name: str
    route: str
    version: int
    generation: int
    page: DuePage | None
    shows: int | None
    seq: int
    current: int | None
    must_forget: bool
    must_check: bool
    must_rebuild: bool
    must_write: bool
    repairs: int

    @property
    def identity(self) -> SinkIdentity:
        return SinkIdentity(self.dataset, self.route, self.version)


class SinkChanges(NamedTuple):
    """What a page changes. `cursor` is where the next one begins."""

    added: Sequence[str]
    removed: Sequence[str]
    cursor: int


class PublishedResult(NamedTuple):
    """A result of a sink. `stage` and `key`: of the object that the step received."""

    message: UUID
    result: str
    stage: str
    key: str


class SinkDifference(NamedTuple):
    """How a sink differs from publication `n`.

    Attributes:
        missing: number of results that it does not show.
        left_over: number of results that it shows, and the publication does not have.
        first_missing: objects of some missing results.
        stages: stages of all of them.
    """

    n: int
    missing: int
    left_over: int
    first_missing: Sequence[str]
    stages: Sequence[str]


class Repair(NamedTuple):
    """How lost rows of a sink are written again, see `playhead.model.SinkRepair`."""

    results: int
    replays: Sequence[UUID]
    publication: int | None = None
    problem: str | None = None


class OpenRepair(NamedTuple):
    """A repair whose replays are not published yet.

    Attributes:
        dataset: number of the dataset; `config` and `name` are its names.
        repairs: number of the repair, as in `DueSink`.
        n: newest publication that has the replays as parts; None if no draft has tried them.
    """

    dataset: int
    config: str
    name: str
    route: str
    repairs: int
    repair: Repair
    n: int | None


class Forgotten(NamedTuple):
    """See `playhead.ports.sinks.Sink.forget`. `at`: time of the catalog, for `sink_forgot`."""

    dropped: Sequence[range]
    upto: int
    executions: Sequence[UUID]
    at: float


class Lagging(NamedTuple):
    """A sink that is behind its dataset, named `name`, and for how many seconds."""

    dataset: int
    name: str
    route: str
    seconds: float


class Sinks(Protocol):
    """Results are named as in `playhead.Context.result`."""

    async def due_sinks(self) -> list[DueSink]:
        """Return the sinks that can be brought up to date now, by dataset and route."""
        ...

    async def sink_changes(self, due: DueSink, page: DuePage) -> SinkChanges:
        """Return what a page changes."""
        ...

    async def sink_staged(
        self, due: DueSink, page: DuePage, changes: SinkChanges, missing: Sequence[str]
    ) -> None:
        """Record that a sink has a page, and which of the added results have no rows there. Idempotent."""
        ...

    async def sink_switched(self, due: DueSink, n: int) -> None:
        """Record that a sink shows publication `n`, by the switch `due.seq`. Forwards only."""
        ...

    async def sink_failed(self, due: DueSink, code: str, detail: str, *, delay: float) -> None:
        """Record why a sink cannot be changed now. It is due again after `delay` seconds."""
        ...

    async def to_forget(self, due: DueSink) -> Forgotten:
        """Return what a sink need not keep."""
        ...

    async def let_sinks_forget(self) -> None:
        """Have each sink forget what it need not keep, unless it did so in the last hour."""
        ...

    async def sink_forgot(self, due: DueSink, at: float) -> None:
        """Record that a sink has forgotten what was to be forgotten at a time."""
        ...

    async def report_lags(self, seconds: float) -> list[Lagging]:
        """Record an event for the webhooks of datasets with a sink that lags by more than `seconds`.

        Returns these sinks. A sink is reported once, until it has switched.
        """
        ...

    async def staged(self, draft: Draft) -> bool:
        """Make a draft `prepared` if all of its sinks have all of its pages; return whether it is.

        Raises `Conflict`: `sink_rows_missing` if a sink lacks rows, `sink_behind` if it lacks an earlier
        publication; and `DraftLost`.
        """
        ...

    async def published_results(
        self, due: DueSink, n: int, *, after: UUID, limit: int
    ) -> list[PublishedResult]:
        """Return the results of a sink in a publication, by the ids of their messages."""
        ...

    async def check_sinks(self, dataset: int, *, route: str | None, repair: bool) -> int:
        """Have sinks compared with what is published, all or one; return how many."""
        ...

    async def sink_checked(self, due: DueSink, found: SinkDifference, repair: Repair | None = None) -> None:
        """Record how a sink differs from what is published, and the replays that write lost rows again."""
        ...

    async def open_repairs(self) -> list[OpenRepair]:
        """Return the repairs whose replays are to be published when they have settled."""
        ...

    async def end_repair(self, repair: OpenRepair, n: int | None, problem: str | None) -> None:
        """Record that a repair is published as `n`, or why it cannot be. Idempotent."""
        ...

    async def rebuild_sink(self, due: DueSink) -> bool:
        """Give a sink the whole content of the current publication again, and check it afterwards.

        Returns False, and changes nothing, while a draft is open.

        Readers see what they see now until all of it is there. If results have no rows, they go on seeing it,
        and the next draft gives the sink its whole content.
        """
        ...
