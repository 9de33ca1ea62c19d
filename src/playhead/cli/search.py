"""`search`: ask an index that a `sqlite_search` step has filled."""

from __future__ import annotations

from typing import Annotated

import typer

from playhead.cli import output
from playhead.cli.command import command
from playhead.cli.session import Session


@command("search", example='playhead search search.db "replay a stage" --limit 3')
async def search(
    s: Session,
    index: Annotated[
        str, typer.Argument(metavar="INDEX", help="The `path` of the sqlite_search step, as in its config.")
    ],
    words: Annotated[list[str], typer.Argument(metavar="WORD", help="What to look for; any of them.")],
    execution: Annotated[
        str | None,
        typer.Option(
            "--execution",
            metavar="EXECUTION",
            help="What this execution indexed.  [default: the newest in the index]",
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, metavar="N", help="At most N.")] = 10,
) -> None:
    """Search an index, best first."""
    from playhead.bootstrap import search_index

    identity = None
    if execution:
        async with s.open() as rt:
            identity = await rt.services.browse.resolve(execution)
    hits = search_index(s.settings, index, " ".join(words), execution=identity, limit=limit)
    if s.json:
        output.emit_list(hits)
        return
    for hit in hits:
        output.line(f"{hit.key}  {hit.title}".rstrip())
        output.line("    " + " ".join(hit.snippet.split()))
    if not hits:
        output.note("Nothing found")
