"""The program: its own flags, its commands in the order in which users need them, and its exit."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

import playhead
from playhead.cli import (
    adapters,
    config,
    dead_letters,
    diff,
    doctor,
    executions,
    exits,
    find,
    init,
    lineage,
    objects,
    output,
    plan,
    prune,
    queues,
    replay,
    replays,
    reports,
    run,
    search,
    server,
    shell,
    system,
    why,
    workers,
)
from playhead.cli.command import Broker, Catalog, Command, Home, Json, Server, Store, add, name_only
from playhead.cli.groups import DEFAULT, GroupWithDefault
from playhead.cli.session import Session

ABOUT: Final = (
    "Run files through pipelines, store the outputs of each route, and replay them into any route. "
    "Start with `playhead init`. Flags override PLAYHEAD_* variables. Variables override playhead.toml."
)

COMMANDS: Final[tuple[Command, ...]] = (
    *(system.demo, init.init, run.run, plan.plan, replay.replay, server.serve, server.worker),
    *(executions.executions, executions.show, executions.stages, executions.cancel),
    *(prune.prune, prune.pin, prune.unpin),
    *(objects.ls, objects.cat, lineage.lineage, why.why, diff.diff, find.find, search.search),
    *(queues.queues, workers.workers, adapters.adapters, doctor.doctor, system.errors, system.migrate),
)
EXAMPLE: Final = "Example: playhead run docs.yaml pages/ --tag nightly"
GROUPS: Final[tuple[tuple[str, str, tuple[Command, ...]], ...]] = (
    (
        "config",
        "Check, apply and show configs (pipelines).",
        (config.apply, config.validate, config.list_, config.show, config.deactivate, config.activate),
    ),
    (
        "dead-letters",
        "Show and resend messages that failed permanently.",
        (dead_letters.list_, dead_letters.groups, dead_letters.show, dead_letters.resend),
    ),
    (
        "replays",
        "List, watch and control replays. `playhead replays EXECUTION` lists those of an execution.",
        (
            *(replays.list_, replays.show, replays.watch, replays.pause, replays.resume, replays.cancel),
            *(replays.retry, replays.pace, reports.report, reports.deliveries),
        ),
    ),
)

WITH_DEFAULT: Final = "replays"
"""The group whose command `list` may be omitted."""

# Click's base class for errors of a command line. Since 0.26, typer has its own copy of click and exports
# only this one subclass.
_ClickException: Final[Any] = typer.BadParameter.__mro__[2]


def _version(asked: bool) -> None:
    if asked:
        output.line(f"playhead {playhead.__version__}")
        raise typer.Exit


def build(arguments: Sequence[str] = ()) -> typer.Typer:
    """Build the program. Imports nothing that only a command needs.

    Args:
        arguments: the command line, if known. Commands that it does not name are then only listed, which
            makes `--help` and every command faster. Empty: all commands can run.
    """
    named = set(arguments)
    if WITH_DEFAULT in named:
        named.add(DEFAULT)

    def put(into: typer.Typer, entry: Command) -> None:
        (add if not named or entry.name in named else name_only)(into, entry)

    app = typer.Typer(
        name="playhead",
        help=ABOUT,
        epilog=EXAMPLE,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
    )

    @app.callback()
    def program(
        ctx: typer.Context,
        home: Home = None,
        store: Store = None,
        broker: Broker = None,
        catalog: Catalog = None,
        server: Server = None,
        as_json: Json = False,
        version: Annotated[
            bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
        ] = False,
    ) -> None:
        flags = {"home": home, "store": store, "broker": broker, "catalog": catalog, "server": server}
        ctx.obj = Session(flags, as_json)

    for entry in COMMANDS:
        put(app, entry)
    for name, about, entries in GROUPS:
        group = typer.Typer(
            name=name,
            cls=GroupWithDefault if name == WITH_DEFAULT else None,
            help=about,
            epilog=f"Example: {entries[0].example}",
            rich_markup_mode=None,
            no_args_is_help=name != WITH_DEFAULT,
        )
        for entry in entries:
            put(group, entry)
        app.add_typer(group)
    return app


def run_program(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; all output is written when this returns."""
    output.set_up_streams()
    if shell.asks():
        shell.answer(lambda words: typer.main.get_command(build(words)).main([], prog_name="playhead"))
    try:
        code = typer.main.get_command(build(arguments)).main(
            list(arguments), prog_name="playhead", standalone_mode=False
        )
    except _ClickException as exc:
        exc.show(sys.stderr)
        if "--json" in arguments:
            Session(json=True).report("usage", exc.format_message())
        return int(exc.exit_code)
    except typer.Abort:
        return exits.INTERRUPTED
    return int(code or exits.OK)
