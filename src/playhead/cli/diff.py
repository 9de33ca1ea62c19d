"""`diff`: what differs between the outputs of two executions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from playhead.cli import complete, difftexts, exits, output
from playhead.cli.command import NAMES, Cursor, Limit, command
from playhead.cli.session import Session, Usage
from playhead.model import DiffBy, DiffFilter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playhead.model import Diff, DiffObject

_DIFFERENT = ("changed", "added", "missing")
_HEADINGS = {"bytes_a": "BYTES IN A", "bytes_b": "BYTES IN B"}


@command("diff", example="playhead diff latest latest:replay")
async def diff(
    s: Session,
    execution: Annotated[
        str,
        typer.Argument(metavar="A", help=f"The first execution: {NAMES}.", autocompletion=complete.execution),
    ],
    other: Annotated[
        str,
        typer.Argument(
            metavar="B",
            help="The second execution, such as a replay of A.",
            autocompletion=complete.execution,
        ),
    ],
    stage: Annotated[
        str | None,
        typer.Argument(
            metavar="STAGE[/PATH]",
            help="Only this stage, or a folder or an object in it.  [default: all stages]",
            autocompletion=complete.stage,
        ),
    ] = None,
    objects: Annotated[
        bool, typer.Option("--objects", help="List the objects that differ, instead of counts.")
    ] = False,
    text: Annotated[
        bool,
        typer.Option(
            "--text",
            help="Print how the texts of these objects differ, in the unified format: objects up to "
            f"{difftexts.MOST_BYTES:,} bytes, and {difftexts.MOST_LINES} lines of each.",
        ),
    ] = False,
    state: Annotated[
        DiffFilter | None,
        typer.Option("--state", help="With --objects: list the objects in this state.  [default: different]"),
    ] = None,
    by: Annotated[
        DiffBy,
        typer.Option(
            "--by",
            help="`content`: pair objects that were made from the same object by their content first, so "
            "that an inserted part is one addition, and the parts after it have moved.",
        ),
    ] = "path",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> int:
    """Compare the outputs of two executions.

    Counts what is the same, changed, added or missing in B. Objects with the same stage and path are compared
    by their SHA-256. An object is not produced, and neither missing nor added, if the execution that lacks it
    is a replay that had no reason to produce it. The exit code is 1 if objects are changed, added or missing;
    with --objects, if any such object is listed.
    """
    if text and (objects or state):
        raise Usage("--text cannot be combined with --objects or --state: it prints the objects that differ")
    if not (objects or text) and (state or cursor):
        raise Usage("--state needs --objects, and --cursor needs --objects or --text")
    async with s.open() as rt:
        names, service = rt.services.resolve, rt.services.diff
        first, second = await names.execution(execution), await names.execution(other)
        if not (objects or text):
            found = await service.summary(first, second, stage, by=by)
            if s.json:
                output.emit(found)
            else:
                _write(found, by)
            return exits.FAILED if found.totals.differ else exits.OK
        items, rest = await output.gather(
            lambda c, n: service.objects(first, second, stage, state or "different", None, c, n, by=by),
            cursor,
            limit,
        )
        texts = [await difftexts.difference(rt, one) for one in items] if text else []
    if s.json:
        shown = [difftexts.as_json(*one) for one in zip(items, texts, strict=True)] if text else items
        output.emit_list(shown, rest)
    elif text:
        for lines in texts:
            output.block("\n".join(line.removesuffix("\r") for line in lines))
        output.more(rest)
    else:
        _write_objects(items)
        output.more(rest)
    return exits.FAILED if any(item.state in _DIFFERENT for item in items) else exits.OK


def _write(found: Diff, by: DiffBy) -> None:
    names = ["same", "changed", "moved", "added", "missing", "not_produced", "bytes_a", "bytes_b"]
    if by == "path":
        names.remove("moved")
    headings = ("STAGE", *(_HEADINGS.get(one, one.replace("_", " ").upper()) for one in names))
    rows = [(one.stage, *(getattr(one, name) for name in names)) for one in found.stages]
    if len(rows) > 1:
        rows.append(("total", *(getattr(found.totals, name) for name in names)))
    output.table(headings, rows)
    if not found.is_complete:
        output.note("Not all of them have ended: objects may follow")


def _write_objects(items: Sequence[DiffObject]) -> None:
    output.table(
        ("STATE", "SIZE IN A", "SIZE IN B", "OBJECT"),
        [
            (
                item.state.replace("_", " "),
                item.a.size if item.a else None,
                item.b.size if item.b else None,
                f"{item.stage}/{item.path}",
            )
            for item in items
        ],
    )
