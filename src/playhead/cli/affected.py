"""`affected`: what a version of an adapter, or a worker, has made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from playhead import wording
from playhead.cli import complete, output
from playhead.cli.command import NAMES_IN_SHORT, Cursor, Limit, command
from playhead.cli.selecting import check_times
from playhead.cli.session import Session, Usage

if TYPE_CHECKING:
    from playhead.cli.deployment import Deployment
    from playhead.model import MadeByCondition


@command("affected", example="playhead affected --adapter html_to_markdown@1 --since=-7d")
async def affected(
    s: Session,
    execution: Annotated[
        str | None,
        typer.Argument(
            metavar="EXECUTION",
            help=f"List the objects of this execution: {NAMES_IN_SHORT}.",
            autocompletion=complete.execution,
        ),
    ] = None,
    adapter: Annotated[
        str | None,
        typer.Option(
            "--adapter",
            metavar="TYPE@VERSION",
            help="Results of this version of an adapter, or of this code: TYPE@sha256: and its first digits.",
        ),
    ] = None,
    worker: Annotated[
        str | None,
        typer.Option("--worker", metavar="ID", help="Results of this process, as `workers --json` lists it."),
    ] = None,
    since: Annotated[
        str,
        typer.Option(
            "--since", metavar="TIME", help="Only executions that were created at this time or later."
        ),
    ] = "-24h",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> None:
    """List what a version of an adapter, or a worker, has made.

    Each line is one route of an execution, the newest execution first, with the command that replays exactly
    these objects. The command reads the messages of all executions since --since. With EXECUTION, it lists
    the messages of this one, with what they received and their outputs.
    """
    check_times(since=since)
    try:
        by = _maker(adapter, worker)
    except ValueError as exc:
        raise Usage(f"{'--adapter' if adapter else '--adapter or --worker'}: {exc}") from None
    async with s.open() as rt:
        if execution is not None:
            await _objects(s, rt, await rt.services.resolve.execution(execution), by, limit, cursor)
            return
        items, rest = await output.gather(
            lambda c, n: rt.services.affected.list(
                adapter=adapter, worker=worker, since=since, cursor=c, limit=n
            ),
            cursor,
            limit,
        )
    if s.json:
        output.emit_list(items, rest)
        return
    output.table(
        ("EXECUTION", "KIND", "CREATED", "ROUTE", "STAGE", "RESULTS"),
        [
            (
                *(output.short(one.execution_id), one.kind, output.when(one.created_at)),
                *(f"{one.config}/{one.route}", one.stage or "", one.results),
            )
            for one in items
        ],
    )
    output.more(rest)
    for one in items:
        output.note(wording.replay_of(one))


def _maker(adapter: str | None, worker: str | None) -> MadeByCondition:
    from playhead.reading.affecting import maker

    return maker(adapter, worker)


async def _objects(
    s: Session, rt: Deployment, execution: UUID, by: MadeByCondition, limit: int, cursor: str | None
) -> None:
    items, rest = await output.gather(
        lambda c, n: rt.services.lineage.list(execution=execution, made_by=str(by), cursor=c, limit=n),
        cursor,
        limit,
    )
    if s.json:
        output.emit_list(items, rest)
        return
    output.table(
        ("MESSAGE", "ROUTE", "RECEIVED", "OUTPUTS", "FIRST OUTPUT"),
        [
            (
                *(output.short(one.correlation_id), one.route, one.input_key.partition("/")[2]),
                *(one.output_count, next((key.partition("/")[2] for key in one.output_keys), "")),
            )
            for one in items
        ],
    )
    output.more(rest)
