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
    from playhead.model import SinkRepair

_MOST_WAITS = 120
_WAIT_SECONDS = 0.25


@command("check", example="playhead index check docs", changes=True)
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
            help="Rebuild what differs, and write lost rows again by a replay, which is then published. "
            "Readers see what they see now until all of it is there.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only compare, also with --repair, and print what it would do.")
    ] = False,
) -> int:
    """Compare indexes and tables with what is published.

    Exit code 1 if one differs, or if no running process can compare or repair it. A repair that has begun
    goes on without the command, and a second command waits for it.
    """
    async with s.open(checks_configs=True) as rt:
        found = await rt.services.publish.check(name, route, repair=repair and not dry_run)
        for _ in range(_MOST_WAITS):
            wanted = [one for one in found.sinks if route in (None, one.route)]
            if not any(one.is_checked or (one.repair and one.repair.is_open) for one in wanted):
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
        if one.check and (one.check.missing or one.check.left_over) and (dry_run or not repair):
            if dry_run:
                output.note(
                    f"A repair rebuilds {one.route}. Lost rows are written by a replay of at most "
                    f"{one.check.missing:,} results, which is then published"
                )
            output.note(f"To repair it: {s.again(f'playhead index check {name} {one.route} --repair')}")
        if repair and not dry_run and one.repair:
            _print_repair(name, one.route, one.repair)
    return exits.OK if is_whole else exits.FAILED


def _print_repair(name: str, route: str, repair: SinkRepair) -> None:
    what = f"{repair.results:,} results of {route} had no rows"
    replays = ", ".join(repair.replays)
    if repair.problem:
        output.note(f"{what}: {repair.problem}")
    elif repair.is_open:
        output.note(f"{what}: replay {replays} writes them, and is published when workers have processed it")
    else:
        output.note(f"{what}: replay {replays} wrote them, published as {repair.publication} of {name}")
