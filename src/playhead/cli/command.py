"""Turn a function into a command: its own parameters, the flags of every command, and an example."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any

import typer

from playhead.cli import complete
from playhead.cli.session import BACKENDS, Session, Usage
from playhead.errors import BadRequest

_KEYWORD = inspect.Parameter.KEYWORD_ONLY

Json = Annotated[bool, typer.Option("--json", help="Write only JSON to stdout.")]
Home = Annotated[
    str | None,
    typer.Option(
        "--home",
        metavar="DIR",
        help="Folder for all data that has no other address.  [default: .playhead]",
    ),
]
Store = Annotated[
    str | None,
    typer.Option(
        "--store", metavar="URL", help="Address of the store: file:, s3:, gs:, az:  [default: in the home]"
    ),
]
Broker = Annotated[
    str | None,
    typer.Option(
        "--broker",
        metavar="URL",
        help="Address of the broker: sqlite:, nats:, amqp:, postgresql:  [default: in the home]",
    ),
]
Catalog = Annotated[
    str | None,
    typer.Option(
        "--catalog",
        metavar="URL",
        help="Address of the catalog: sqlite:, postgresql:  [default: in the home]",
    ),
]
Server = Annotated[
    str | None,
    typer.Option("--server", metavar="URL", help="Send the command to this server: http://HOST:PORT"),
]
KeyFile = Annotated[
    str | None, typer.Option("--key-file", metavar="FILE", help="File with the key for the server.")
]
InsecureHttp = Annotated[
    bool,
    typer.Option("--insecure-http", help="Send the key over http to other machines, too."),
]

Version = Annotated[
    int | None,
    typer.Option(
        "--version", min=1, max=2**31 - 1, metavar="N", help="Version of the config.  [default: the newest]"
    ),
]
NAMES = (
    "an id or its last 4 or more digits, `latest`, `latest:CONFIG`, `latest:replay`, `tag:NAME` or "
    "`current:DATASET`"
)
"""How a command accepts an execution; see `services.resolve`."""
NAMES_IN_SHORT = "an id or its last digits, `latest` or `tag:NAME`"
ExecutionRef = Annotated[
    str,
    typer.Argument(
        metavar="EXECUTION",
        help=f"{NAMES[0].upper()}{NAMES[1:]}.",
        autocompletion=complete.execution,
    ),
]
RequireCode = Annotated[
    bool,
    typer.Option(
        "--require-code",
        help="Refuse if workers have outdated or different code, or a route has no worker; otherwise warn.",
    ),
]
Limit = Annotated[int, typer.Option("--limit", min=1, metavar="N", help="List at most N.")]
Cursor = Annotated[
    str | None,
    typer.Option("--cursor", metavar="C", help="Continue a list: the next_cursor of the previous page."),
]

Reason = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Why, for the audit: up to 1,000 characters.")
]

_SETTINGS = (*BACKENDS, "server")
_PLACES = frozenset({"stage", "path", "key", "what", "index"})
"""Parameters that are parts of keys, which must be UTF-8."""


def _hidden(name: str) -> Any:
    return Annotated[str | None, typer.Option(f"--{name}", hidden=True)]


# The addresses of backends are also accepted after a command, but its help shows only the common flags.
_AFTER: dict[str, tuple[Any, object]] = {
    "json": (Json, False),
    "server": (Server, None),
    "home": (Home, None),
    **{name: (_hidden(name), None) for name in BACKENDS[1:]},
    "key_file": (Annotated[str | None, typer.Option("--key-file", hidden=True)], None),
    "insecure_http": (Annotated[bool, typer.Option("--insecure-http", hidden=True)], False),
}


@dataclass(frozen=True, slots=True)
class Command:
    """A command: `function(session, **own parameters)` returns its exit code, None for 0.

    Attributes:
        only_here: why the command does not work with `--server`; empty if it does.
        changes: it changes something, so it has the option `--reason`, unless it has its own.
        options: options that several commands share; the function receives them as `**` parameters.
    """

    name: str
    function: Callable[..., Any]
    example: str
    only_here: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    changes: bool = False


def command(
    name: str,
    *,
    example: str,
    only_here: str = "",
    options: Mapping[str, Any] = MappingProxyType({}),
    changes: bool = False,
) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command: its docstring is the help text, and `example` ends it."""

    def make(function: Callable[..., Any]) -> Command:
        return Command(name, function, example, only_here, options, changes)

    return make


def add(app: typer.Typer, entry: Command) -> None:
    """Add a command to a program or a group."""
    after_it = dict(_AFTER)
    if entry.only_here:
        after_it["server"] = (_hidden("server"), None)
    own = list(inspect.signature(entry.function, eval_str=True).parameters.values())[1:]
    has_reason = entry.changes and "reason" not in {p.name for p in own} | entry.options.keys()
    parameters = [
        inspect.Parameter("ctx", _KEYWORD, annotation=typer.Context),
        *(p.replace(kind=_KEYWORD) for p in own if p.kind is not inspect.Parameter.VAR_KEYWORD),
        *(
            inspect.Parameter(name, _KEYWORD, annotation=kind, default=None)
            for name, kind in entry.options.items()
        ),
        *([inspect.Parameter("why", _KEYWORD, annotation=Reason, default=None)] if has_reason else []),
        *(
            inspect.Parameter(f"after_{key}", _KEYWORD, annotation=kind, default=default)
            for key, (kind, default) in after_it.items()
        ),
    ]

    def run(ctx: typer.Context, **given: Any) -> None:
        after = {key: given.pop(f"after_{key}") for key in _AFTER}
        before: Session = ctx.obj
        for key in _SETTINGS:
            if after[key] is not None:
                before.flags[key] = after[key]
        before.json = before.json or after["json"]
        if has_reason:
            before.reason = given.pop("why")
        before.key_file = after["key_file"] or before.key_file
        before.insecure_http = before.insecure_http or after["insecure_http"]
        for name, value in given.items():
            for word in _texts(value):
                if not _is_text(word) and name != "paths":  # for input files, there is a better message
                    raise typer.Exit(before.call(_refuse_bytes, {"name": name, "word": word}))
        # Only the flag is refused: a server that is set for all commands does not concern local ones.
        if entry.only_here and before.flags.get("server") is not None:
            raise typer.Exit(before.call(_refuse, {"entry": entry}))
        raise typer.Exit(before.call(entry.function, given))

    run.__doc__ = entry.function.__doc__
    # Typer reads these: the parameters of a command are known only at run time.
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    app.command(entry.name, epilog=f"Example: {entry.example}")(run)


def _texts(value: object) -> Iterator[str]:
    yield from (word for word in (value if isinstance(value, list) else [value]) if isinstance(word, str))


def _is_text(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_bytes(s: Session, name: str, word: str) -> None:
    detail = f"{name.upper()} {word!r} is not valid UTF-8"
    raise BadRequest("invalid_path", detail) if name in _PLACES else Usage(detail)


def _refuse(s: Session, entry: Command) -> None:
    raise Usage(f"`playhead {entry.name}` does not work with --server: {entry.only_here}")
