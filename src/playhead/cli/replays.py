"""`replays …`: list, show, watch and control replays."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import typer

from playhead import wording
from playhead.cli import complete, executions, exits, output, progress, workers
from playhead.cli.command import NAMES_IN_SHORT, Cursor, Limit, command
from playhead.cli.output import when
from playhead.cli.session import Session, Usage, limits_of

if TYPE_CHECKING:
    from playhead.cli.deployment import Deployment
    from playhead.model import Execution, Pace, Replay

BatchRef = Annotated[
    str,
    typer.Argument(
        metavar="B",
        help="The replay: its batch id, the id of its execution, the last 4 or more digits of one, or "
        "`latest:replay`.",
        autocompletion=complete.replay,
    ),
]
Rate = Annotated[
    float | None,
    typer.Option("--rate", metavar="R", help="Publish at most R messages per second."),
]
QueueDepth = Annotated[
    int | None,
    typer.Option(
        "--queue-depth",
        metavar="N",
        help="Publish only while fewer than N messages wait in the target queue.",
    ),
]
_PAGE: Final = 20


@command("list", example="playhead replays list latest")
async def list_(
    s: Session,
    execution: Annotated[
        str | None,
        typer.Argument(
            metavar="EXECUTION",
            help=f"Only replays of this execution: {NAMES_IN_SHORT}.",
            autocompletion=complete.execution,
        ),
    ] = None,
    is_open: Annotated[
        bool, typer.Option("--open", help="Only replays whose publishing has not ended.")
    ] = False,
    limit: Limit = _PAGE,
    cursor: Cursor = None,
) -> None:
    """List replays, newest first.

    `list` may be omitted.
    """
    async with s.open() as rt:
        of = rt.services.executions
        source = await rt.services.resolve.execution(execution) if execution else None
        items, rest = await output.gather(
            lambda c, n: of.replays(source, c, n, is_open=is_open), cursor, limit
        )
    if s.json:
        output.emit_list(items, rest)
        return
    output.table(
        ("BATCH", "EXECUTION", "FROM", "STAGE", "TO", "FOUND", "PUBLISHED", "FAILED", "STATE", "BY"),
        [
            (
                *map(output.short, (r.replay_batch_id, r.execution_id, r.from_execution_id)),
                *("/".join(filter(None, (r.from_stage, r.from_path))), r.to_route),
                *(r.objects_found, r.objects_published, r.objects_failed, r.state),
                r.requested_by and r.requested_by.name,
            )
            for r in items
        ],
    )
    output.more(rest)


@command("show", example="playhead replays show latest:replay")
async def show(s: Session, batch: BatchRef = "latest:replay") -> None:
    """Show the state and the numbers of a replay."""
    async with s.open() as rt:
        found = await rt.services.executions.replay(await rt.services.resolve.replay(batch))
    _tell(s, found)


@command("watch", example="playhead replays watch latest:replay")
async def watch(s: Session, batch: BatchRef = "latest:replay") -> int:
    """Show the progress of a replay to its end.

    Any process may publish it. The command waits until the messages are processed, also through a pause. Exit
    code 3 if some objects were not published, or the replay was cancelled or refused; 1 if a message failed
    permanently.
    """
    async with s.open() as rt:
        identity = await rt.services.resolve.replay(batch)
        s.interrupted = f"stopped watching; replay {identity} continues"
        with progress.display() as shown:
            publisher = partial(_tell_if_not_driven, rt)
            await progress.watch_publishing(rt.services, identity, shown, publisher)
            replay = await rt.services.executions.replay(identity)
            stalled = partial(workers.tell_if_stalled, rt)
            made = await progress.watch(rt.services, replay.execution_id, shown, stalled)
            found = await rt.services.executions.replay(identity)
            shown.replaying(found)
    if s.json:
        output.emit(output.plain(found) | {"execution": made})
    else:
        describe(found)
        output.line()
        executions.describe(made)
        executions.suggest(s, [f"playhead show {made.execution_id}"])
    return exit_code(found, made)


@command("pause", example="playhead replays pause latest:replay", changes=True)
async def pause(s: Session, batch: BatchRef) -> None:
    """Suspend the publishing of a replay.

    Messages that the output counts as published or uncertain are processed. No other message starts until
    the replay is resumed.
    """
    async with s.open() as rt:
        found = await rt.services.control.pause(await rt.services.resolve.replay(batch))
    _tell(s, found, f"playhead replays resume {found.replay_batch_id}")


@command("resume", example="playhead replays resume latest:replay", changes=True)
async def resume(
    s: Session,
    batch: BatchRef,
    canary: Annotated[
        int | None,
        typer.Option(
            "--canary",
            metavar="K",
            help="If its canary or --pause-if has paused it: publish only the next K objects, and decide "
            "again with the same limit.",
        ),
    ] = None,
) -> None:
    """Continue a paused or stalled replay.

    It may have to wait until fewer replays publish to its queue.
    """
    async with s.open() as rt:
        with limits_of(objects="--canary"):
            resumed = rt.services.control.resume(await rt.services.resolve.replay(batch), canary=canary)
            found = await resumed
        await _tell_if_not_driven(rt, found)
    _tell(s, found, f"playhead replays watch {found.replay_batch_id}")


@command("cancel", example="playhead replays cancel latest:replay --withdraw", changes=True)
async def cancel(
    s: Session,
    batch: BatchRef,
    withdraw: Annotated[
        bool,
        typer.Option(
            "--withdraw",
            help="Also cancel published messages that no worker has started. Running attempts finish.",
        ),
    ] = False,
) -> None:
    """End the publishing of a replay.

    Published messages are processed. The remaining objects are not published.
    """
    async with s.open() as rt:
        found = await rt.services.control.cancel(await rt.services.resolve.replay(batch), withdraw=withdraw)
    _tell(s, found)


@command("retry", example="playhead replays retry latest:replay", changes=True)
async def retry(s: Session, batch: BatchRef) -> None:
    """Publish the refused messages of a replay again.

    This also continues a listing that was abandoned.
    """
    async with s.open() as rt:
        found = await rt.services.control.retry(await rt.services.resolve.replay(batch))
        await _tell_if_not_driven(rt, found)
    _tell(s, found)


@command("pace", example="playhead replays pace latest:replay --rate 100", changes=True)
async def pace(
    s: Session,
    batch: BatchRef,
    rate: Rate = None,
    queue_depth: QueueDepth = None,
    none: Annotated[bool, typer.Option("--none", help="Publish as fast as possible.")] = False,
) -> None:
    """Change the pace of a replay, also while it runs."""
    if (rate is not None) + (queue_depth is not None) + none != 1:
        raise Usage("a pace is one of --rate R, --queue-depth N or --none")
    wanted = pace_of(rate, queue_depth)
    async with s.open() as rt:
        found = await rt.services.control.set_pace(await rt.services.resolve.replay(batch), wanted)
    _tell(s, found)


def pace_of(rate: float | None, queue_depth: int | None) -> Pace | None:
    """Return the pace that the options name; None without one. Raises `Usage`."""
    from playhead.model import DepthPace, RatePace

    if rate is not None and queue_depth is not None:
        raise Usage("--rate and --queue-depth cannot be combined")
    with limits_of():
        if rate is not None:
            return RatePace(rate)
        return None if queue_depth is None else DepthPace(queue_depth)


def exit_code(replay: Replay, made: Execution) -> int:
    """Return the exit code of a replay whose execution has ended."""
    if replay.status == "partial_failure" or made.status == "cancelled":
        return exits.PARTIAL
    return exits.OK if made.status == "completed" else exits.FAILED


def _tell(s: Session, found: Replay, *steps: str) -> None:
    if s.json:
        output.emit(found)
        return
    describe(found)
    executions.suggest(s, list(steps))


async def _tell_if_not_driven(rt: Deployment, replay: Replay) -> None:
    """Report on stderr that no process is running that could publish the replay."""
    if replay.waits_for == "process" and rt.here:
        await workers.tell_if_no_publisher(rt)


def describe(r: Replay) -> None:
    """Print a replay as text."""
    path = f"/{r.from_path}" if r.from_path else ""
    output.line(f"Replay of {r.from_execution_id}/{r.from_stage}{path} into {r.to_route}")
    output.line(f"  batch      {r.replay_batch_id}")
    output.line(f"  execution  {r.execution_id}")
    output.line(f"  state      {wording.state_of(r)}")
    output.line(f"  created    {when(r.created_at)}" + (f", ended {when(r.ended_at)}" if r.ended_at else ""))
    output.line(f"  published  {r.objects_published:,} of {r.objects_found:,} to {r.to_queue}{_rest(r)}")
    for name, text in _details(r):
        output.line(f"  {name:<10} {text}")
    for error in r.errors or ():
        output.line(f"  error      {error}")


def _rest(r: Replay) -> str:
    numbers = (
        (r.objects_failed, "not published" if r.state == "cancelled" else "failed"),
        (r.objects_uncertain, "uncertain"),
        (r.objects_skipped, "skipped"),
        (r.withdrawn, "withdrawn"),
    )
    return "".join(f", {number:,} {what}" for number, what in numbers if number)


def _details(r: Replay) -> list[tuple[str, str]]:
    """Return the properties that not every replay has, each with its name."""
    import json

    found = [
        ("rate", wording.rate_of(r)),
        ("pace", wording.pace_text(r)),
        ("work", wording.work_of(r)),
        ("plan", str(r.plan_id) if r.plan_id else ""),
        ("effects", ", ".join(f"{route}: {policy}" for route, policy in r.effects.items())),
        ("reason", r.reason or ""),
        ("by", r.requested_by.name if r.requested_by else ""),
        ("others", "declared valid" if r.others_valid else ""),
        *(("publish", wording.publication_text(one)) for one in r.publications),
        ("report", "" if r.report == "none" else r.report),
        ("records", f"deleted on {when(r.records_deleted_at)}" if r.records_deleted_at else ""),
    ]
    if r.selection:
        chosen = {name: value for name, value in output.plain(r.selection).items() if value is not None}
        found.append(("selection", json.dumps(chosen, default=str)))
    return [(name, text) for name, text in found if text]
