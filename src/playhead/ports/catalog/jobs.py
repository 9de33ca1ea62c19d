"""Executions and their jobs.

A job lists one stage and publishes a dispatch for each of its objects. A replay lists a stored stage of an
earlier execution; a run lists its own sealed `input`. One process at a time holds the job under a lease. But
exactness rests on the epoch alone. Each acquisition raises the epoch, and every write of a job is conditional
on it. So a process that was suspended for an hour cannot change anything when it continues.

The job has the *root* of its execution. The root is open until the listing is done, so an
execution cannot end before all its messages exist.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, Protocol
from uuid import UUID

from playhead.envelope import Dispatch, Headers
from playhead.model import Execution, OnReplay, Replay, ReplayRequest, Selection
from playhead.ports.catalog.declarations import Declare
from playhead.ports.catalog.runs import Reusable

MOST_NORMAL: Final = 1000
"""A replay with more objects is bulk, unless its request says otherwise."""
WINDOW: Final = 1000
"""How many rows behind the watermark may be on their way to the broker at once."""


CancelAction = Literal["execution.cancel", "replay.withdraw", "run.start"]
"""Why an execution is cancelled, as the audit names it. `run.start`: its inputs could not be stored."""


class Listed(NamedTuple):
    """An object that a listing found: its key, its stage, and why it cannot be processed.

    With a `problem` (the key breaks the grammar), its row is `dead` with `invalid_key`.
    """

    key: str
    stage: str
    problem: str | None = None


class Key(NamedTuple):
    """An Idempotency-Key.

    Attributes:
        starts: what the request starts: `replay` or `publication`.
        owner: who sent it; empty: a local user, or any client of an open server.
        key: as sent.
        body_sha256: of the request with its defaults.
        seconds: how long the key is kept at least. It is also kept until publishing has ended, or the
            publication is decided or refused.
    """

    starts: str
    owner: str
    key: str
    body_sha256: bytes
    seconds: float

    @property
    def scope(self) -> str:
        """Within which keys must differ: callers do not share keys."""
        return f"{self.owner} {self.starts}".strip()


class Opened(NamedTuple):
    """A replay, and whether this call has created it."""

    replay: Replay
    fresh: bool


class LeasedPlan(NamedTuple):
    """A plan that a job lists its objects from; `last_key` is the key of its last object."""

    plan: UUID
    last_key: str


@dataclass(frozen=True, slots=True)
class LeasedJob:
    """A job that a process holds.

    Attributes:
        job: the id of the execution that the job belongs to.
        epoch: the fencing token; every write is conditional on it.
        owner: the process that holds it.
        headers: what its dispatches share.
        external: its dispatches go to a queue that only other programs consume.
        prefix: `{execution}/{stage}` or `{execution}/{stage}/{path}`: where to list.
        stages: declared stages of the source execution (longest first), to tell stage from path.
        default_stage: the stage that was asked for.
        cursor: the last key that the listing looked at; "" at the start.
        checked: the last key that was compared with the plan; "" at the start.
        page: how many inputs one page records at most, if the run takes over results; else None.
        state: `checking`: compare the plan with the store first; else `publishing`.
        selection: which of the listed objects are replayed; None: all.
        plan: the objects come from this plan; None: they are listed in the store.
        paced: the job lists to its end first, and `allow` says how many of its rows may be sent.
        is_decided: the level of its messages is known; until then, none of them may be sent.
        has_references: the source execution may have references, which are not in the store under its prefix.
    """

    job: UUID
    epoch: int
    owner: str
    headers: Headers
    external: bool
    prefix: str
    stages: tuple[str, ...]
    default_stage: str
    cursor: str
    checked: str = ""
    is_decided: bool = True
    page: int | None = None
    has_references: bool = False
    state: Literal["checking", "publishing"] = "publishing"
    selection: Selection | None = None
    paced: bool = False
    plan: LeasedPlan | None = None


class Window(NamedTuple):
    """Rows of a job that may be sent now.

    Attributes:
        dispatches: those that must be sent, in order. Rows that have ended or were claimed are left out.
        upto: the ordinal of the last row of the window; 0: there is no row behind the watermark.
        listed: the listing has ended.
        is_full: the limit of objects left out some of the page.
        is_decided: see `LeasedJob`. If it is False, no row may be sent yet.
    """

    dispatches: list[Dispatch]
    upto: int
    listed: bool = False
    is_full: bool = False
    is_decided: bool = True


class Jobs(Protocol):
    async def open_replay(
        self,
        *,
        batch: UUID,
        request: ReplayRequest,
        prefix: str,
        config: str,
        version: int,
        route: str,
        traceparent: str | None = None,
        effects: Mapping[str, OnReplay] = MappingProxyType({}),
        key: Key | None = None,
        datasets: Sequence[str] = (),
        reuse: Reusable | None = None,
        declare: Declare | None = None,
    ) -> Opened:
        """Create the new execution, the batch, the root and the job in one transaction.

        `batch` is a new id. A caller that does not receive the answer looks it up with `replay`.

        `effects` says what the replay does in routes of its config, by route name; the others run. It is
        stored with the replay: `Work.finish` and `Work.claim` close the messages of routes with `skip` or
        `refuse`, and a claim in another route has the value of the name `*` (`Claim.skips_effects`).

        The replay of a managed request is `queued` until fewer replays publish to its queue (`admit`); any
        other is `publishing`. With a `key` that is known, the replay of the first request is returned.

        Each time the replay ends, its publication in `datasets` of its config is due, until it is published
        (`Publications.replays_to_publish`).

        With `reuse`, which names no execution, `record` and `finish` take over results, as in a run.

        With `declare`, the declaration is recorded in the same transaction (`Declarations`).

        With a plan, the plan becomes `used` in the same transaction. If it was used before, the replay that
        was started from it is returned.

        Raises `Conflict`: `stage_pruned` if objects of the stage were pruned; `idempotency_key_reused` if the
        key belongs to another body; `plan_expired`; `plan_not_ready`. Raises `NotFound` (`plan_not_found`).
        Otherwise no prune deletes objects of the source until the replay has
        ended.

        The request is stored, so its times are fixed. `prefix` is where the listing starts. `config`,
        `version` and `route` are what `to_route` was resolved to. Any process can acquire the job.
        `traceparent` is stored as in `open_run`.
        """
        ...

    async def keyed(self, key: Key) -> UUID | None:
        """Return what a request with this key has started; None: the key is unknown.

        That is the batch of a replay, or the execution id of a publication.

        Raises `Conflict` (`idempotency_key_reused`) if the key belongs to another body.
        """
        ...

    async def adopt(self, execution: UUID) -> Execution:
        """Record an execution of another program: kind `adopted`, `completed`, no config.

        An existing execution is returned unchanged.

        Raises:
            Forbidden: `outside_limit`; the caller is limited to some configs.
        """
        ...

    async def acquire(self, job: UUID, *, owner: str, lease: float) -> LeasedJob | None:
        """Acquire a job that is still publishing and whose lease is free or expired; raise its epoch.

        Returns None if the job cannot be acquired. While the root is open, the fifth consecutive acquisition
        without a page or a mark makes the job `stalled` and returns None: a listing that kills its server
        must not kill one server after the other. Once the root is closed, a job never becomes `stalled`.
        """
        ...

    async def renew(
        self, held: LeasedJob, *, lease: float, waits_for: Literal["broker", "store"] | None = None
    ) -> bool:
        """Extend the lease to `lease` seconds from now. False if the epoch was raised or the job ended.

        `waits_for` is shown in the replay: the backend that is unavailable.
        """
        ...

    async def release(self, held: LeasedJob) -> None:
        """Release the lease, so that another process can continue at once. No effect if the epoch was raised.

        An acquisition that ends by `release` or `depart` does not count towards `stalled`, because the
        listing did not end it.
        """
        ...

    async def inputs(self, execution: UUID, *, after: str, limit: int) -> list[str]:
        """Return keys of the sealed inputs of a run after the key `after`, in byte order."""
        ...

    async def record(
        self,
        held: LeasedJob,
        objects: Sequence[Listed],
        *,
        cursor: str,
        last: bool,
        most: int | None = None,
    ) -> Window | None:
        """Insert one page of rows and move the cursor, in one transaction conditional on the epoch.

        Keys whose outputs row is not `stored` are left out; keys without a row count. Rows get ascending
        ordinals and ids in the given order. `last` also closes the root. At most 1,000 objects.

        In a run that was opened with `since`, a row becomes `taken_over` if the earlier run completed (or
        skipped, or took over) the message of an input with the same path and sha256, in a route that `since`
        names, with one of its codes. The row gets references to the outputs, and its children are inserted.
        They are taken over in the same way, or left to the reconciler. If the earlier run has no result of
        the newest code, that of the newest replay is used that has processed the same object in the same
        route. Other codes that `since` names come next, and then results that were declared valid
        (`Reusable.declared`). An object that the replay of such a declaration has received, or a later one,
        gets only results of the newest code.

        The limit of the job's selection ends the listing: objects behind it get no row, and the root is
        closed. Objects behind the first `most` of the job get no row either: then the window is full, the
        root stays open, and the cursor stays before them.

        The listing decides the level of a replay without a `priority`, in the same transaction. It is bulk as
        soon as it has more than `MOST_NORMAL` objects, and normal if its root is closed before. The rows
        follow the level of their job, also those that were recorded earlier.

        Returns a window of the new rows, without dead ones and those taken over. Returns None, and the
        caller must stop, if the epoch was raised, the execution is cancelled, or the stored cursor is not
        before `cursor`.
        """
        ...

    async def unpublished(self, held: LeasedJob, *, limit: int, upto: int | None = None) -> Window | None:
        """Return the window of the next recorded rows behind the watermark. None if the epoch was raised.

        It is a window of ordinals: it has at most `limit` rows (at most `WINDOW`), also if most of them need
        not be sent. `upto` is the last ordinal that may be sent.
        """
        ...

    async def mark(
        self,
        held: LeasedJob,
        upto: int,
        *,
        uncertain: Sequence[Dispatch] = (),
        refused: Sequence[tuple[Dispatch, str]] = (),
    ) -> bool:
        """Mark rows up to ordinal `upto` as published, except those named, conditional on the epoch.

        Uncertain rows remain until they are settled. Refused rows become `dead` (`publish_refused`), and
        published rows of an external route `completed`. False if the epoch was raised.
        """
        ...

    async def unsettled(self, held: LeasedJob, *, limit: int) -> list[Dispatch]:
        """Return the dispatches of rows that are still uncertain, oldest first. A claim settles a row."""
        ...

    async def settle(
        self, held: LeasedJob, confirmed: Sequence[Dispatch], refused: Sequence[tuple[Dispatch, str]]
    ) -> bool:
        """Record the outcome of uncertain rows. False if the epoch was raised."""
        ...

    async def close_job(self, held: LeasedJob) -> bool:
        """End a job that is listed and has no unpublished and no uncertain row.

        The state of the batch follows from the rows: `publishing_complete` if none failed, else
        `partial_failure`. The end of its execution closes a job, too. Returns False if the job is not done or
        the epoch was raised.
        """
        ...

    async def is_listed(self, job: UUID) -> bool:
        """Whether the root is closed: every object that the listing found is recorded."""
        ...

    async def fail_listing(self, held: LeasedJob, why: str, *, code: str = "listing_failed") -> bool:
        """Give up the listing: the root becomes `dead`, with a code. Recorded rows continue.

        A plan is not compared any more: the job is `publishing`. False if the epoch was raised or the listing
        has ended.
        """
        ...

    async def replay(self, batch: UUID, *, work: bool = True, trouble: str = "") -> Replay | None:
        """Return a batch, or None if it does not exist. Its numbers are read from rows.

        `work`: also count the messages of the execution, which takes longer the more there are.
        `errors` has at most 100 lines; the last line gives the number of further errors. `trouble` is added
        to those of uncertain objects.
        """
        ...

    async def replays(
        self,
        *,
        source: UUID | None = None,
        is_open: bool = False,
        before: int | None = None,
        limit: int = 100,
    ) -> tuple[list[Replay], int | None]:
        """Return batches, newest first, and the start of the next page (None at the end).

        Args:
            source: only those that replay this execution.
            is_open: only those whose publishing has not ended.
            before: the start of the page.
            limit: size of the page.
        """
        ...

    async def replays_named(self, batches: Sequence[UUID]) -> list[Replay]:
        """Return those of these replays that exist, each as `replays` does, in one look; in no order."""
        ...

    async def cancel(self, execution: UUID, *, action: CancelAction = "execution.cancel") -> Execution | None:
        """Cancel an execution. Returns None if it does not exist.

        Under its exclusive lock the execution becomes `cancelled`, its epoch is raised, and its root is
        closed: from then on no claim succeeds. Then every pending and retry row becomes `cancelled`, or
        `uncertain` if another program may receive it, in steps that no claim waits for long. If the process
        dies between two steps, `cancel_stragglers` cancels the other rows. A repeated call continues, or has
        no effect.

        Args:
            action: recorded in the audit; `run.start` with the outcome `failed`.

        Raises `Conflict` (`execution_ended`) if the execution is completed or failed.
        """
        ...
