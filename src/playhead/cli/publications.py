"""`publications …`: the history of a dataset, and its draft."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from playhead.cli import complete, output
from playhead.cli.command import Cursor, Limit, command
from playhead.cli.datasets import DatasetRef
from playhead.cli.session import Session, Usage

if TYPE_CHECKING:
    from playhead.model import (
        AdapterCode,
        CodeResults,
        Dataset,
        Declaration,
        Publication,
        PublicationNote,
        StageChanges,
        UnitCounts,
    )

MOST_NOTES = 10
NumberedRef = Annotated[
    str,
    typer.Argument(
        metavar="NAME[@N]",
        help="A dataset, and the number of a publication.  [default: the current one]",
        autocompletion=complete.dataset,
    ),
]


@command("list", example="playhead publications list docs")
async def list_(
    s: Session,
    name: DatasetRef,
    every: Annotated[bool, typer.Option("--all", help="Also abandoned and dropped publications.")] = False,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> None:
    """List the publications of a dataset, newest first.

    A publication that readers no longer see because of a rollback has the state `taken back`.
    """
    async with s.open(checks_configs=True) as rt:
        dataset = await rt.services.publish.dataset(name)
        items, rest = await output.gather(
            lambda c, n: rt.services.publish.publications(name, c, n, every=every), cursor, limit
        )
        switches = [] if s.json else await rt.services.publish.switches(name, limit)
    if s.json:
        output.emit_list(items, rest)
        return
    output.table(
        (
            *("N", "STATE", "PUBLISHED", "BASE", "PARTS", "ADDED", "CHANGED", "REMOVED", "FAILED"),
            *("STALE", "REASON"),
        ),
        [_row(one, dataset) for one in items],
    )
    for one in switches:
        if one.kind == "rollback":
            why = f": {one.reason}" if one.reason else ""
            output.line(f"{output.when(one.switched_at)}  rollback to {one.n}{why}")
    output.note(f"Newest switch: {dataset.seq}")
    output.more(rest)


def _row(one: Publication, dataset: Dataset) -> tuple[object, ...]:
    objects = [counts for stage, counts in one.counts.items() if not stage.startswith(":")]
    return (
        one.n,
        _state(one, dataset.current),
        output.when(one.published_at),
        one.base,
        ", ".join(output.short(part.execution_id) for part in one.parts),
        *(sum(getattr(each, name) for each in objects) for name in ("added", "changed", "removed")),
        one.units.kept + one.units.left_out,
        one.stale,
        one.refusal.code if one.refusal else one.reason,
    )


def _state(one: Publication, current: int | None) -> str:
    return "current" if one.n == current else "taken back" if one.is_taken_back else one.state


@command("show", example="playhead publications show docs@1")
async def show(s: Session, name: NumberedRef) -> None:
    """Show the counts, the parts and the state of a publication."""
    async with s.open(checks_configs=True) as rt:
        dataset, n = _numbered(name)
        found = await rt.services.publish.publication(dataset, n)
        current = (await rt.services.publish.dataset(dataset)).current
    if s.json:
        output.emit(found)
        return
    output.line(f"Publication {found.n} of {found.dataset}: {_state(found, current)}")
    facts = {"published": found.published_at and output.when(found.published_at)}
    if found.base:
        facts["based on"] = f"publication {found.base}"
    for word, fact in (facts | {"reason": found.reason}).items():
        if fact:
            output.line(f"  {word:<9}  {fact}")
    if found.refusal:
        output.line(f"{found.refusal.code}: {found.refusal.detail}")
    for part in found.parts:
        output.line(f"  {part.role:<9}  {part.execution_id}")
    print_counts(found.counts, found.units, [])
    _print_stale(s, dataset, found)
    if found.bytes_protected:
        output.line(f"It protects {output.size(found.bytes_protected)} from prunes")
    output.line(f"To read it: playhead ls current:{dataset}@{found.n}")


def _print_stale(s: Session, name: str, found: Publication) -> None:
    from playhead.wording import replay_of_stale

    for one in found.results:
        if one.stale is None:
            output.note(f"Adapters of {one.route} are not loaded here: how much of it is stale is not known")
        if one.declared_valid:
            output.line(
                f"  {one.declared_valid:,} of {one.results:,} results of {one.route} are of older code, and "
                "declared valid"
            )
        if one.stale:
            output.line(
                f"  {one.stale:,} of {one.results:,} results of {one.route} are stale: a replay now "
                "would use other code or settings"
            )
            if one.is_declared:
                output.line(f"  To replay them: {s.again(replay_of_stale(name, found.n, one))}")


@command("stale", example="playhead stale docs")
async def stale_code(
    s: Session,
    name: NumberedRef,
    forget: Annotated[
        str | None,
        typer.Option(
            "--forget",
            metavar="ROUTE",
            help="Undo what was declared about results of ROUTE (`playhead replay --others-valid`): they are "
            "stale again.",
        ),
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> None:
    """Show which code made what readers see.

    It prints the command that replays exactly the results of a route that are not of the newest code.
    `playhead publications stale` lists them. Results that were declared valid are not stale.
    """
    async with s.open(checks_configs=True) as rt:
        dataset, n = _numbered(name)
        if forget:
            await rt.services.publish.forget(dataset, forget)
        found = await rt.services.publish.publication(dataset, n)
        items, rest = await output.gather(
            lambda c, size: rt.services.publish.code(dataset, found.n, c, size), cursor, limit
        )
        declared = (await rt.services.publish.dataset(dataset)).declared_valid
    if s.json:
        output.emit_list(items, rest)
        return
    output.table(
        ("ROUTE", "RECEIVED", "CODE", "CONFIG", "RESULTS", "NEWEST"),
        [
            (
                *(one.route, one.from_stage, _code(one.adapters), one.config_version, f"{one.results:,}"),
                _is_newest(one),
            )
            for one in items
        ],
    )
    _print_stale(s, dataset, found)
    _print_declared(s, dataset, found, declared)
    output.more(rest)


def _print_declared(s: Session, name: str, found: Publication, declared: Sequence[Declaration]) -> None:
    from playhead.wording import declaration_text

    applied = {one.route for one in found.results if one.declared_valid}
    for one in declared:
        unused = "" if one.route in applied else " (it applies to no result here)"
        output.line(f"  Results of {one.route} were {declaration_text(one)}{unused}")
    for route in dict.fromkeys(one.route for one in declared):
        output.line(f"  To undo that: {s.again(f'playhead stale {name} --forget {route}')}")


def _is_newest(one: CodeResults) -> str:
    if one.is_newest is None:
        return "not known"
    if one.declared_valid:
        return f"no, {one.declared_valid:,} declared valid"
    return "yes" if one.is_newest else "no"


def _code(adapters: Sequence[AdapterCode] | None) -> str | None:
    if adapters is None:
        return None
    return ", ".join(f"{one.type} {one.version} {output.code(one.code)}" for one in adapters)


@command("stale", example="playhead publications stale docs --route segment")
async def stale(
    s: Session,
    name: NumberedRef,
    route: Annotated[
        str | None, typer.Option("--route", metavar="ROUTE", help="Only results of this route.")
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(
            "--stage",
            metavar="STAGE",
            help="Only results of routes that have received objects of this stage.",
        ),
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> None:
    """List results that are not of the newest code.

    Such a result was made by other code of an adapter than this command or the server has loaded, or its
    route has another stage or other steps in the newest version of the config. FAILED is the error code if
    the newest replay of the object has failed.
    """
    async with s.open(checks_configs=True) as rt:
        dataset, n = _numbered(name)
        items, rest = await output.gather(
            lambda c, size: rt.services.publish.stale(dataset, n, route, stage, c, size), cursor, limit
        )
    if s.json:
        output.emit_list(items, rest)
        return
    output.table(
        ("ROUTE", "RECEIVED", "KEY", "FAILED"),
        [(one.route, f"{one.from_stage}/{one.from_path}", one.key, one.error_code) for one in items],
    )
    output.more(rest)


@command("notes", example="playhead publications notes docs@1")
async def notes(s: Session, name: NumberedRef, limit: Limit = 100, cursor: Cursor = None) -> None:
    """List documents whose new results are not published, and why."""
    async with s.open() as rt:
        dataset, n = _numbered(name)
        items, rest = await output.gather(
            lambda c, size: rt.services.publish.notes(dataset, n, None, c, size), cursor, limit
        )
    if s.json:
        output.emit_list(items, rest)
        return
    output.table(
        ("KIND", "STAGE", "PATH", "EXECUTION", "DETAIL"),
        [(one.kind, one.stage, one.path, one.execution_id, one.detail) for one in items],
    )
    output.more(rest)


@command("cancel", example="playhead publications cancel docs", changes=True)
async def cancel(s: Session, name: DatasetRef) -> None:
    """Abandon the publication that is being prepared."""
    async with s.open() as rt:
        found = await rt.services.publish.cancel(name)
    if s.json:
        output.emit(found)
    else:
        output.line(f"Publication {found.n} of {name} is {found.state}")


@command("pin", example="playhead publications pin docs@1", changes=True)
async def pin(s: Session, name: NumberedRef) -> None:
    """Keep a publication until it is unpinned."""
    await _pin(s, name, True)


@command("unpin", example="playhead publications unpin docs@1", changes=True)
async def unpin(s: Session, name: NumberedRef) -> None:
    """End the protection of a publication."""
    await _pin(s, name, False)


async def _pin(s: Session, name: str, pinned: bool) -> None:
    dataset, n = _numbered(name)
    if n is None:
        raise Usage(f"{name!r} names no publication: write {name}@N")
    async with s.open(checks_configs=True) as rt:
        found = await rt.services.publish.pin(dataset, n, pinned)
    if s.json:
        output.emit(found)
    else:
        output.line(f"Publication {n} of {dataset} is {'pinned' if found.is_pinned else 'not pinned'}")


def _numbered(name: str) -> tuple[str, int | None]:
    dataset, at, number = name.removeprefix("current:").partition("@")
    if at and not re.fullmatch("[1-9][0-9]{0,14}", number):
        raise Usage(f"{number!r} is not the number of a publication: write {dataset}@N")
    return dataset, int(number) if at else None


def print_counts(counts: Mapping[str, StageChanges], units: UnitCounts, notes: list[PublicationNote]) -> None:
    from playhead.wording import UNITS

    width = max((len(stage) for stage in counts), default=0)
    for stage, one in counts.items():
        output.line(f"  {_stage(stage):<{width}}  {_changes(one)}")
    for kind, text in UNITS.items():
        if number := getattr(units, kind):
            output.line(f"  {number:,} {text}")
            for note in [one for one in notes if one.kind == kind][:MOST_NOTES]:
                output.line(f"    {note.stage}/{note.path}" + (f": {note.detail}" if note.detail else ""))


def _stage(stage: str) -> str:
    return stage.removeprefix(":")


def _changes(one: StageChanges) -> str:
    counts = {"changed": one.changed, "added": one.added, "removed": one.removed, "as before": one.same}
    return ", ".join(f"{number:,} {word}" for word, number in counts.items() if number) or "none"
