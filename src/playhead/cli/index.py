"""`index check`: compare indexes and tables with what is published."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from playhead.cli import exits, output
from playhead.cli.command import command
from playhead.cli.datasets import DatasetRef
from playhead.cli.session import Session

if TYPE_CHECKING:
    pass

_MOST_WAITS = 120
_WAIT_SECONDS = 0.25


@command("check", example="playhead index check docs")
async def check(
    s: Session,
    name: DatasetRef,
    route: Annotated[
        str | None, typer.Argument(metavar="[ROUTE]", help="The route of one sink.  [default: all]")
    ] = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Rebuild what differs. Readers see what they see now until all of it is there.",
        ),
    ] = False,
) -> int:
    """Compare indexes and tables with what is published.

    Exit code 1 if one differs, or if no running process can compare it. A result without rows must be written
    again: the command prints the replay that does it.
    """
    async with s.open(checks_configs=True) as rt:
        found = await rt.services.publish.check(name, route, repair=repair)
        for _ in range(_MOST_WAITS):
            wanted = [one for one in found.sinks if route in (None, one.route)]
            if not any(one.is_checked for one in wanted):
                break
            await asyncio.sleep(_WAIT_SECONDS)
            await rt.services.publish.follow()
            found = await rt.services.publish.dataset(name)
    is_whole = all(
        one.check and not (one.is_checked or one.problem or one.check.missing or one.check.left_over)
        for one in wanted
    )
    if s.json:
        output.emit(found)
        return exits.OK if is_whole else exits.FAILED
    output.table(
        ("ROUTE", "ADAPTER", "SHOWN", "MISSING", "LEFT OVER", "PROBLEM"),
        [
            (
                *(one.route, one.adapter, one.shown),
                one.check.missing if one.check else None,
                one.check.left_over if one.check else None,
                "no running process has compared it: start a worker" if one.is_checked else one.problem,
            )
            for one in wanted
        ],
    )
    for one in wanted:
        if one.check and one.check.missing:
            output.note(f"Not in {one.route}: {', '.join(one.check.first_missing)}")
            if not repair:
                output.note(f"To rebuild it: {s.again(f'playhead index check {name} {one.route} --repair')}")
            for stage in one.check.stages if repair else ():
                replay = s.again(f"playhead replay current:{found.name} {stage} {one.route}")
                output.note(f"To write them, and then publish the replay: {replay}")
    return exits.OK if is_whole else exits.FAILED
