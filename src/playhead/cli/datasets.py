"""`publish`, `rollback`, `publications` and the other commands for what readers see."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from playhead.cli import complete, exits, output
from playhead.cli.command import NAMES_IN_SHORT, Cursor, Limit, command
from playhead.cli.output import counted
from playhead.cli.session import Session, Usage, limits_of

if TYPE_CHECKING:
    from playhead.model import (
        Dataset,
        Publication,
        PublicationNote,
        PublishRequest,
        StageChanges,
        UnitCounts,
    )

_MOST_NOTES = 10
_MOST_WAITS = 120
_WAIT_SECONDS = 0.25
_PATIENCE_SECONDS = 3.0
DatasetRef = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A dataset, or CONFIG/DATASET if several configs have one of this name.",
        autocompletion=complete.dataset,
    ),
]
NumberedRef = Annotated[
    str,
    typer.Argument(
        metavar="NAME[@N]",
        help="A dataset, and the number of a publication.  [default: the current one]",
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


@command("publish", example="playhead publish docs latest")
async def publish(
    s: Session,
    name: DatasetRef,
    executions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[EXECUTION]...",
            help=f"Settled executions: {NAMES_IN_SHORT}.",
            autocompletion=complete.execution,
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would change.")] = False,
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="RUN", help="The run that defines the inputs, if there are several."),
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option(
            "--add", metavar="RUN", help="A run that only adds inputs. Repeatable.", show_default=False
        ),
    ] = None,
    on_failure: Annotated[
        str | None,
        typer.Option(
            "--on-failure",
            metavar="POLICY",
            help="What happens to a document whose processing failed: keep_last, leave_out or refuse.  "
            "[default: as the config says]",
        ),
    ] = None,
    skip_superseded: Annotated[
        bool, typer.Option("--skip-superseded", help="Leave out objects whose documents have changed since.")
    ] = False,
    allow_incomplete: Annotated[
        bool, typer.Option("--allow-incomplete", help="Publish documents without a result in a route.")
    ] = False,
    allow_removed: Annotated[
        bool, typer.Option("--allow-removed", help="Remove more inputs than the config allows.")
    ] = False,
    allow_older: Annotated[
        bool, typer.Option("--allow-older", help="Replace results by older ones.")
    ] = False,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Publish although nothing is left.")
    ] = False,
    expect: Expect = None,
    reason: Reason = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return at once. With --server, or if a worker is running.")
    ] = False,
) -> int:
    """Make the results of runs and replays what readers see.

    A run replaces the current publication. A replay replaces the results below the objects that it has
    sent. A document whose processing failed keeps its earlier results. Readers see the earlier publication
    until the new one is complete. Exit code 1 if the publication is refused; 3 with `--detach`.

    Without EXECUTION, lists the executions that are not published.
    """
    from playhead.model import PublishRequest

    async with s.open(checks_configs=True) as rt:
        if not (executions or base or add):
            return await _list_unpublished(s, rt, name)
        allowed = {
            "incomplete": allow_incomplete,
            "removed": allow_removed,
            "older": allow_older,
            "empty": allow_empty,
        }
        with limits_of(executions="EXECUTION", on_failure="--on-failure"):
            request = PublishRequest(
                executions=[await rt.services.resolve.execution(one) for one in executions or ()],
                base=await rt.services.resolve.execution(base) if base else None,
                add=[await rt.services.resolve.execution(one) for one in add or ()],
                on_failure=cast("Any", on_failure),
                skip_superseded=skip_superseded,
                allow=[word for word, is_given in allowed.items() if is_given],  # type: ignore[misc]
                expect_seq=expect,
                reason=reason,
            )
        service = rt.services.publish
        if dry_run:
            preview = await service.preview(name, request)
            if s.json:
                output.emit(preview)
            else:
                output.line(f"Would publish: {_base(preview.base)}{counted(len(request.parts), 'execution')}")
                _tell_counts(preview.counts, preview.units, preview.notes)
                output.line(f"To publish exactly this: --expect {preview.expect_seq}")
            return exits.OK
        if detach:
            made = await service.begin(name, request)
        else:
            made = await _published(service, name, request)
            await _tell_behind(rt, name)
        notes = [] if detach else (await service.notes(name, made.n, limit=_MOST_NOTES)).items
    if s.json:
        output.emit(made)
    elif detach:
        output.line(f"Publication {made.n} of {name} is being prepared")
        output.note(f"To see its state: playhead publications show {name}@{made.n}")
    else:
        parts = " + ".join(f"{output.short(part.execution_id)}" for part in made.parts)
        output.line(f"Publication {made.n} of {name} = {_base(made.base)}{parts}")
        _tell_counts(made.counts, made.units, notes)
        back = f". Back: playhead rollback {name} --to {made.base}" if made.base else ""
        output.line(f"Current since {output.when(made.published_at)}{back}")
    return exits.PARTIAL if detach else exits.OK


async def _published(service: Any, name: str, request: PublishRequest) -> Publication:
    """Publish, and say after some seconds which index the publication waits for."""
    publishing: asyncio.Task[Publication] = asyncio.create_task(service.publish(name, request))
    said: set[str] = set()
    while not (await asyncio.wait([publishing], timeout=_PATIENCE_SECONDS))[0]:
        for one in (await service.dataset(name)).sinks:
            why = one.problem or f"no worker has written the rest yet; it needs the adapter {one.adapter}"
            text = f"Waiting for {one.route}: {one.staged} of {one.pages} pages ({why})"
            if one.staged < one.pages and text not in said:
                output.note(text)
                said.add(text)
    return await publishing


async def _tell_behind(rt: Any, name: str) -> None:
    """Say which indexes still show something else. Usually they switch in less than a second."""
    for last in (False, False, False, True):
        found: Dataset = await rt.services.publish.dataset(name)
        behind = [one for one in found.sinks if one.seq < found.seq]
        if not behind:
            return
        if not last:
            await asyncio.sleep(2 * _WAIT_SECONDS)
    for one in behind:
        why = one.problem or f"it switches when a worker with the adapter {one.adapter} runs"
        output.note(f"{one.route} still shows {one.shown or 'nothing of it'}: {why}")


def _base(number: int | None) -> str:
    return f"{number} + " if number else ""


async def _list_unpublished(s: Session, rt: Any, name: str) -> int:
    dataset: Dataset = await rt.services.publish.dataset(name)
    if not dataset.unpublished:
        raise Usage(f"name an execution; every settled one of {dataset.config} is published in {name}")
    found = [await rt.services.executions.get(one) for one in dataset.unpublished]
    if not s.json:
        output.note("Name an execution. These have settled, and are not published:")
        output.table(
            ("EXECUTION", "KIND", "STATUS", "CREATED"),
            [(one.execution_id, one.kind, one.status, output.when(one.created_at)) for one in found],
        )
    else:
        output.emit_list(found)
    return exits.USAGE


def _tell_counts(counts: Any, units: UnitCounts, notes: list[PublicationNote]) -> None:
    from playhead.wording import UNITS

    width = max((len(stage) for stage in counts), default=0)
    for stage, one in counts.items():
        output.line(f"  {_stage(stage):<{width}}  {_changes(one)}")
    for kind, text in UNITS.items():
        if number := getattr(units, kind):
            output.line(f"  {number:,} {text}")
            for note in [one for one in notes if one.kind == kind][:_MOST_NOTES]:
                output.line(f"    {note.stage}/{note.path}" + (f": {note.detail}" if note.detail else ""))


def _stage(stage: str) -> str:
    return stage.removeprefix(":")


def _changes(one: StageChanges) -> str:
    parts = [
        f"{number:,} {word}"
        for number, word in ((one.changed, "changed"), (one.added, "added"), (one.removed, "removed"))
        if number
    ]
    return ", ".join([*parts, f"{one.same:,} as before"])


@command("rollback", example="playhead rollback docs --to 1")
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
        await _tell_behind(rt, name)
    if s.json:
        output.emit(found)
        return
    output.line(f"Readers of {name} see publication {found.current} since {output.when(found.switched_at)}")
    if found.publish == "automatic":
        output.note(f"Automatic publication is held. To end that, run: playhead release {name}")


@command("release", example="playhead release docs")
async def release(s: Session, name: DatasetRef) -> None:
    """End the hold of automatic publication."""
    async with s.open() as rt:
        found = await rt.services.publish.release(name)
    if s.json:
        output.emit(found)
    else:
        how = "automatically" if found.publish == "automatic" else "by `playhead publish` only"
        output.line(f"{name} is published {how}")


@command("datasets", example="playhead datasets")
async def datasets(s: Session) -> None:
    """List datasets, and what their readers see."""
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


@command("list", example="playhead publications list docs")
async def list_(
    s: Session,
    name: DatasetRef,
    every: Annotated[bool, typer.Option("--all", help="Also abandoned and dropped publications.")] = False,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> None:
    """List the publications of a dataset, newest first."""
    async with s.open() as rt:
        dataset = await rt.services.publish.dataset(name)
        items, rest = await output.gather(
            lambda c, n: rt.services.publish.publications(name, c, n, every=every), cursor, limit
        )
    if s.json:
        output.emit_list(items, rest)
        return
    output.table(
        ("N", "STATE", "PUBLISHED", "BASE", "PARTS", "ADDED", "CHANGED", "REMOVED", "FAILED", "REASON"),
        [_row(one, dataset) for one in items],
    )
    output.note(f"Newest switch: {dataset.seq}")
    output.more(rest)


def _row(one: Publication, dataset: Dataset) -> tuple[object, ...]:
    objects = [counts for stage, counts in one.counts.items() if not stage.startswith(":")]
    return (
        one.n,
        "current" if one.n == dataset.current else one.state,
        output.when(one.published_at),
        one.base,
        ", ".join(output.short(part.execution_id) for part in one.parts),
        *(sum(getattr(each, name) for each in objects) for name in ("added", "changed", "removed")),
        one.units.kept + one.units.left_out,
        one.refusal.code if one.refusal else one.reason,
    )


@command("show", example="playhead publications show docs@1")
async def show(s: Session, name: NumberedRef) -> None:
    """Show the counts, the parts and the state of a publication."""
    async with s.open() as rt:
        found = await rt.services.publish.publication(*_numbered(name))
    if s.json:
        output.emit(found)
        return
    output.line(f"Publication {found.n} of {found.dataset}: {found.state}")
    if found.refusal:
        output.line(f"{found.refusal.code}: {found.refusal.detail}")
    for part in found.parts:
        output.line(f"  {part.role:<5}  {part.execution_id}")
    _tell_counts(found.counts, found.units, [])
    output.line(f"To read it: playhead ls current:{found.dataset}@{found.n}")


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


@command("cancel", example="playhead publications cancel docs")
async def cancel(s: Session, name: DatasetRef) -> None:
    """Abandon the publication that is being prepared."""
    async with s.open() as rt:
        found = await rt.services.publish.cancel(name)
    if s.json:
        output.emit(found)
    else:
        output.line(f"Publication {found.n} of {name} is {found.state}")


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


@command("pin", example="playhead publications pin docs@1")
async def pin(s: Session, name: NumberedRef) -> None:
    """Keep a publication until it is unpinned."""
    await _pin(s, name, True)


@command("unpin", example="playhead publications unpin docs@1")
async def unpin(s: Session, name: NumberedRef) -> None:
    """End the protection of a publication."""
    await _pin(s, name, False)


async def _pin(s: Session, name: str, pinned: bool) -> None:
    dataset, n = _numbered(name)
    if n is None:
        raise Usage(f"{name!r} names no publication: write {name}@N")
    async with s.open() as rt:
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
