"""`doctor`: faults of this deployment, and how to fix them."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from playhead.cli import exits, output
from playhead.cli.command import command
from playhead.cli.session import Session, Usage
from playhead.ports.diagnosis import ProcessRole

_SIGNS: Final = {"ok": "ok", "warning": "WARN", "failed": "FAIL"}


@command("doctor", example="playhead doctor", changes=True)
async def doctor(
    s: Session,
    role: Annotated[
        ProcessRole | None,
        typer.Option(
            "--for",
            help="Check the rights of this process in PostgreSQL.  [default: whichever fits the user]",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Check store, broker and catalog, and print fixes.

    Connects to each backend, checks its version and permissions, and writes and reads a test value. Exit
    code 1 if a check failed, 5 if a backend cannot be reached. Warnings do not change the exit code.
    """
    if s.server is not None:
        if role:
            raise Usage("--for is for a user of the backends, not for --server")
        async with s.open_server(s.server) as services:
            found = await services.doctor.examine()
    else:
        from playhead.bootstrap import examine
        from playhead.cli import logs

        s.tell_of_settings()
        logs.set_up(s.settings)
        found = await examine(s.settings, role)
    if s.json:
        output.emit(found)
    else:
        output.table(
            ("PART", "BACKEND", "", "WHAT", "FOUND"),
            [
                (part.part, part.backend, _SIGNS[f.status], f.what, f.detail)
                for part in found.parts
                for f in part.findings
            ],
        )
        for part in found.parts:
            for f in part.findings:
                if f.fix:
                    output.line()
                    output.line(f"{part.part}, {f.what}: {f.fix}")
    failed = [f for part in found.parts for f in part.findings if f.status == "failed"]
    if any(f.what == "reach" for f in failed):
        return exits.UNREACHABLE
    return exits.FAILED if failed else exits.OK
