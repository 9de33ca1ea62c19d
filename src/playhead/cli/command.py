"""How a function becomes a command: its own parameters, the flags that every command takes, an example."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from playhead.cli.session import Session

_KEYWORD = inspect.Parameter.KEYWORD_ONLY

Json = Annotated[bool, typer.Option("--json", help="Only JSON on stdout.")]
Home = Annotated[
    str | None,
    typer.Option("--home", metavar="DIR", help="Where the embedded backends live.  [default: .playhead]"),
]
Store = Annotated[
    str | None, typer.Option("--store", metavar="URL", help="The store: file:///…  [default: in the home]")
]
Broker = Annotated[
    str | None,
    typer.Option("--broker", metavar="URL", help="The broker: sqlite:///…  [default: in the home]"),
]
Catalog = Annotated[
    str | None,
    typer.Option("--catalog", metavar="URL", help="The catalog: sqlite:///…  [default: in the home]"),
]

ExecutionRef = Annotated[str, typer.Argument(metavar="EXECUTION", help="An id, `latest` or `tag:NAME`.")]
Limit = Annotated[int, typer.Option("--limit", min=1, metavar="N", help="List at most N.")]
Cursor = Annotated[
    str | None, typer.Option("--cursor", metavar="C", help="Go on where a list ended: its next_cursor.")
]

_SETTINGS = ("home", "store", "broker", "catalog")
# After a command the backends' addresses are taken too, but its help shows what is used daily.
_AFTER: dict[str, tuple[Any, object]] = {
    "json": (Json, False),
    "home": (Home, None),
    **{n: (Annotated[str | None, typer.Option(f"--{n}", hidden=True)], None) for n in _SETTINGS[1:]},
}


@dataclass(frozen=True, slots=True)
class Command:
    """A command: `function(session, **own parameters)` returns its exit code, None for 0."""

    name: str
    function: Callable[..., Any]
    example: str


def command(name: str, *, example: str) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command; its docstring is the help, `example` the line below it."""

    def make(function: Callable[..., Any]) -> Command:
        return Command(name, function, example)

    return make


def name_only(app: typer.Typer, entry: Command) -> None:
    """Put a command's line into a list of commands; it can't be run. Costs a tenth of `add`."""
    app.command(entry.name, help=entry.function.__doc__)(lambda: None)


def add(app: typer.Typer, entry: Command) -> None:
    """Put a command into a program or a group."""
    own = list(inspect.signature(entry.function, eval_str=True).parameters.values())[1:]
    parameters = [
        inspect.Parameter("ctx", _KEYWORD, annotation=typer.Context),
        *(p.replace(kind=_KEYWORD) for p in own),
        *(
            inspect.Parameter(f"after_{key}", _KEYWORD, annotation=kind, default=default)
            for key, (kind, default) in _AFTER.items()
        ),
    ]

    def run(ctx: typer.Context, **given: Any) -> None:
        after = {key: given.pop(f"after_{key}") for key in _AFTER}
        before: Session = ctx.obj
        for key in _SETTINGS:
            if after[key] is not None:
                before.flags[key] = after[key]
        before.json = before.json or after["json"]
        raise typer.Exit(before.call(entry.function, given))

    run.__doc__ = entry.function.__doc__
    # What typer reads in place of the real one: a command's parameters are known only here.
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    app.command(entry.name, epilog=f"Example: {entry.example}")(run)
