"""`find`: one text leads to what it names."""

from __future__ import annotations

from typing import Annotated

import typer

from playhead.cli import output
from playhead.cli.command import command
from playhead.cli.session import Session


@command("find", example="playhead find 7f3a91c2")
async def find(
    s: Session,
    text: Annotated[
        str,
        typer.Argument(
            metavar="TEXT",
            help="An id or its last digits, a tag, the key of an object or its beginning, or the name of a "
            "config, route, queue or stage. It may be a URL, or contain ids.",
        ),
    ],
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, metavar="N", help="List at most N.")] = 20,
) -> None:
    """Find what a text names, exact matches first.

    Names that begin with the text follow. For an id that does not exist, similar ids are listed.
    """
    async with s.open() as rt:
        found = await rt.services.find.find(text, limit)
    if s.json:
        output.emit_list(found)
        return
    output.table(
        ("KIND", "ID", "MATCH", "TITLE"),
        [(one.kind, one.id, "exact" if one.is_exact else "similar", one.title) for one in found],
    )
    if not found:
        output.note("Nothing found")
