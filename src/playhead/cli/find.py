"""`find` and `reindex`: one text leads to what it names and to what contains it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from playhead.cli import output
from playhead.cli.command import command
from playhead.cli.session import Session
from playhead.model import Found, FoundKind
from playhead.wording import coverage_of

if TYPE_CHECKING:
    from playhead.services.find import FindService

_CATCH_UP_SECONDS: Final = 10.0


@command("find", example="playhead find report.pdf")
async def find(
    s: Session,
    text: Annotated[
        str,
        typer.Argument(
            metavar="TEXT",
            help="A part of a path, an attribute, a reason, an error or the type of an adapter; an id or its "
            "last digits, a tag, the key of an object, or the name of a config, route, queue or stage. It "
            "may be a URL, or contain ids.",
        ),
    ],
    kind: Annotated[FoundKind | None, typer.Option("--kind", help="Only this kind.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=100, metavar="N", help="List at most N of each kind.")
    ] = 20,
) -> None:
    """Find what a text names, and what contains it.

    Exact matches are listed first, then the newest. For an id that does not exist, similar ids are listed.
    """
    async with s.open() as rt:
        if rt.here:
            await _catch_up(rt.here.services.find)
        found = await rt.services.find.everything(text, kind, limit)
    if s.json:
        output.emit(found)
        return
    output.table(
        ("KIND", "ID", "MATCH", "OUTCOME", "TITLE"),
        [
            (one.kind, one.id, "exact" if one.is_exact else "similar", _outcome(one), one.title)
            for group in found.groups
            for one in group.items
        ],
    )
    if not found.groups:
        output.note("Nothing found")
    for group in found.groups:
        if group.has_more:
            output.note(f"There are more of the kind {group.kind}: use a longer text, or --limit")
    if note := coverage_of(found.search):
        output.note(note)


@command("reindex", example="playhead reindex", only_here="run it on a machine that can reach the catalog")
async def reindex(s: Session) -> None:
    """Build the index of `find` again.

    Nothing else changes. Meanwhile, `find` finds what is indexed already.
    """
    from playhead.bootstrap import open_runtime

    s.tell_of_settings()
    async with open_runtime(s.settings) as here:
        find = here.services.find
        await find.clear_index()
        while await find.index():
            pass
        search = (await find.everything("-", limit=1)).search
    if s.json:
        output.emit(search)
    else:
        output.line(coverage_of(search) or f"{search.indexed:,} objects are indexed")


async def _catch_up(find: FindService) -> None:
    """Index what is not indexed yet, for a limited time: without a server, no process may have done it."""
    until = time.monotonic() + _CATCH_UP_SECONDS
    while await find.index():
        if time.monotonic() > until:
            return


def _outcome(found: Found) -> str:
    """Return the outcome of an object, and whether readers see it."""
    current = {True: "current", False: "not current", None: ""}[found.is_current]
    return ", ".join(filter(None, (found.outcome, current)))
