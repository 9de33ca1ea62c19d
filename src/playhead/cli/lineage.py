"""`lineage`: the messages above and below an object or a message, across replays."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from playhead.cli import complete, output
from playhead.cli.command import NAMES_IN_SHORT, Cursor, Limit, command
from playhead.cli.session import Session, Usage
from playhead.wording import declaration_text, published_text

if TYPE_CHECKING:
    from uuid import UUID

    from playhead.cli.deployment import AnyObjects
    from playhead.model import ChainCounts, ChainLink, PublishedIn


Direction = Literal["up", "down", "both"]


@command(
    "lineage", example="playhead lineage 0198c2a4-7d10-7c3e-8f00-5a1b2c3d4e5f/segments/page/0001.md --up"
)
async def lineage(
    s: Session,
    what: Annotated[
        str,
        typer.Argument(
            metavar="KEY|CORRELATION_ID",
            help="The key of an object, such as `latest/STAGE/PATH`, or the correlation id of a message.",
        ),
    ],
    up: Annotated[bool, typer.Option("--up", help="Only the origin: the earlier messages.")] = False,
    down: Annotated[bool, typer.Option("--down", help="Only the results: the later messages.")] = False,
    counts: Annotated[
        bool,
        typer.Option("--counts", help="Only count the later messages, by route and state; at most 10,000."),
    ] = False,
    execution: Annotated[
        str | None,
        typer.Option(
            "--execution",
            metavar="EXECUTION",
            help=f"The execution of the message, if you give only the end of its id: {NAMES_IN_SHORT}.",
            autocompletion=complete.execution,
        ),
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> None:
    """Show the origin and the results of an object or a message.

    Lists the messages that led to it and those that resulted from it, also across replays. The results of an
    object begin with the messages that received it.
    """
    if up and (down or counts):
        raise Usage("--up cannot be combined with --down or --counts; without any, both directions are shown")
    from playhead.services.resolve import is_id

    direction: Direction = "up" if up else "down" if down else "both"
    of: UUID | str
    async with s.open() as rt:
        lineage, names = rt.services.lineage, rt.services.resolve
        if is_id(what):
            of = await names.message(what, await names.execution(execution) if execution else None)
        else:
            of = await names.key(what)
        links: list[ChainLink] = []
        rest = None
        if not counts:
            links, rest = await output.gather(partial(lineage.chain, of, direction), cursor, limit)
        published = await _published(rt.services.objects, of) if links and not s.json else []
        below: ChainCounts | None = None
        if counts or (rest and direction != "up" and not s.json):
            below = await lineage.counts(of)
    links.sort(key=lambda link: (link.distance, link.correlation_id))
    if s.json:
        if below:
            output.emit(below)
        else:
            output.emit_list(links, rest)
        return
    if below is None and not links:
        output.note(f"No message received {what}")
    for link in links:
        _write(link, asked=link.distance == 0)
    for one in published:
        text = published_text(one)
        output.line(text[0].upper() + text[1:])
    if below:
        _write_counts(below)
    output.more(rest)


async def _published(objects: AnyObjects, of: UUID | str) -> list[PublishedIn]:
    """Return in which publications an object is; a message is in none."""
    versions = await objects.versions(of) if isinstance(of, str) else []
    return next((one.published for one in versions if one.key == of), [])


def _write_counts(below: ChainCounts) -> None:
    more = "" if below.is_complete else " or more"
    output.line(f"{below.messages:,}{more} later messages:")
    output.table(
        ("EXECUTION", "ROUTE", "STATE", "MESSAGES"),
        [(c.execution_id, f"{c.config}/{c.route}", c.status, c.messages) for c in below.counts],
    )


def _write(link: ChainLink, *, asked: bool) -> None:
    bond = {"self": "", "parent": "", "replay": "  (replayed)"}[link.via]
    output.line(
        f"{link.distance:+d}  {link.correlation_id}  {link.config}/{link.route}  {link.status}{bond}"
        if not asked
        else f" 0  {link.correlation_id}  {link.config}/{link.route}  {link.status}{bond}"
    )
    gone = link.input_records_deleted_at
    unknown = f"  (records deleted on {output.when(gone)}: what is above is not known)" if gone else ""
    output.line(f"      in   {link.input_key}{_pruned(link.input_pruned_at)}{unknown}")
    if link.taken_over_from:
        output.line(f"      from {link.taken_over_from} (taken over)")
    elif link.status == "taken_over":
        output.line("      from a message whose records were deleted (taken over)")
    if link.declared_valid:
        output.line(f"      {declaration_text(link.declared_valid)}")
    for adapter in link.adapters:
        output.line(f"      ran  {adapter.type} {adapter.version}  {output.code(adapter.code)}")
    for key in link.output_keys[:10]:
        output.line(f"      out  {key}{_pruned(link.outputs_pruned_at)}")
    if link.output_count > 10:
        output.line(f"      … and {link.output_count - 10:,} more")
    if link.skip_reason:
        output.line(f"      {link.skip_reason}")
    if link.error:
        output.line(f"      {link.error.code}: {link.error.message}")


def _pruned(moment: str | None) -> str:
    return f"  (pruned on {output.when(moment)})" if moment else ""
