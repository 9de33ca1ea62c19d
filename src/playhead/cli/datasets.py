"""`datasets list`, `changes`, `rollback` and `release`: what readers see, and the way back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from playhead.cli import complete, output
from playhead.cli.command import Cursor, Limit, command
from playhead.cli.session import Session

if TYPE_CHECKING:
    from playhead.model import Dataset

_MOST_WAITS = 4
_WAIT_SECONDS = 0.5
DatasetRef = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A dataset, or CONFIG/DATASET if several configs have one of this name.",
        autocompletion=complete.dataset,
    ),
]
Reason = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; shown in the history.")]
Expect = Annotated[
    int | None,
    typer.Option(
        "--expect",
        metavar="SEQ",
        min=0,
        max=2**53,
        help="Refuse unless this is the number of the newest switch, as `publications` prints it.",
    ),
]


@command("list", example="playhead datasets list")
async def list_(s: Session) -> None:
    """List datasets, and what their readers see.

    `list` may be omitted.
    """
    async with s.open() as rt:
        found = await rt.services.publish.datasets()
    if s.json:
        output.emit_list(found)
        return
    output.table(
        ("DATASET", "CONFIG", "CURRENT", "SINCE", "DRAFT", "PUBLISH", "WAITING"),
        [
            (
                *(one.name, one.config, one.current, output.when(one.switched_at)),
                f"{one.draft.n} {one.draft.state}" if one.draft else "-",
                f"{one.publish}, held" if one.held and one.publish == "automatic" else one.publish,
                len(one.unpublished),
            )
            for one in found
        ],
    )


@command("changes", example="playhead changes docs --since 1")
async def changes(
    s: Session,
    name: DatasetRef,
    since: Annotated[
        int,
        typer.Option(
            "--since", metavar="N", min=0, max=2**53, help="Number of a publication; 0: before the first."
        ),
    ],
    until: Annotated[
        int | None,
        typer.Option(
            "--until",
            metavar="M",
            min=1,
            max=2**53,
            help="Number of a publication.  [default: the current one]",
        ),
    ] = None,
    stage: Annotated[
        str | None, typer.Option("--stage", metavar="STAGE", help="Only objects of this stage.")
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> None:
    """List the objects that differ between two publications.

    It works in both directions, so a copy of a dataset can follow a rollback, too.
    """
    async with s.open() as rt:
        items, rest = await output.gather(
            lambda c, n: rt.services.publish.changes(name, since, until, stage, c, n), cursor, limit
        )
    if s.json:
        output.emit_list(items, rest)
        return
    output.table(
        ("CHANGE", "STAGE", "PATH", "KEY"), [(one.change, one.stage, one.path, one.key) for one in items]
    )
    output.more(rest)


@command("rollback", example="playhead rollback docs --to 1", changes=True)
async def rollback(
    s: Session,
    name: DatasetRef,
    to: Annotated[
        int | None,
        typer.Option(
            "--to",
            metavar="N",
            min=1,
            max=2**53,
            help="Number of a publication.  [default: the one that was before]",
        ),
    ] = None,
    reason: Reason = None,
    expect: Expect = None,
) -> None:
    """Show readers an earlier publication again.

    It changes one row, whatever the size. Automatic publication is held until you publish, or run `playhead
    release`.
    """
    async with s.open(checks_configs=True) as rt:
        found = await rt.services.publish.roll_back(name, to, expect, reason)
        await report_behind(rt, name)
    if s.json:
        output.emit(found)
        return
    output.line(f"Readers of {name} see publication {found.current} since {output.when(found.switched_at)}")
    if found.publish == "automatic":
        output.note(f"Automatic publication is held. To end that, run: playhead release {name}")


@command("release", example="playhead release docs", changes=True)
async def release(s: Session, name: DatasetRef) -> None:
    """End the hold of automatic publication.

    Runs that begin from then on are published when they have ended. Earlier ones wait for `playhead publish`:
    they may be why you went back.
    """
    async with s.open() as rt:
        was_held = (await rt.services.publish.dataset(name)).held
        found = await rt.services.publish.release(name)
    if s.json:
        output.emit(found)
        return
    if not was_held:
        output.line(f"{name} was not held, so nothing has changed")
        return
    if found.publish == "automatic":
        output.line(f"Runs of {found.config} that begin from now on are published in {name}")
    else:
        output.line(f"{name} is published by `playhead publish` only")
    for one in found.unpublished:
        output.note(f"Not published: {s.again(f'playhead publish {name} {one} --dry-run')}")


async def report_behind(rt: Any, name: str) -> None:
    """Say which indexes still show something else. Usually they switch in less than a second."""
    for again in reversed(range(_MOST_WAITS)):
        found: Dataset = await rt.services.publish.dataset(name)
        behind = [one for one in found.sinks if one.seq < found.seq]
        if not behind:
            return
        if again:
            await asyncio.sleep(_WAIT_SECONDS)
    for one in behind:
        why = one.problem or f"it switches when a worker with the adapter {one.adapter} runs"
        output.note(f"{one.route} still shows {one.shown or 'nothing of it'}: {why}")
