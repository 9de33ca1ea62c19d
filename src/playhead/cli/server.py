"""`serve` and `worker`: the long-running processes."""

from __future__ import annotations

import sys
from functools import partial
from typing import Annotated

import typer

from playhead.cli import complete, progress
from playhead.cli.command import command
from playhead.cli.session import Session, Usage

Reload = Annotated[
    bool,
    typer.Option("--reload", help="For development: restart when a file or module of adapters changes."),
]


@command(
    "serve",
    example="playhead serve --port 8080 --workers 1",
    only_here="it starts a server on this machine",
)
def serve(
    s: Session,
    host: Annotated[
        str | None, typer.Option("--host", metavar="HOST", help="Address to listen on.  [default: 127.0.0.1]")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            min=0,
            max=65535,
            metavar="PORT",
            help="Port to listen on; 0 chooses a free one.  [default: 8080]",
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            "--workers", min=0, metavar="N", help="Number of worker processes to start with the server."
        ),
    ] = 0,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure",
            help="Let other machines use HOST without a key. It has no effect once a key exists.",
        ),
    ] = False,
    reload: Reload = False,
) -> int:
    """Serve the HTTP API until stopped.

    Prints the address of the server on the first line of stderr.
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
        reload=reload,
        listening=s.tell_of_settings,  # after the address: programs read it from the first line
    )


@command(
    "worker",
    example="playhead worker --processes 2",
    only_here="a worker connects to the backends; set their addresses instead",
)
def worker(
    s: Session,
    route: Annotated[
        list[str] | None,
        typer.Option(
            "--route",
            metavar="ROUTE",
            help="Process only this route. Repeatable.  [default: all]",
            autocompletion=complete.route,
        ),
    ] = None,
    processes: Annotated[
        int, typer.Option("--processes", min=1, metavar="N", help="Number of processes to start.")
    ] = 1,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="Exit when no messages remain.")] = False,
    reload: Reload = False,
) -> int:
    """Process messages until stopped.

    With --until-idle, exit code 1 if a message failed permanently, or if the remaining work needs adapters
    that this worker does not have; exit code 4 if no active config has a ROUTE. If the process of a run died
    before all inputs were stored, the command waits until that run has failed, and exits with code 1. It does
    not wait for inputs that other processes store.
    """
    if reload and until_idle:
        raise Usage("--reload and --until-idle cannot be combined: --reload waits for the next change")
    settings = s.settings
    s.tell_of_settings()
    from playhead.workers import run_reloading, set_up_logs, work

    if reload:
        set_up_logs(settings)
        run = partial(work, settings, routes=tuple(route or ()), processes=processes, until_idle=False)
        return run_reloading(settings, lambda reload: run(reload=reload))
    return work(
        settings,
        routes=tuple(route or ()),
        processes=processes,
        until_idle=until_idle,
        watching=progress.watch_all if until_idle and sys.stderr.isatty() else None,
    )
