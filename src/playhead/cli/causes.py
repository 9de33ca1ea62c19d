"""`causes list|show|objects|acknowledge|unacknowledge|replay`: errors over all routes and executions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from playhead.cli import canary, complete, exits, output, replays, workers
from playhead.cli.command import Cursor, Limit, command
from playhead.cli.selecting import check_times
from playhead.cli.session import Session, Usage, limits_of
from playhead.failures import group_number
from playhead.model import CAUSE_STATES, MOST_COUNTED, ReplayRequest
from playhead.warningtext import worded

if TYPE_CHECKING:
    from playhead.model import Cause, CausePlan, Replay

CauseName = Annotated[str, typer.Argument(metavar="CAUSE", help="Id of the cause, as `causes` lists it.")]
_ALL = "all"


@command("list", example="playhead causes list --since=-24h")
async def list_(
    s: Session,
    state: Annotated[
        str,
        typer.Option("--state", metavar="STATE", help="`open`, `acknowledged`, `closed` or `all`."),
    ] = "open",
    route: Annotated[
        str | None,
        typer.Option(
            "--route",
            metavar="ROUTE",
            help="Only causes in this route: ROUTE or CONFIG/ROUTE.",
            autocompletion=complete.route,
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="TIME", help="Only causes with a failure at this time or later, as in -24h."
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="Only causes with a failure before this time."),
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> None:
    """List causes of failures, the newest failure first.

    A cause is one error over all routes and executions. Its objects are counted, not its dead letters. When
    all of its objects were processed, in any later execution, it is closed by itself.
    """
    chosen = next((one for one in CAUSE_STATES if one == state), None)
    if chosen is None and state != _ALL:
        raise Usage(f"--state {state}: no such state; write {', '.join(CAUSE_STATES)} or {_ALL}")
    check_times(since=since, until=until)
    async with s.open() as rt:
        items, rest = await output.gather(
            lambda c, n: rt.services.causes.list(
                state=chosen, route=route, since=since, until=until, cursor=c, limit=n
            ),
            cursor,
            limit,
        )
    if s.json:
        output.emit_list(items, rest)
        return
    output.table(
        ("CAUSE", "STATE", "OBJECTS", "LETTERS", "LAST", "WHERE", "CODE", "ERROR"),
        [
            (
                *(one.id, _state(one), _capped(one.objects), one.letters, output.when(one.last_failed_at)),
                *(_where(one), one.error_code, _error(one)),
            )
            for one in items
        ],
    )
    output.more(rest)


@command("show", example="playhead causes show 5d41402abc4b")
async def show(s: Session, cause: CauseName) -> None:
    """Show a cause with its routes and its newest failure."""
    _check(cause)
    async with s.open() as rt:
        found = await rt.services.causes.get(cause)
    _print(s, found)


@command("objects", example="playhead causes objects 5d41402abc4b")
async def objects(s: Session, cause: CauseName, limit: Limit = 100, cursor: Cursor = None) -> None:
    """List the open objects of a cause, the newest failure first.

    Of a closed cause, it lists the objects that were processed since. An object that has failed in several
    routes is listed for each of them.
    """
    _check(cause)
    async with s.open() as rt:
        items, rest = await output.gather(lambda c, n: rt.services.causes.objects(cause, c, n), cursor, limit)
    if s.json:
        output.emit_list(items, rest)
        return
    output.table(
        ("PATH", "ROUTE", "LETTERS", "LAST", "MESSAGE", "ERROR"),
        [
            (
                *(one.path, f"{one.config}/{one.route}", one.letters),
                *(output.when(one.failed_at), one.correlation_id, one.error),
            )
            for one in items
        ],
    )
    output.more(rest)


@command(
    "acknowledge",
    example='playhead causes acknowledge 5d41402abc4b --reason "fixed in 2" --until papers@2',
    changes=True,
)
async def acknowledge(
    s: Session,
    cause: CauseName,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why nothing is done now.")],
    requested_by: Annotated[
        str, typer.Option("--requested-by", metavar="NAME", help="Who acknowledges it.")
    ] = "",
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="WHEN",
            help="When it ends: CONFIG@VERSION, when this version is applied; or a date or time in UTC.",
        ),
    ] = None,
) -> None:
    """Mark a cause as known until a version or a date.

    Without --until, the acknowledgement ends with `playhead causes unacknowledge`.
    """
    _check(cause)
    async with s.open() as rt:
        found = await rt.services.causes.acknowledge(cause, reason, requested_by, until)
    _print(s, found)


@command("unacknowledge", example="playhead causes unacknowledge 5d41402abc4b", changes=True)
async def unacknowledge(s: Session, cause: CauseName) -> None:
    """Remove the acknowledgement of a cause."""
    _check(cause)
    async with s.open() as rt:
        found = await rt.services.causes.unacknowledge(cause)
    _print(s, found)


@command("replay", example='playhead causes replay 5d41402abc4b --reason "fixed in 2"', changes=True)
async def replay(
    s: Session,
    cause: CauseName,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only plan the replays.")] = False,
    rate: replays.Rate = None,
    queue_depth: replays.QueueDepth = None,
    first: canary.Objects = None,
    max_failed: canary.MaxFailed = None,
    seed: canary.Seed = None,
    pause_if: canary.PauseIf = None,
    of_last: canary.OfLast = None,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why.")] = None,
    cursor: Cursor = None,
) -> int:
    """Replay the open objects of a cause.

    Each object is replayed once, from its newest source, into the route in which it failed. There is one
    replay for each source, stage and route. Objects that cannot be replayed are listed with the reason; then
    the exit code is 3. One command replays the objects of at most 100 sources, the newest ones, and prints
    how to replay the next ones.
    """
    _check(cause)
    with limits_of():
        options = ReplayRequest.of_plan(UUID(int=1))
        options = dataclasses.replace(
            options,
            pace=replays.pace_of(rate, queue_depth),
            canary=canary.canary_of(first, max_failed, seed),
            pause_if=canary.guard_of(pause_if, of_last),
            reason=reason,
        )
    async with s.open("plan" if dry_run else None) as rt:
        planned = await rt.services.causes.plan(cause, cursor)
        begun: list[Replay] = []
        for one in planned.plans if not dry_run else ():
            # The key of a plan: a repeated request returns the first replay.
            request = dataclasses.replace(options, plan_id=one.plan_id, key=str(one.plan_id))
            begun.append((await rt.services.replay.create(request, output.warn)).replay)
        if begun and rt.here:
            await workers.tell_if_no_publisher(rt)
    code = exits.PARTIAL if planned.left_out else exits.OK
    if s.json:
        shown = dataclasses.replace(planned, plans=[worded(one) for one in planned.plans])
        rest = {name: getattr(planned, name) for name in ("left_out", "objects_left", "next_cursor")}
        output.emit(shown if dry_run else {"replays": begun, **rest})
        return code
    _print_plans(planned, begun)
    if planned.next_cursor:
        left = output.counted(
            planned.objects_left, "object of an older source is left", "objects of older sources are left"
        )
        output.note(f"{left}. To plan the next ones, repeat the command with --cursor {planned.next_cursor}")
    return code


def _print_plans(planned: CausePlan, begun: Sequence[Replay]) -> None:
    if not planned.objects and not planned.left_out:
        output.note("All objects of this cause were processed since; nothing is left to replay")
        return
    ids = [one.replay_batch_id for one in begun] or [one.plan_id for one in planned.plans]
    output.table(
        ("REPLAY" if begun else "PLAN", "OBJECTS", "FROM", "STAGE", "ROUTE"),
        [
            (
                *(str(identity), one.objects, output.short(UUID(one.request["from_execution_id"]))),
                *(one.request["from_stage"], one.request["to_route"]),
            )
            for identity, one in zip(ids, planned.plans, strict=True)
        ],
    )
    for left in planned.left_out:
        output.line(f"left out: {output.counted(left.objects, 'object')} of {left.route}: {left.detail}")


def _check(cause: str) -> None:
    if group_number(cause) < 0:
        raise Usage(f"{cause} is not the id of a cause: write the 12 digits that `playhead causes` lists")


def _print(s: Session, cause: Cause) -> None:
    if s.json:
        output.emit(cause)
        return
    output.line(f"{cause.id}: {_state(cause)}")
    output.line(f"  {cause.error_code}: {_error(cause)}")
    if cause.place or cause.adapters:
        adapters = " → ".join(f"{one.type} {one.version}" for one in cause.adapters)
        output.line(f"  {', '.join(part for part in (adapters, cause.place) if part)}")
    counts = f"{_capped(cause.objects)} objects, {cause.letters:,} dead letters"
    output.line(f"  {counts}, {_capped(cause.processed)} objects processed since")
    output.line(f"  in {_where(cause)}")
    output.line(f"  first {output.when(cause.first_failed_at)}, last {output.when(cause.last_failed_at)}")
    if (known := cause.acknowledgement) is not None:
        by = f" by {known.requested_by}" if known.requested_by else ""
        until = known.until_version or (known.ends_at and output.when(known.ends_at))
        ends = f", {'ended' if known.ended else 'until'} {until}" if until else ""
        output.line(f"  acknowledged {output.when(known.acknowledged_at)}{by}{ends}: {known.reason}")
    if cause.newest:
        output.note(f"To see the newest failure: {s.again(f'playhead dead-letters show {cause.newest}')}")


def _state(cause: Cause) -> str:
    return f"{cause.state}, new" if cause.is_new and cause.state == "open" else cause.state


def _error(cause: Cause) -> str:
    return "".join(part.text for part in cause.error)


def _where(cause: Cause) -> str:
    routes: Sequence[str] = [f"{one.config}/{one.route}" for one in cause.routes[:2]]
    more = cause.route_count - len(routes)
    return ", ".join(routes) + (f" and {more} more" if more > 0 else "")


def _capped(count: int) -> str:
    return f"{count:,}+" if count >= MOST_COUNTED else f"{count:,}"
