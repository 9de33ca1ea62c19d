"""`audit`: who changed what, and which requests were refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from playhead.cli import complete, output
from playhead.cli.command import Cursor, Limit, command
from playhead.cli.selecting import check_times
from playhead.cli.session import Session, Usage
from playhead.model.access import AUDIT_OUTCOMES

if TYPE_CHECKING:
    from playhead.cli.deployment import Deployment
    from playhead.model.access import AuditEntry

_PAGE: Final = 100


@command("audit", example="playhead audit --replay latest:replay")
async def audit(
    s: Session,
    actor: Annotated[
        str | None,
        typer.Option("--actor", metavar="NAME", help="Only of this caller: its name or public id."),
    ] = None,
    action: Annotated[
        str | None,
        typer.Option(
            "--action", metavar="NAME", help="Only this action: `replay.start`, or `replay` for all of them."
        ),
    ] = None,
    outcome: Annotated[
        str | None,
        typer.Option("--outcome", metavar="OUTCOME", help=f"{', '.join(AUDIT_OUTCOMES)}."),
    ] = None,
    replay: Annotated[
        str | None,
        typer.Option("--replay", metavar="B", help="Only about this replay.", autocompletion=complete.replay),
    ] = None,
    execution: Annotated[
        str | None,
        typer.Option(
            "--execution",
            metavar="EXECUTION",
            help="Only about this execution.",
            autocompletion=complete.execution,
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            "--config", metavar="NAME", help="Only about this config.", autocompletion=complete.config
        ),
    ] = None,
    about: Annotated[
        str | None,
        typer.Option(
            "--object", metavar="TEXT", help="Only about this: CONFIG/DATASET, or the id of a message."
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Only of this time or later, as in -24h."),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="Only before this time."),
    ] = None,
    after: Annotated[
        int | None,
        typer.Option("--after", min=0, metavar="N", help="Only larger numbers, the oldest first."),
    ] = None,
    limit: Limit = _PAGE,
    cursor: Cursor = None,
) -> None:
    """List changes and refused requests, the newest first.

    With `--json`, it prints all of them, the oldest first, one JSON object per line. To continue later, pass
    the `n` of the last one to `--after`.
    """
    chosen = next((one for one in AUDIT_OUTCOMES if one == outcome), None)
    if outcome and chosen is None:
        raise Usage(f"--outcome {outcome}: no such outcome; write {', '.join(AUDIT_OUTCOMES)}")
    check_times(since=since, until=until)
    async with s.open() as rt:
        where: dict[str, Any] = {
            "actor": actor,
            "action": action,
            "outcome": chosen,
            "replay_batch_id": await rt.services.resolve.replay(replay) if replay else None,
            "execution_id": await rt.services.resolve.execution(execution) if execution else None,
            "config": config,
            "object": about,
            "since": since,
            "until": until,
        }
        if s.json:
            await _export(rt, where, after or 0)
            return
        items, rest = await output.gather(
            lambda c, n: rt.services.audit.list(**where, after=after, cursor=c, limit=n), cursor, limit
        )
    output.table(("N", "TIME", "BY", "VIA", "ACTION", "OUTCOME", "ABOUT", "REASON"), [*map(_row, items)])
    output.more(rest)


async def _export(rt: Deployment, where: dict[str, Any], after: int) -> None:
    while True:
        page = await rt.services.audit.list(**where, after=after, limit=output.MAX_PAGE)
        for entry in page.items:
            output.emit_line(entry)
        if page.next_cursor is None:
            return
        after = page.items[-1].n


def _row(one: AuditEntry) -> tuple[object, ...]:
    what = one.outcome if one.error_code is None else f"{one.outcome} ({one.error_code})"
    return (one.n, output.when(one.at), one.actor_name, one.via, one.action, what, _about(one), one.reason)


def _about(one: AuditEntry) -> str:
    identity = one.replay_batch_id or one.execution_id
    parts = (
        one.config if one.object is None or not one.object.startswith(f"{one.config}/") else None,
        one.object,
        output.short(identity) if identity else None,
    )
    return " ".join(part for part in parts if part)
