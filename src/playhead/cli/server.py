"""`serve` and `worker`: the processes that stay."""

from __future__ import annotations

from typing import Annotated

import typer

from playhead.cli import complete
from playhead.cli.command import command
from playhead.cli.session import Session


@command(
    "serve",
    example="playhead serve --port 8080 --workers 1",
    only_here="it starts a server on this machine",
)
def serve(
    s: Session,
    host: Annotated[
        str | None, typer.Option("--host", metavar="HOST", help="Where to listen.  [default: 127.0.0.1]")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, metavar="PORT", help="0 takes a free one.  [default: 8080]"),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=0, metavar="N", help="Worker processes to start beside it.")
    ] = 0,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond this machine without API keys.")
    ] = False,
) -> int:
    """Serve the HTTP API until stopped.

    The first line on stderr says where it listens.
    """
    s.flags |= {"host": host, "port": port}
    settings = s.settings
    from playhead.server import serve as run

    return run(
        settings,
        host=settings.host,
        port=settings.port,
        workers=workers,
        insecure=insecure,
        listening=s.tell_of_settings,  # whoever starts it reads the address from its first line
    )


@command(
    "worker",
    example="playhead worker --processes 2",
    only_here="a worker needs the backends themselves; start it with their settings",
)
def worker(
    s: Session,
    route: Annotated[
        list[str] | None,
        typer.Option(
            "--route",
            metavar="ROUTE",
            help="Work only this route; may be given again.  [default: all]",
            autocompletion=complete.route,
        ),
    ] = None,
    processes: Annotated[
        int, typer.Option("--processes", min=1, metavar="N", help="How many processes.")
    ] = 1,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End when there is nothing left to do.")
    ] = False,
) -> int:
    """Work on messages until stopped."""
    settings = s.settings
    s.tell_of_settings()
    from playhead.workers import work

    return work(settings, routes=tuple(route or ()), processes=processes, until_idle=until_idle)
