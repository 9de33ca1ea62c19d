"""`prune`, `pin`, `unpin`: delete the objects and records of ended executions, and protect some of them."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from playhead.cli import complete, exits, output, progress
from playhead.cli.command import ExecutionRef, command
from playhead.cli.executions import describe
from playhead.cli.output import counted
from playhead.cli.session import Session, Usage, limits_of

if TYPE_CHECKING:
    from playhead.model import Pruned

_AGE: Final = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_MOST_SHOWN: Final = 10
_OPTIONS: Final = {
    "execution_ids": "EXECUTION",
    "older_than_seconds": "--older-than in seconds",
    "stages": "--stage",
}
"""How an error names the fields of a prune, where their option has another name."""


@command("prune", example="playhead prune --older-than 30d --keep-last 5 --dry-run", changes=True)
async def prune(
    s: Session,
    executions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[EXECUTION]...",
            help="Only these executions: ids or their ends, `latest`, `tag:NAME`.",
            autocompletion=complete.execution,
            show_default=False,
        ),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than", metavar="AGE", help="Only executions that ended at least this long ago: 30d, 12h."
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            metavar="NAME",
            help="Only executions of this config.",
            autocompletion=complete.config,
        ),
    ] = None,
    tag: Annotated[
        str | None,
        typer.Option("--tag", metavar="T", help="Only runs with this tag.", autocompletion=complete.tag),
    ] = None,
    keep_last: Annotated[
        int,
        typer.Option(
            "--keep-last",
            metavar="N",
            min=0,
            help="Keep the newest N runs and replays of each config, and the newest N that completed.",
            show_default=False,
        ),
    ] = 0,
    stage: Annotated[
        list[str] | None,
        typer.Option(
            "--stage",
            metavar="STAGE",
            help="Delete only the objects of this stage. Repeatable.",
            show_default=False,
        ),
    ] = None,
    records: Annotated[
        bool,
        typer.Option(
            "--records",
            help="Delete the records of executions whose objects are all deleted, instead of objects.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be deleted.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> int:
    """Delete the objects of executions that have ended.

    Selects the executions that meet all conditions; at least one is needed. Records stay: lineage,
    counts, sizes and hashes. A pruned stage cannot be replayed. These are kept: running and pinned
    executions, sources of running replays, and objects of other programs. The exit code is 1 if a named
    execution is kept, or if you do not confirm.

    `--records` deletes the messages, outputs and reports of pruned executions from the catalog, so their
    lineage is lost. The executions stay, with their counts.
    """
    from playhead.model import PruneFilter

    seconds = _seconds(older_than)
    if s.json and not (dry_run or yes):
        raise Usage("--json cannot ask for confirmation: add --dry-run or --yes")
    async with s.open() as rt:
        named = None
        if executions:
            named = [await rt.services.resolve.execution(one) for one in executions]
        with limits_of(**_OPTIONS):
            where = PruneFilter(named, config, tag, seconds, keep_last, stage or None, records)
        found = await rt.services.prune.plan(where)
        kept = found.kept_executions
        if not s.json:
            _write(found, "would be deleted" if dry_run else "to delete")
        if not dry_run:
            if found.executions and not yes:
                if found.executions > len(found.execution_ids):
                    raise Usage(f"{found.executions:,} executions are too many to confirm: add --yes")
                if not _confirmed(records):
                    output.note("Nothing was deleted")
                    return exits.FAILED
                # More executions may meet the conditions by now.
                where = PruneFilter(found.execution_ids, stages=where.stages, records=records)
            with progress.display() as shown:
                done = 0

                def deleted(count: int) -> None:
                    nonlocal done
                    done += count
                    shown.deleting(done, found.objects + found.records)

                if found.executions:
                    found = await rt.services.prune.prune(where, progress=deleted)
                    interrupted = 0
                else:
                    interrupted = await rt.services.prune.finish(progress=deleted)
            kept = max(kept, found.kept_executions)
            if interrupted:
                output.note(f"{counted(interrupted, 'interrupted prune')} continued and ended")
            if found.executions and not s.json:
                _write_end(found)
    if s.json:
        output.emit(found)
    return exits.FAILED if named and kept else exits.OK


@command("pin", example="playhead pin latest", changes=True)
async def pin(s: Session, execution: ExecutionRef) -> None:
    """Protect the objects of an execution from every prune."""
    await _pin(s, execution, True)


@command("unpin", example="playhead unpin latest", changes=True)
async def unpin(s: Session, execution: ExecutionRef) -> None:
    """End the protection of an execution."""
    await _pin(s, execution, False)


async def _pin(s: Session, execution: str, pinned: bool) -> None:
    async with s.open() as rt:
        found = await rt.services.prune.pin(await rt.services.resolve.execution(execution), pinned)
    if s.json:
        output.emit(found)
    else:
        describe(found)


def _seconds(age: str | None) -> float | None:
    if age is None:
        return None
    found = _AGE.fullmatch(age.strip())
    if found is None:
        raise Usage(f"--older-than {age!r} is not an age: write a number and a unit, such as 30d, 12h or 90m")
    return float(found[1]) * _SECONDS[found[2]]


def _write(found: Pruned, what: str) -> None:
    if found.executions:
        output.line(
            f"{_amount(found, ', without sidecars')} of {counted(found.executions, 'execution')} {what}"
        )
    else:
        output.line("Nothing to prune")
    if found.bytes_protected:
        output.line(f"{output.size(found.bytes_protected)} stay, because publications name these objects")
    if found.kept:
        from playhead.model import KEPT

        output.line(f"{counted(found.kept_executions, 'execution')} kept:")
        output.table(
            ("EXECUTION", "REASON"),
            [(one.execution_id, KEPT[one.reason]) for one in found.kept[:_MOST_SHOWN]],
        )
        if found.kept_executions > _MOST_SHOWN:
            output.line(f"… and {found.kept_executions - _MOST_SHOWN:,} more")


def _write_end(found: Pruned) -> None:
    if found.is_deleted:
        output.line(f"{_amount(found)} of {counted(found.executions, 'execution')} deleted")
    else:
        output.line(f"{_amount(found)} can no longer be read; the server deletes them in the background")


def _amount(found: Pruned, sidecars: str = "") -> str:
    if found.records:
        return counted(found.records, "record")
    return f"{counted(found.objects, 'object')} ({output.size(found.bytes)}{sidecars})"


def _confirmed(records: bool) -> bool:
    """Ask on the terminal. Raises `Usage` without a terminal."""
    if not sys.stdin.isatty():
        raise Usage("there is no terminal to ask for confirmation: add --yes, or --dry-run to only count")
    what = "Their counts stay, their lineage does not." if records else "Their records stay."
    sys.stderr.write(f"Delete them? {what} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
