"""`dead-letters list|groups|show|resend`: messages that failed permanently."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from playhead.cli import complete, output
from playhead.cli.command import NAMES_IN_SHORT, Cursor, Limit, command
from playhead.cli.executions import suggest
from playhead.cli.selecting import check_times
from playhead.cli.session import Session, Usage
from playhead.errors import MESSAGE_CODES
from playhead.failures import group_number
from playhead.model import MOST_COUNTED

if TYPE_CHECKING:
    from playhead.model import ResendPlan

OfExecution = Annotated[
    str | None,
    typer.Option(
        "--execution",
        metavar="EXECUTION",
        help=f"Only dead letters of this execution: {NAMES_IN_SHORT}.",
        autocompletion=complete.execution,
    ),
]
OfRoute = Annotated[
    str | None,
    typer.Option(
        "--route",
        metavar="ROUTE",
        help="Only dead letters of this route: ROUTE or CONFIG/ROUTE.",
        autocompletion=complete.route,
    ),
]

OfCode = Annotated[
    str | None,
    typer.Option(
        "--code", metavar="CODE", help="Only dead letters with this error code, like `retries_exhausted`."
    ),
]
OfGroup = Annotated[
    str | None,
    typer.Option("--group", metavar="GROUP", help="Only dead letters of this group, as listed by `groups`."),
]


def _check_group(group: str | None) -> None:
    if group is not None and group_number(group) < 0:
        raise Usage(
            f"--group {group}: not a group; write the 12 digits that `playhead dead-letters groups` lists"
        )


def _check_code(code: str | None) -> None:
    if code is not None and code not in MESSAGE_CODES:
        raise Usage(f"--code {code}: no dead letter has this code; known: {', '.join(sorted(MESSAGE_CODES))}")


@command("list", example="playhead dead-letters list --execution latest")
async def list_(
    s: Session,
    execution: OfExecution = None,
    route: OfRoute = None,
    code: OfCode = None,
    group: OfGroup = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> None:
    """List dead letters, newest first."""
    from playhead.ports.catalog.browse import DeadLetterFilter

    _check_code(code)
    _check_group(group)
    async with s.open() as rt:
        of = await rt.services.resolve.execution(execution) if execution else None
        where = DeadLetterFilter(of, route, code, group)
        items, rest = await output.gather(partial(rt.services.queues.dead_letters, where), cursor, limit)
    if s.json:
        output.emit_list(items, rest)
        return
    output.table(
        ("MESSAGE", "EXECUTION", "ROUTE", "ATTEMPTS", "FAILED", "CODE", "ERROR"),
        [
            (
                *(output.short(d.correlation_id), output.short(d.execution_id)),
                *(f"{d.config}/{d.route}", d.attempts),
                *(output.when(d.failed_at), d.error_code, d.error),
            )
            for d in items
        ],
    )
    output.more(rest)


@command("groups", example="playhead dead-letters groups --execution latest")
async def groups(
    s: Session,
    execution: OfExecution = None,
    config: Annotated[
        str | None,
        typer.Option(
            "--config", metavar="CONFIG", help="Only groups of this config.", autocompletion=complete.config
        ),
    ] = None,
    route: OfRoute = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> None:
    """List groups of dead letters that failed alike.

    The dead letters of a group have the same route, error code and pattern of the error. The group of the
    newest message is listed first. At most 10,000 dead letters of a group are counted, the newest ones. A
    group is `processed` if its route has processed all of their objects since, in other messages. The
    other groups are `open`.
    """
    async with s.open() as rt:
        of = await rt.services.resolve.execution(execution) if execution else None
        items, rest = await output.gather(
            lambda c, n: rt.services.queues.dead_letter_groups(
                execution=of, config=config, route=route, cursor=c, limit=n
            ),
            cursor,
            limit,
        )
    if s.json:
        output.emit_list(items, rest)
        return
    output.table(
        ("GROUP", "ROUTE", "STATE", "COUNT", "EXECUTIONS", "LAST FAILED", "CODE", "ERROR"),
        [
            (
                *(g.group, f"{g.config}/{g.route}", "open" if g.open else "processed"),
                f"{g.count:,}" + "+" * (g.count == MOST_COUNTED),
                *(g.executions, output.when(g.last_failed_at), g.error_code, g.pattern),
            )
            for g in items
        ],
    )
    output.more(rest)


@command("show", example="playhead dead-letters show 0198c2a4-7d10-7c3e-8f00-5a1b2c3d4e5f")
async def show(
    s: Session,
    identity: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="The correlation id of the message, or its last 4 or more digits.",
            autocompletion=complete.dead_letter,
        ),
    ],
) -> None:
    """Show one dead letter, with its traceback."""
    async with s.open() as rt:
        found = await rt.services.resolve.dead_letter(identity)
        letter = await rt.services.queues.dead_letter(found)
    if s.json:
        output.emit(letter)
        return
    output.line(f"Message {letter.correlation_id}: {letter.error_code}")
    output.line(f"  error      {letter.error}")
    output.line(f"  route      {letter.config}/{letter.route} (config version {letter.config_version})")
    output.line(f"  execution  {letter.execution_id}")
    output.line(f"  input      {letter.input_key}")
    output.line(f"  attempts   {letter.attempts}, the last failed {output.when(letter.failed_at)}")
    if letter.traceback:
        output.line()
        output.block(letter.traceback.rstrip())
    suggest(s, [f"playhead cat {letter.input_key}", f"playhead dead-letters resend {letter.correlation_id}"])


@command("resend", example="playhead dead-letters resend --execution latest", changes=True)
async def resend(
    s: Session,
    identities: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ID",
            help="Correlation ids of messages, or their ends (at least 4 digits).",
            autocompletion=complete.dead_letter,
        ),
    ] = None,
    execution: OfExecution = None,
    route: OfRoute = None,
    code: OfCode = None,
    group: OfGroup = None,
    failed_before: Annotated[
        str | None,
        typer.Option(
            "--failed-before",
            metavar="TIME",
            help="Leave dead letters that failed later. A repeated command with the same time leaves "
            "messages that have failed again.",
        ),
    ] = None,
    priority: Annotated[
        Literal["normal", "bulk"] | None,
        typer.Option(
            "--priority",
            help="The level of the messages in their queues (default: normal for ids, else bulk).",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be repeated; not together with ids.")
    ] = False,
) -> None:
    """Send dead letters again.

    Select them by id, or by execution, route, error code and group. Each message gets `max_attempts` new
    attempts.

    TIME is RFC 3339 with an offset (`2026-01-31T18:00:00Z`), or the time before now (`-30m`, `-24h`).
    """
    from playhead.ports.catalog.browse import DeadLetterFilter

    if bool(identities) == bool(execution or route or code or group):
        raise Usage("name the dead letters: either ids, or --execution, --route, --code and --group")
    for option, given in (("--failed-before", failed_before), ("--dry-run", dry_run)):
        if identities and given:
            raise Usage(f"{option}: not together with ids")
    _check_code(code)
    _check_group(group)
    check_times(failed_before=failed_before)
    async with s.open() as rt:
        of = await rt.services.resolve.execution(execution) if execution else None
        find = rt.services.resolve.dead_letter
        ids = [await find(identity) for identity in identities] if identities else None
        where = DeadLetterFilter(of, route, code, group)
        if dry_run:
            _print_plan(s, await rt.services.recover.plan(where, failed_before=failed_before))
            return
        resent = await rt.services.recover.resend(ids, where, failed_before=failed_before, priority=priority)
    if s.json:
        output.emit({"resent": len(resent)})
        return
    output.line(f"{output.counted(len(resent), 'message')} sent again")
    if resent and s.server is None:
        suggest(s, ["playhead worker --until-idle"])


def _print_plan(s: Session, plan: ResendPlan) -> None:
    if s.json:
        output.emit(plan)
        return
    letters = f"{plan.letters:,}{'+' if plan.letters == MOST_COUNTED else ''}"
    output.line(f"{letters} dead letters of {output.counted(plan.objects, 'object')} would be sent again")
    output.table(
        ("ROUTE", "DEAD LETTERS", "EXTERNAL EFFECTS IN"),
        [(f"{one.config}/{one.route}", one.letters, ", ".join(one.external) or "-") for one in plan.routes],
    )
