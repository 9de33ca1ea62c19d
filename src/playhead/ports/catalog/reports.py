"""What follows from events: completion reports of replays, and webhooks of replays and datasets.

A report belongs to one end of an execution, so to one `revision`. Any process may write it. The one that
claims it raises its epoch, and every later step is conditional on the epoch. So a report is stored once, as a
whole, and no process that was suspended changes it.

1. *Claim*: the report is being written under a lease.
2. *Bind*: the row of a part is committed before its first byte, so no part is shown before all are stored.
3. *Store*: one transaction stores all parts, if the execution is still ended at this revision. Otherwise it
   was resumed meanwhile, the parts mix two ends, and they become `superseded`.

The deliveries of a webhook are an outbox: the catalog inserts a row in the transaction of each event. A
process claims a delivery before it sends it. So each is sent at least once, always under the same id.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from playhead.model import Report, ReportCount, ReportLine, WebhookDelivery


class ClaimedReport(NamedTuple):
    """A report that a process writes. Every step is conditional on the epoch.

    Attributes:
        n: number of the execution in the catalog.
        prefix: what precedes the names of its parts.
    """

    execution: UUID
    n: int
    revision: int
    epoch: int
    prefix: str


class WrittenPart(NamedTuple):
    """A part of a report. `sha256` is 32 bytes; `size` in bytes."""

    key: str
    lines: int
    size: int
    sha256: bytes


class Below(NamedTuple):
    """Numbers of dead and of skipped messages below the object at this place of the listing."""

    ordinal: int
    failed: int
    skipped: int


class ClaimedDelivery(NamedTuple):
    """A delivery that a process sends.

    Attributes:
        attempt: from 1.
        body: JSON.
    """

    delivery: UUID
    attempt: int
    url: str
    body: str


class Reports(Protocol):
    # -- reports -----------------------------------------------------------------------------------

    async def reports_due(self, *, lease: float, limit: int) -> list[UUID]:
        """Return executions that have ended and whose report no process writes, oldest first.

        Args:
            lease: of the processes that write reports.
        """
        ...

    async def claim_report(
        self, execution: UUID, *, owner: str, lease: float, most: int
    ) -> ClaimedReport | None:
        """Claim the report of the last end of an execution; None if it is not due.

        Parts that an earlier holder has bound are superseded: they will never be stored. A report that was
        claimed `most` times since it was due, or was asked for, becomes `failed`. So does that of an
        execution of which objects were pruned.
        """
        ...

    async def renew_report(self, held: ClaimedReport, *, lease: float) -> bool:
        """Extend the lease. False if the epoch was raised."""
        ...

    async def report_lines(self, held: ClaimedReport, *, after: int, limit: int) -> list[ReportLine]:
        """Return the lines after the first `after` ones, in the order of the listing. What is below them is
        not counted; see `failures_below`."""
        ...

    def failures_below(self, held: ClaimedReport, *, limit: int) -> AsyncIterator[list[Below]]:
        """Yield what is below the objects, in pages of up to `limit` dead or skipped messages.

        An object may be on several pages, and its numbers are added up. No page depends on the number of
        other messages.
        """
        ...

    async def bind_report(self, held: ClaimedReport, part: WrittenPart) -> bool:
        """Record the key of a part before its first byte is written. False if the epoch was raised, or the
        execution has been resumed."""
        ...

    async def store_report(
        self, held: ClaimedReport, parts: Sequence[WrittenPart], counts: Sequence[ReportCount] = ()
    ) -> bool:
        """Store a report whose parts are all bound and written, with the counts of its lines.

        Returns False if the epoch was raised or the execution has been resumed: then nothing is stored.
        """
        ...

    async def delay_report(self, held: ClaimedReport, *, seconds: float, error: str) -> None:
        """Release a report that cannot be written now. It is due again after `seconds`."""
        ...

    async def ask_report_again(self, batch: UUID) -> bool:
        """Make the report of the last end of a replay due again. False unless it is `failed`."""
        ...

    async def report(self, batch: UUID, revision: int | None = None) -> Report | None:
        """Return the report of an end of a replay; None if it has no such report.

        Args:
            revision: of which end; None: of the last one, or of the next one while the execution runs.
        """
        ...

    # -- webhooks ----------------------------------------------------------------------------------

    async def claim_deliveries(self, *, limit: int, lease: float, most: int) -> list[ClaimedDelivery]:
        """Claim deliveries that are due, the longest overdue first. For `lease` seconds, no other process
        claims them.

        The attempt is counted here, so a delivery at which the process dies is not repeated forever: after
        `most` attempts it becomes `failed`.
        """
        ...

    async def delivered(
        self, claimed: ClaimedDelivery, *, status: int | None, error: str | None, retry: float | None
    ) -> None:
        """Record the result of an attempt.

        A delivery that the receiver has accepted is not sent again. A failure has no effect if another
        process has claimed the delivery since.

        Args:
            status: of the response; None without a response.
            error: why the attempt failed; None if the receiver has accepted the delivery.
            retry: seconds until the next attempt; None: no attempt follows.
        """
        ...

    async def deliveries(
        self, of: UUID | int, *, before: int | None = None, limit: int = 100
    ) -> tuple[list[WebhookDelivery], int | None]:
        """Return deliveries, newest first, and the start of the next page (None at the end).

        Args:
            of: batch of a replay, or number of a dataset. Of a dataset, the newest 100 are kept, and all that
                are due.
        """
        ...

    async def send_again(self, of: UUID | int, delivery: UUID) -> WebhookDelivery | None:
        """Make a delivery due now, with all of its attempts; None if `of` has no such delivery."""
        ...
