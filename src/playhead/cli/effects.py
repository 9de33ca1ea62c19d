"""The option that decides what a replay does in routes with external effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from playhead.cli.session import Usage

if TYPE_CHECKING:
    from playhead.model import OnReplay

Effects = Annotated[
    list[str] | None,
    typer.Option(
        "--effects",
        metavar="P",
        help="What the replay does in routes with external effects: run, skip or refuse. ROUTE=P: in "
        "one route. Repeatable. The config may be stricter.",
    ),
]


def by_route(given: Sequence[str] | None) -> Mapping[str, OnReplay] | None:
    """Return the values of `--effects` by route; None without any. Raises `Usage`."""
    from playhead.model import OTHER_ROUTES, OnReplay

    found: dict[str, OnReplay] = {}
    for one in given or ():
        route, equals, value = one.rpartition("=")
        if value not in get_args(OnReplay) or bool(equals) != bool(route):
            raise Usage(f"--effects {one}: must be run, skip, refuse, ROUTE=run, ROUTE=skip or ROUTE=refuse")
        found[route or OTHER_ROUTES] = cast("OnReplay", value)
    return found or None
