"""`replays report`, `replays deliveries` and `datasets deliveries`: reports, and events for webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from playhead.cli import output
from playhead.cli.command import Cursor, Limit, command
from playhead.cli.datasets import DatasetRef
from playhead.cli.replays import BatchRef
from playhead.cli.session import Session
from playhead.model import ReportFilter, ReportOutcome, ReportWork

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playhead.model import ReportCount, WebhookDelivery


@command("report", example="playhead replays report latest:replay --lines", changes=True)
async def report(
    s: Session,
    batch: BatchRef,
    revision: Annotated[
        int | None,
        typer.Option(
            "--revision",
            min=1,
            max=2**31 - 1,
            metavar="N",
            help="The report of the N-th end of the replay.  [default: the last one]",
        ),
    ] = None,
    lines: Annotated[
        bool, typer.Option("--lines", help="Write the report itself: one JSON object per line and object.")
    ] = False,
    failed: Annotated[
        bool,
        typer.Option("--failed", help="Write the lines of objects that failed, themselves or below."),
    ] = False,
    outcome: Annotated[
        ReportOutcome | None,
        typer.Option("--outcome", help="Write the lines with this outcome of publishing."),
    ] = None,
    work: Annotated[
        ReportWork | None,
        typer.Option("--work", help="Write the lines of messages that ended like this."),
    ] = None,
    error_code: Annotated[
        str | None,
        typer.Option("--error-code", metavar="CODE", help="Write the lines with this error code."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Write the report of the last end again, if it has failed.")
    ] = False,
) -> None:
    """Show the completion report of a replay, or write its lines.

    With conditions, the lines that fit all of them are written.
    """
    where = ReportFilter(outcome, work, error_code, failed or None)
    async with s.open() as rt:
        found = await rt.services.resolve.replay(batch)
        if lines or where != ReportFilter():
            async for chunk in await rt.services.reports.lines(found, revision, where):
                with output.stdout() as stdout:
                    stdout.buffer.write(chunk)
            return
        reports = rt.services.reports
        shown = await (reports.write_again(found) if again else reports.get(found, revision))
    if s.json:
        output.emit(shown)
        return
    output.line(f"Report of replay {found}, end {shown.revision}")
    output.line(f"  state   {shown.state}")
    if shown.error:
        output.line(f"  error   {shown.error}")
    if shown.reason:
        output.line(f"  reason  {shown.reason}")
    if shown.state == "stored":
        output.line(f"  lines   {shown.lines:,} ({shown.bytes:,} bytes)")
    for one in shown.counts:
        output.line(f"  ended   {_ended(one)}")
    for part in shown.parts:
        output.line(f"  part    {part.key}")


def _ended(count: ReportCount) -> str:
    """Return for example `12 objects: published, failed (adapter_error)`."""
    code = f" ({count.error_code})" if count.error_code else ""
    below = "; a message below failed" if count.failed_below else ""
    return f"{output.counted(count.objects, 'object')}: {count.outcome}, {count.work}{code}{below}"


@command("deliveries", example="playhead replays deliveries latest:replay")
async def deliveries(s: Session, batch: BatchRef, limit: Limit = 20, cursor: Cursor = None) -> None:
    """List the events for the webhook of a replay.

    Newest first: those that were sent, and those that will be sent.
    """
    async with s.open() as rt:
        found = await rt.services.resolve.replay(batch)
        items, rest = await output.gather(lambda c, n: rt.services.webhooks.list(found, c, n), cursor, limit)
    _print(s, items, rest)


@command("deliveries", example="playhead datasets deliveries docs")
async def deliveries_of_dataset(
    s: Session, name: DatasetRef, limit: Limit = 20, cursor: Cursor = None
) -> None:
    """List the events for the webhook of a dataset.

    Newest first: the newest 100, and all that are due.
    """
    async with s.open() as rt:
        items, rest = await output.gather(
            lambda c, n: rt.services.webhooks.list_of_dataset(name, c, n), cursor, limit
        )
    _print(s, items, rest)


def _print(s: Session, items: Sequence[WebhookDelivery], rest: str | None) -> None:
    if s.json:
        output.emit_list(items, rest)
        return
    output.table(
        ("DELIVERY", "EVENT", "STATE", "ATTEMPTS", "STATUS", "NEXT", "ERROR"),
        [
            (
                *(output.short(d.delivery_id), d.event, d.state, d.attempts, d.last_status or "-"),
                *(output.when(d.next_at) if d.next_at else "-", d.last_error or "-"),
            )
            for d in items
        ],
    )
    output.more(rest)
