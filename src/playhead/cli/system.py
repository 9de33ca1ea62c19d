"""`demo`, `errors`, `migrate`: commands about Playhead itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from playhead.cli import exits, output
from playhead.cli.command import command
from playhead.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playhead.api.errors import ErrorCode
    from playhead.remote.system import ErrorCode as RemoteErrorCode


@command("demo", example="playhead demo --dir /tmp/playhead-demo", only_here="the demo starts its own server")
def demo(
    s: Session,
    folder: Annotated[
        str | None,
        typer.Option(
            "--dir", metavar="D", help="Folder for the pages and the home of the demo.  [default: demo]"
        ),
    ] = None,
    backends: Annotated[
        bool,
        typer.Option("--backends", help="Use the backends from the settings instead of files in D."),
    ] = False,
) -> int:
    """Demonstrate a run and a replay in about a minute.

    Runs a pipeline, changes a step, and replays only the stage before that step.
    """
    from playhead.demo import main

    return main(folder, s.json, s.settings if backends else None)


@command("errors", example="playhead errors --json")
async def errors(s: Session) -> None:
    """List error codes and exit codes."""
    from playhead.api.errors import ERRORS

    codes: Sequence[ErrorCode | RemoteErrorCode] = ERRORS
    if s.server is not None:
        async with s.open_server(s.server) as server:
            codes = await server.system.error_codes()
    known: list[tuple[str, int | None, int, str]] = [
        (e.code, e.status, exits.exit_code_of(e.code, e.status), e.meaning) for e in codes
    ]
    known += [(code, None, leave, meaning) for code, (leave, meaning) in exits.OWN_CODES.items()]
    if s.json:
        fields = ("error_code", "status", "exit_code", "meaning")
        output.emit_list([dict(zip(fields, error, strict=True)) for error in known])
        return
    output.table(("ERROR CODE", "HTTP", "EXIT CODE", "MEANING"), known)
    output.line()
    output.table(("EXIT CODE", "MEANING"), list(exits.MEANINGS.items()))


@command(
    "migrate", example="playhead migrate --check", only_here="run it on a machine that can reach the backends"
)
async def migrate(
    s: Session,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 if a migration is pending.")
    ] = False,
) -> int:
    """Migrate the databases to the schema of this version."""
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
