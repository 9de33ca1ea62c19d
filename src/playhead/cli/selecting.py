"""The options that select objects of a stage, for each command that replays, and the check of times."""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from playhead.cli.session import Usage, limits_of
from playhead.model import Only

if TYPE_CHECKING:
    from playhead.cli.deployment import Deployment
    from playhead.model import Selection

Path = Annotated[
    str | None, typer.Option("--path", metavar="P", help="Only this folder or object of the stage.")
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        metavar="GLOB",
        help="Only paths under STAGE that match: `*`, `**` (any folders), `?`, `[a-z]`. Repeatable.",
        show_default=False,
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="GLOB",
        help="No paths that match; stronger than --include. Repeatable.",
        show_default=False,
    ),
]
PathsFrom = Annotated[
    str | None,
    typer.Option(
        "--paths-from",
        metavar="FILE",
        help="Only the objects with these paths under STAGE, one a line; `-` reads standard input.",
    ),
]
After = Annotated[
    str | None,
    typer.Option(
        "--after",
        metavar="TIME",
        help="Only objects written at TIME or later: 2026-01-31T18:00:00Z, -24h, -7d.",
    ),
]
Before = Annotated[
    str | None, typer.Option("--before", metavar="TIME", help="Only objects written before TIME.")
]
Type = Annotated[
    list[str] | None,
    typer.Option(
        "--type",
        metavar="TYPE",
        help="Only objects of this media type: text/html, text/*. Repeatable.",
        show_default=False,
    ),
]
Attribute = Annotated[
    list[str] | None,
    typer.Option(
        "--attribute",
        metavar="NAME=VALUE",
        help="Only objects with this attribute; VALUE is JSON, or else text. Repeatable.",
        show_default=False,
    ),
]
OnlyOption = Annotated[
    Only | None,
    typer.Option(
        "--only",
        help="`failed`: only objects with a dead letter: their own, or that of an object made from them. "
        "`unfinished`: also cancelled ones, and those without a message.",
    ),
]
InReplay = Annotated[
    str | None,
    typer.Option(
        "--in-replay",
        metavar="BATCH",
        help="With --only or --made-by: what happened in this replay of EXECUTION.",
    ),
]
MadeBy = Annotated[
    str | None,
    typer.Option(
        "--made-by",
        metavar="CONDITION",
        help="Only objects for which ROUTE has a result of such code: `ADAPTER<VERSION`, `ADAPTER=VERSION`; "
        "of a dataset `ROUTE!=newest`, as `playhead stale` shows it; of a run `worker:ID`, as `playhead "
        "affected` shows it.",
    ),
]
First = Annotated[int | None, typer.Option("--limit", metavar="N", help="Only the first N objects, by key.")]

OPTIONS: Final = {
    "include": Include,
    "exclude": Exclude,
    "paths_from": PathsFrom,
    "after": After,
    "before": Before,
    "type_": Type,
    "attribute": Attribute,
    "only": OnlyOption,
    "in_replay": InReplay,
    "made_by": MadeBy,
    "limit": First,
}
"""The options that `selection` receives."""
_OPTIONS: Final = {
    "modified_after": "--after",
    "modified_before": "--before",
    "content_type": "--type",
    "paths": "--paths-from",
    "made_by": "--made-by",
}


def selection(
    *,
    include: Sequence[str] | None,
    exclude: Sequence[str] | None,
    after: str | None,
    before: str | None,
    type_: Sequence[str] | None,
    attribute: Sequence[str] | None,
    only: Only | None,
    in_replay: str | None,
    made_by: str | None,
    limit: int | None,
    paths_from: str | None = None,
) -> Selection | None:
    """Return what the options select; None if no option is given. `within` adds the replay.

    Raises `Usage`.
    """
    from playhead.model import Selection

    if in_replay is not None and only is None and made_by is None:
        raise Usage("--in-replay needs --only or --made-by: what happened to the objects in that replay")
    with limits_of(**_OPTIONS):
        found = Selection(
            include=list(include) if include else None,
            exclude=list(exclude) if exclude else None,
            modified_after=after,
            modified_before=before,
            content_type=list(type_) if type_ else None,
            attributes=_attributes(attribute) if attribute else None,
            only=only,
            made_by=made_by,
            limit=limit,
            paths=_paths_of(paths_from) if paths_from is not None else None,
        )
    return None if found == Selection() else found


async def within(rt: Deployment, chosen: Selection | None, in_replay: str | None) -> Selection | None:
    """Return a selection whose `only` is about a replay, if one is named."""
    if chosen is None or in_replay is None:
        return chosen
    return replace(chosen, in_replay=await rt.services.resolve.replay(in_replay))


def needs_adapters(chosen: Selection | None) -> bool:
    """Whether the adapters of this process decide what is selected: they are the newest code."""
    return chosen is not None and chosen.made_by is not None


def _paths_of(file: str) -> list[str]:
    try:
        content = sys.stdin.buffer.read() if file == "-" else pathlib.Path(file).read_bytes()
        # Not `splitlines`: a path may have a character that separates lines in Unicode.
        return [path for line in content.decode().split("\n") if (path := line.removesuffix("\r"))]
    except UnicodeDecodeError as exc:
        raise Usage(f"--paths-from {file}: byte {exc.start} is not UTF-8") from None
    except OSError as exc:
        raise Usage(f"cannot read --paths-from {file}: {exc.strerror}") from None


def _attributes(given: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise Usage(f"--attribute {text!r} is not NAME=VALUE, as in lang=en")
        if name in found:
            raise Usage(f"--attribute: {name!r} is given twice; an object has one value of each attribute")
        try:
            found[name] = json.loads(value, parse_constant=_refuse)
        except (ValueError, RecursionError):
            found[name] = value
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def check_times(**options: str | None) -> None:
    """Raise `Usage` if the value of an option is not a time. The server decides what `-24h` means."""
    from playhead.ids import now
    from playhead.times import fixed_times

    try:
        fixed_times(now(), **{name.replace("_", "-"): text for name, text in options.items()})
    except ValueError as exc:
        raise Usage(f"--{exc}") from None
