"""`replays result`: each object of a replay before and after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from playhead import wording
from playhead.cli import complete, exits, output
from playhead.cli.command import NAMES_IN_SHORT, Cursor, Limit, command
from playhead.cli.replays import BatchRef
from playhead.cli.session import Session, Usage
from playhead.model import After, Before, GroupedBy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from playhead.cli.deployment import Deployment
    from playhead.model import ReplayedObject, ReplayResult, ResultFailure, ResultGroup


@command("result", example="playhead replays result latest")
async def result(
    s: Session,
    batch: BatchRef = "latest:replay",
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="EXECUTION",
            help=f"Compare with this execution: {NAMES_IN_SHORT}. Then B may be a run, too.  "
            "[default: the source of the replay]",
            autocompletion=complete.execution,
        ),
    ] = None,
    objects: Annotated[bool, typer.Option("--objects", help="List the objects.")] = False,
    by: Annotated[
        GroupedBy | None, typer.Option("--by", help="List groups of the objects with what they share.")
    ] = None,
    before: Annotated[
        Before | None, typer.Option("--before", help="Only objects that were so before.")
    ] = None,
    after: Annotated[After | None, typer.Option("--after", help="Only objects that are so now.")] = None,
    error: Annotated[
        str | None,
        typer.Option(
            "--error", metavar="GROUP", help="Only objects with this error, as `--by error` names it."
        ),
    ] = None,
    folder: Annotated[
        str | None,
        typer.Option("--folder", metavar="PATH", help="Only objects in this folder; `/`: the top."),
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(
            "--stage", metavar="STAGE", help="Only objects that differ in this stage, or failed there."
        ),
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> int:
    """Show which objects a replay has repaired, changed and broken.

    Counts its objects by what happened to them before, in the source of the replay, and after. If the source
    is a publication, before is what its readers saw. All messages that were made from an object count, in the
    routes that the replay reaches. Outputs are compared by their SHA-256. The exit code is 1 if an object
    failed in the replay, except with --objects and --by.
    """
    if objects and by:
        raise Usage("--objects cannot be combined with --by")
    if (before or after or cursor) and not (objects or by):
        raise Usage("--before, --after and --cursor need --objects or --by")
    if (error or folder or stage) and not objects:
        raise Usage("--error, --folder and --stage need --objects")
    async with s.open() as rt:
        service = rt.services.result
        a, b = await _pair(rt, batch, against)
        if objects:
            items, rest = await output.gather(
                lambda c, n: service.objects(a, b, before, after, error, folder, stage, c, n), cursor, limit
            )
            _write_objects(s, items, rest)
            return exits.OK
        if by:
            groups, rest = await output.gather(
                lambda c, n: service.groups(a, b, by, before, after, c, n), cursor, limit
            )
            _write_groups(s, by, groups, rest)
            return exits.OK
        found = await service.matrix(a, b)
    if s.json:
        output.emit(found)
    else:
        _write(found)
    return exits.FAILED if any(found.of(after=after) for after in wording.FAILED_AFTER) else exits.OK


async def _pair(rt: Deployment, batch: str, against: str | None) -> tuple[UUID, UUID]:
    names = rt.services.resolve
    if against is not None:
        return await names.execution(against), await names.execution(batch)
    replay = await rt.services.executions.replay(await names.replay(batch))
    return replay.from_execution_id, replay.execution_id


def _write(found: ReplayResult) -> None:
    afters = wording.AFTER
    output.table(
        ("BEFORE", *(text.upper() for text in afters.values())),
        [
            (text, *(found.of(before, after) for after in afters))
            for before, text in wording.BEFORE.items()
            if before != "none" or found.of(before)
        ],
    )
    if not found.is_complete:
        output.note("Not all of them have ended: the numbers may change")


def _write_groups(s: Session, by: GroupedBy, items: Sequence[ResultGroup], rest: str | None) -> None:
    if s.json:
        output.emit_list(items, rest)
        return
    output.table(
        (by.upper(), "OBJECTS", "FIRST", "FOLDERS", *(("ROUTE", "TEXT") if by == "error" else ())),
        [
            (
                *(one.name, one.objects, one.first, " ".join(one.folders)),
                *(_why(one.failure) if by == "error" else ()),
            )
            for one in items
        ],
    )
    output.more(rest)


def _write_objects(s: Session, items: Sequence[ReplayedObject], rest: str | None) -> None:
    if s.json:
        output.emit_list(items, rest)
        return
    output.table(
        ("BEFORE", "AFTER", "OBJECT", "DIFFERS IN", "ROUTE", "ERROR"),
        [
            (
                *(wording.BEFORE[one.before], wording.AFTER[one.after], f"{one.stage}/{one.path}"),
                *(" ".join(one.stages), *_why(one.new_failure or one.old_failure)),
            )
            for one in items
        ],
    )
    output.more(rest)


def _why(failure: ResultFailure | None) -> tuple[str | None, str | None]:
    return (failure.route, failure.error) if failure else (None, None)
