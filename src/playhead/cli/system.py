"""`demo`, `errors`, `migrate`: the program itself."""

from __future__ import annotations

from typing import Annotated

import typer

from playhead.cli import exits, output
from playhead.cli.command import command
from playhead.cli.session import Session


@command("demo", example="playhead demo --dir /tmp/playhead-demo")
def demo(
    s: Session,
    folder: Annotated[
        str | None, typer.Option("--dir", metavar="D", help="Where its pages and its home go.")
    ] = None,
) -> int:
    """See it work in under a minute.

    Runs a pipeline, changes a step and replays only what that needs.
    """
    from playhead.demo import main

    return main(folder, s.json)


@command("errors", example="playhead errors --json")
def errors(s: Session) -> None:
    """List error codes and exit codes."""
    from playhead.api.errors import ERRORS

    known: list[tuple[str, int | None, int, str]] = [
        (e.code, e.status, exits.exit_code_of(e.code, e.status), e.meaning) for e in ERRORS
    ]
    known += [(code, None, leave, meaning) for code, (leave, meaning) in exits.OWN_CODES.items()]
    if s.json:
        fields = ("error_code", "status", "exit_code", "meaning")
        output.emit_list([dict(zip(fields, error, strict=True)) for error in known])
        return
    output.table(("ERROR CODE", "HTTP", "EXIT CODE", "MEANING"), known)
    output.line()
    output.table(("EXIT CODE", "MEANING"), list(exits.MEANINGS.items()))


@command("migrate", example="playhead migrate --check")
async def migrate(
    s: Session,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 when there is something to do.")
    ] = False,
) -> int:
    """Bring the databases to this version's schema."""
    from playhead.bootstrap import migrate as run

    steps = await run(s.settings, check)
    if s.json:
        output.emit({"pending" if check else "applied": steps})
    else:
        for step in steps:
            output.line(f"{'pending' if check else 'applied'}: {step}")
        if not steps:
            output.line("Up to date")
    return exits.FAILED if check and steps else exits.OK
