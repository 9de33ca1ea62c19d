"""`demo`, `errors`, `migrate`: commands about Playhead itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from playhead.cli import exits, output
from playhead.cli.command import command
from playhead.cli.session import Session, Usage
from playhead.ports.diagnosis import PROCESS_ROLES, ProcessRole

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
    roles: Annotated[
        str | None,
        typer.Option(
            "--grants",
            metavar="server=ROLE,worker=ROLE",
            help="Print the SQL that gives these roles of PostgreSQL their rights. Change nothing.",
        ),
    ] = None,
    execute: Annotated[
        bool, typer.Option("--execute", help="With --grants: migrate, then run this SQL instead.")
    ] = False,
) -> int:
    """Migrate the databases to the schema of this version."""
    from playhead.bootstrap import grants, migrate as run

    if roles is None and execute:
        raise Usage("--execute needs --grants")
    if roles is not None and check:
        raise Usage("--check and --grants cannot be combined")
    named = {} if roles is None else _roles(roles)
    if named and not execute:
        lines = await grants(s.settings, named)
        if s.json:
            output.emit({"statements": lines})
        else:
            for line in lines:
                output.line(f"{line};")
        return exits.OK
    steps = await run(s.settings, check)
    if named:
        await grants(s.settings, named, execute=True)
    if s.json:
        output.emit({"pending" if check else "applied": steps})
    else:
        for step in steps:
            output.line(f"{'pending' if check else 'applied'}: {step}")
        if not steps:
            output.line("Up to date")
        for process, role in named.items():
            output.line(f"granted: rights of a {process} to {role}")
    return exits.FAILED if check and steps else exits.OK


def _roles(given: str) -> dict[ProcessRole, str]:
    found: dict[ProcessRole, str] = {}
    for one in given.split(","):
        process, _, name = one.partition("=")
        role = next((known for known in PROCESS_ROLES if known == process.strip()), None)
        if role is None or not name.strip() or role in found:
            raise Usage(
                f"--grants needs roles as in server=playhead_server,worker=playhead_worker, not {given!r}"
            )
        found[role] = name.strip()
    return found
