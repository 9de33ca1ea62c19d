"""The program: its own flags, its commands in the order in which users need them, and its exit."""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final, NamedTuple

import typer

import playhead
from playhead.cli import exits, output, shell
from playhead.cli.command import (
    Broker,
    Catalog,
    Command,
    Home,
    InsecureHttp,
    Json,
    KeyFile,
    Server,
    Store,
    add,
)
from playhead.cli.groups import DEFAULT, GroupWithDefault
from playhead.cli.session import Session

ABOUT: Final = (
    "Run files through pipelines, store the outputs of each route, and replay them into any route. "
    "Start with `playhead init`. Flags override PLAYHEAD_* variables. Variables override playhead.toml."
)

EXAMPLE: Final = "Example: playhead run docs.yaml pages/ --tag nightly"


class Listed(NamedTuple):
    """A command as `--help` lists it. Its module is imported only if the command line names it.

    Attributes:
        name: as on the command line.
        where: `module:function` in `playhead.cli`.
        about: the first line of its docstring, which a test compares.
    """

    name: str
    where: str
    about: str

    def load(self) -> Command:
        found = pkgutil.resolve_name(f"playhead.cli.{self.where}")
        assert isinstance(found, Command)
        return found


COMMANDS: Final = (
    Listed("demo", "system:demo", "Demonstrate a run and a replay in about a minute."),
    Listed("init", "init:init", "Write the files of a small example pipeline."),
    Listed("run", "run:run", "Run files through a config."),
    Listed("plan", "plan:plan", "Show what a replay would publish."),
    Listed("replay", "replay:replay", "Send the objects of a stored stage into a route."),
    Listed("serve", "server:serve", "Serve the HTTP API until stopped."),
    Listed("worker", "server:worker", "Process messages until stopped."),
    Listed("executions", "executions:executions", "List runs and replays, newest first."),
    Listed("show", "executions:show", "Show the state of one execution."),
    Listed("stages", "executions:stages", "List the stages of an execution."),
    Listed("cancel", "executions:cancel", "Cancel a running execution."),
    Listed("prune", "prune:prune", "Delete the objects of executions that have ended."),
    Listed("publish", "publish:publish", "Make the results of runs and replays what readers see."),
    Listed("rollback", "datasets:rollback", "Show readers an earlier publication again."),
    Listed("release", "datasets:release", "End the hold of automatic publication."),
    Listed("stale", "publications:stale_code", "Show which code made what readers see."),
    Listed("changes", "datasets:changes", "List the objects that differ between two publications."),
    Listed("pin", "prune:pin", "Protect the objects of an execution from every prune."),
    Listed("unpin", "prune:unpin", "End the protection of an execution."),
    Listed("ls", "objects:ls", "List the objects of a stage, or of all stages."),
    Listed("cat", "objects:cat", "Write the bytes of one object to stdout."),
    Listed("export", "export:export", "Copy the objects of an execution to plain files."),
    Listed("lineage", "lineage:lineage", "Show the origin and the results of an object or a message."),
    Listed("why", "why:why", "Explain what happened to an input, and why."),
    Listed("affected", "affected:affected", "List what a version of an adapter, or a worker, has made."),
    Listed("diff", "diff:diff", "Compare the outputs of two executions."),
    Listed("find", "find:find", "Find what a text names, and what contains it."),
    Listed("search", "search:search", "Search an index; the best hits come first."),
    Listed("queues", "queues:queues", "List queues, or show the messages of one."),
    Listed("workers", "workers:workers", "List processes with their queues and loaded code."),
    Listed("adapters", "adapters:adapters", "List adapters, or show the config of one."),
    Listed("doctor", "doctor:doctor", "Check store, broker and catalog, and print fixes."),
    Listed("audit", "audit:audit", "List changes and refused requests, the newest first."),
    Listed("errors", "system:errors", "List error codes and exit codes."),
    Listed("reindex", "find:reindex", "Build the index of `find` again."),
    Listed("login", "keys:login", "Store the key of a server for this user."),
    Listed("logout", "keys:logout", "Delete the stored key of a server."),
    Listed(
        "whoami",
        "keys:whoami",
        "Show who you are for the server, and what you may do.",
    ),
    Listed("migrate", "system:migrate", "Migrate the databases to the schema of this version."),
)
GROUPS: Final = (
    (
        "config",
        "Check, apply and show configs (pipelines).",
        (
            Listed("apply", "config:apply", "Store configs as new versions."),
            Listed("validate", "config:validate", "Check configs without storing them."),
            Listed("list", "config:list_", "List configs with their newest version."),
            Listed("show", "config:show", "Print the YAML text of a config."),
            Listed(
                "deactivate", "config:deactivate", "Reject new runs of a config, and new replays into it."
            ),
            Listed(
                "activate", "config:activate", "Allow new runs of a config, and new replays into it, again."
            ),
        ),
    ),
    (
        "datasets",
        "List datasets, and the events for their webhooks.",
        (
            Listed("list", "datasets:list_", "List datasets, and what their readers see."),
            Listed(
                "deliveries", "reports:deliveries_of_dataset", "List the events for the webhook of a dataset."
            ),
        ),
    ),
    (
        "dead-letters",
        "Show and resend messages that failed permanently.",
        (
            Listed("list", "dead_letters:list_", "List dead letters, newest first."),
            Listed("groups", "dead_letters:groups", "List groups of dead letters that failed alike."),
            Listed("show", "dead_letters:show", "Show one dead letter, with its traceback."),
            Listed("resend", "dead_letters:resend", "Send dead letters again."),
        ),
    ),
    (
        "causes",
        "List and acknowledge causes of failures, over all routes and executions.",
        (
            Listed("list", "causes:list_", "List causes of failures, the newest failure first."),
            Listed("show", "causes:show", "Show a cause with its routes and its newest failure."),
            Listed(
                "objects", "causes:objects", "List the open objects of a cause, the newest failure first."
            ),
            Listed("replay", "causes:replay", "Replay the open objects of a cause."),
            Listed("acknowledge", "causes:acknowledge", "Mark a cause as known until a version or a date."),
            Listed("unacknowledge", "causes:unacknowledge", "Remove the acknowledgement of a cause."),
        ),
    ),
    (
        "keys",
        "Create, list, rotate and revoke keys of servers.",
        (
            Listed(
                "create",
                "keys:create",
                "Create a key, and print it once.",
            ),
            Listed("list", "keys:list_", "List all keys by name, also expired and revoked ones."),
            Listed(
                "rotate",
                "keys:rotate",
                "Replace a key by one with the same rights.",
            ),
            Listed("revoke", "keys:revoke", "End a key at once, with its sessions."),
            Listed(
                "generate",
                "keys:generate",
                "Print a new key for PLAYHEAD_FIRST_KEY_FILE.",
            ),
        ),
    ),
    (
        "sessions",
        "List and end sessions of browsers.",
        (
            Listed(
                "list",
                "keys:list_sessions",
                "List the sessions of browsers that have not ended.",
            ),
            Listed(
                "revoke",
                "keys:revoke_session",
                "End the session of a browser.",
            ),
        ),
    ),
    (
        "access",
        "Let servers need no key.",
        (
            Listed(
                "open",
                "keys:open_access",
                "Let servers need no key any more.",
            ),
        ),
    ),
    (
        "routes",
        "Pause and resume routes.",
        (
            Listed("pause", "queues:pause", "Pause a route."),
            Listed("resume", "queues:resume", "Resume a paused route."),
        ),
    ),
    (
        "index",
        "Check and rebuild the indexes and tables that follow a dataset.",
        (Listed("check", "index:check", "Compare indexes and tables with what is published."),),
    ),
    (
        "publications",
        "List and show publications of datasets. `playhead publications NAME` lists those of a dataset.",
        (
            Listed("list", "publications:list_", "List the publications of a dataset, newest first."),
            Listed("show", "publications:show", "Show the counts, the parts and the state of a publication."),
            Listed(
                "notes", "publications:notes", "List documents whose new results are not published, and why."
            ),
            Listed("stale", "publications:stale", "List results that are not of the newest code."),
            Listed("cancel", "publications:cancel", "Abandon the publication that is being prepared."),
            Listed("pin", "publications:pin", "Keep a publication until it is unpinned."),
            Listed("unpin", "publications:unpin", "End the protection of a publication."),
        ),
    ),
    (
        "replays",
        "List, watch and control replays. `playhead replays EXECUTION` lists those of an execution.",
        (
            Listed("list", "replays:list_", "List replays, newest first."),
            Listed("show", "replays:show", "Show the state and the numbers of a replay."),
            Listed("watch", "replays:watch", "Show the progress of a replay to its end."),
            Listed(
                "result", "results:result", "Show which objects a replay has repaired, changed and broken."
            ),
            Listed("pause", "replays:pause", "Suspend the publishing of a replay."),
            Listed("resume", "replays:resume", "Continue a paused or stalled replay."),
            Listed("cancel", "replays:cancel", "End the publishing of a replay."),
            Listed("retry", "replays:retry", "Publish the refused messages of a replay again."),
            Listed("pace", "replays:pace", "Change the pace of a replay, also while it runs."),
            Listed("report", "reports:report", "Show the completion report of a replay, or write its lines."),
            Listed("deliveries", "reports:deliveries", "List the events for the webhook of a replay."),
        ),
    ),
)

WITH_DEFAULT: Final = ("causes", "datasets", "replays", "publications")
"""The groups whose command `list` may be omitted."""

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
        arguments: the command line, if known. Commands that it does not name are then only listed, and those
            of groups that it does not name are left out, which makes `--help` and every command faster.
            Empty: all commands can run.
    """
    named = set(arguments)
    if named.intersection(WITH_DEFAULT):
        named.add(DEFAULT)

    def put(into: typer.Typer, entry: Listed) -> None:
        if not named or entry.name in named:
            add(into, entry.load())
        else:
            into.command(entry.name, help=entry.about)(lambda: None)

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
        key_file: KeyFile = None,
        insecure_http: InsecureHttp = False,
        as_json: Json = False,
        version: Annotated[
            bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
        ] = False,
    ) -> None:
        flags = {"home": home, "store": store, "broker": broker, "catalog": catalog, "server": server}
        ctx.obj = Session(flags, as_json, key_file=key_file, insecure_http=insecure_http)

    for entry in COMMANDS:
        put(app, entry)
    for name, about, entries in GROUPS:
        group = typer.Typer(
            name=name,
            cls=GroupWithDefault if name in WITH_DEFAULT else None,
            help=about,
            epilog=f"Example: {entries[0].load().example}" if not named or name in named else None,
            rich_markup_mode=None,
            no_args_is_help=name not in WITH_DEFAULT,
        )
        for entry in entries if not named or name in named else ():
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
