"""`publish`: make the results of executions what readers see."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from playhead.cli import complete, exits, output
from playhead.cli.command import NAMES_IN_SHORT, command
from playhead.cli.datasets import DatasetRef, Expect, Reason, report_behind
from playhead.cli.output import counted
from playhead.cli.publications import MOST_NOTES, print_counts
from playhead.cli.session import Session, Usage, limits_of

if TYPE_CHECKING:
    from playhead.model import Dataset, Publication, PublishRequest

_PATIENCE_SECONDS = 3.0


@command("publish", example="playhead publish docs latest", changes=True)
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
        typer.Option(
            "--base",
            metavar="EXECUTION",
            help="The run that defines the inputs, if there are several; or a replay of a whole stage of "
            "another config.",
        ),
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option(
            "--add",
            metavar="EXECUTION",
            help="A run, or a replay of a stage of another config, that only adds inputs. Repeatable.",
            show_default=False,
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
        bool, typer.Option("--allow-empty", help="Publish although it has no objects.")
    ] = False,
    expect: Expect = None,
    reason: Reason = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            metavar="K",
            help="Your own key: the same command with the same key begins no second publication.",
        ),
    ] = None,
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
    from playhead.model import OPEN_PUBLICATION_STATES, PublishRequest

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
                print_counts(preview.counts, preview.units, preview.notes)
                output.line(f"To publish exactly this: --expect {preview.expect_seq}")
            return exits.OK
        if detach:
            made = await service.begin(name, request, key=key)
        else:
            before = await service.dataset(name)
            made = await _published(service, name, request, key)
            await report_behind(rt, name)
            if before.held and before.publish == "automatic":
                output.note(f"The hold has ended: runs of {made.config} that begin from now on are published")
        notes = [] if detach else (await service.notes(name, made.n, limit=MOST_NOTES)).items
    if s.json:
        output.emit(made)
    elif detach:
        is_open = made.state in OPEN_PUBLICATION_STATES
        output.line(f"Publication {made.n} of {name} is {'being prepared' if is_open else made.state}")
        output.note(f"To see its state: playhead publications show {name}@{made.n}")
    else:
        parts = " + ".join(f"{output.short(part.execution_id)}" for part in made.parts)
        output.line(f"Publication {made.n} of {name} = {_base(made.base)}{parts}")
        print_counts(made.counts, made.units, notes)
        back = f". Back: playhead rollback {name} --to {made.base}" if made.base else ""
        output.line(f"Current since {output.when(made.published_at)}{back}")
    return exits.PARTIAL if detach else exits.OK


async def _published(service: Any, name: str, request: PublishRequest, key: str | None) -> Publication:
    """Publish, and say after some seconds which index the publication waits for."""
    publishing: asyncio.Task[Publication] = asyncio.create_task(service.publish(name, request, key=key))
    said: set[str] = set()
    while not (await asyncio.wait([publishing], timeout=_PATIENCE_SECONDS))[0]:
        for one in (await service.dataset(name)).sinks:
            why = one.problem or f"no worker has written the rest yet; it needs the adapter {one.adapter}"
            text = f"Waiting for {one.route}: {one.staged} of {one.pages} pages ({why})"
            if one.staged < one.pages and text not in said:
                output.note(text)
                said.add(text)
    return await publishing


def _base(number: int | None) -> str:
    return f"{number} + " if number else ""


async def _list_unpublished(s: Session, rt: Any, name: str) -> int:
    dataset: Dataset = await rt.services.publish.dataset(name)
    if not dataset.unpublished:
        raise Usage(f"no result of {dataset.config} waits for publication in {name}; name an execution")
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
