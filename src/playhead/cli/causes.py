"""`causes list|show|acknowledge|unacknowledge`: errors over all routes and executions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from playhead.cli import complete, output
from playhead.cli.command import Cursor, Limit, command
from playhead.cli.selecting import check_times
from playhead.cli.session import Session, Usage
from playhead.failures import group_number
from playhead.model import CAUSE_STATES, MOST_COUNTED

if TYPE_CHECKING:
    from playhead.model import Cause

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


@command(
    "acknowledge", example='playhead causes acknowledge 5d41402abc4b --reason "fixed in 2" --until papers@2'
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


@command("unacknowledge", example="playhead causes unacknowledge 5d41402abc4b")
async def unacknowledge(s: Session, cause: CauseName) -> None:
    """Remove the acknowledgement of a cause."""
    _check(cause)
    async with s.open() as rt:
        found = await rt.services.causes.unacknowledge(cause)
    _print(s, found)


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
