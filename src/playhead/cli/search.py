"""`search`: query an index that a `sqlite_search` step has filled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from playhead.cli import complete, output
from playhead.cli.command import NAMES_IN_SHORT, command
from playhead.cli.session import Session

if TYPE_CHECKING:
    from uuid import UUID

    from playhead.model import SearchHit


@command("search", example='playhead search search.db "replay a stage" --limit 3')
async def search(
    s: Session,
    index: Annotated[
        str, typer.Argument(metavar="INDEX", help="The `path` in the config of the sqlite_search step.")
    ],
    words: Annotated[
        list[str], typer.Argument(metavar="WORD", help="Words to search for; a hit has at least one of them.")
    ],
    execution: Annotated[
        str | None,
        typer.Option(
            "--execution",
            metavar="EXECUTION",
            autocompletion=complete.execution,
            help=f"Search the entries of this execution or publication: {NAMES_IN_SHORT}.  "
            "[default: what is published, or else the newest entries of each document]",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=output.MAX_PAGE, metavar="N", help="List at most N.")
    ] = 10,
) -> None:
    """Search an index; the best hits come first."""
    from playhead.ids import parse_uuid

    identity = parse_uuid(execution) if execution else None
    if s.server is None and (identity or not execution):
        hits = await _search_here(s, index, " ".join(words), identity, limit)
    else:
        async with s.open() as rt:
            identity = await rt.services.resolve.execution(execution) if execution else None
            hits = await rt.services.search.search(index, " ".join(words), identity, limit)
    if s.json:
        output.emit_list(hits)
        return
    for hit in hits:
        output.line(f"{hit.key}  {hit.title}".rstrip())
        output.line("    " + " ".join(hit.snippet.split()))
    if not hits:
        output.note("Nothing found")


async def _search_here(
    s: Session, index: str, words: str, execution: UUID | None, limit: int
) -> list[SearchHit]:
    """Query an index on this machine. It is a file, so no backend is needed."""
    from playhead.bootstrap import searching, shown_in_index
    from playhead.cli import logs

    s.tell_of_settings()
    logs.set_up(s.settings)
    hits = await searching(s.settings).search(index, words, execution, limit)
    for dataset, n in shown_in_index(s.settings, index) if execution is None else ():
        output.note(f"Publication {n} of {dataset}")
    return hits
