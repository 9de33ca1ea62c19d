"""`lineage`: which message came from which, up and down, across replays."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from playhead.cli import output
from playhead.cli.command import Cursor, Limit, command
from playhead.cli.session import Session, Usage
from playhead.ids import parse_uuid

if TYPE_CHECKING:
    from uuid import UUID

    from playhead.model import ChainLink


@command(
    "lineage", example="playhead lineage 0198c2a4-7d10-7c3e-8f00-5a1b2c3d4e5f/segments/page/0001.md --up"
)
async def lineage(
    s: Session,
    what: Annotated[
        str,
        typer.Argument(metavar="KEY|CORRELATION_ID", help="An object's whole key, or the id of a message."),
    ],
    up: Annotated[bool, typer.Option("--up", help="Only where it came from.")] = False,
    down: Annotated[bool, typer.Option("--down", help="Only what came of it.")] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> None:
    """Show what an object or a message came from.

    And what came of it, in this execution and in replays.
    """
    if up and down:
        raise Usage("--up and --down can't go together; both is what you get without either")
    direction: Literal["up", "down", "both"] = "up" if up else "down" if down else "both"
    async with s.open() as rt:
        browse = rt.services.browse
        identity = parse_uuid(what)
        if identity:
            origins = [identity]
        else:
            origins = [message.correlation_id for message in await browse.lineage_of_object(what)]
        if cursor and len(origins) != 1:
            raise Usage(f"{len(origins)} messages took {what}: --cursor needs the correlation id of one")
        # An input may have been taken by several messages; what they share is shown once.
        links: dict[UUID, ChainLink] = {}
        rest = None
        for origin in origins:
            found, rest = await output.gather(partial(browse.chain, origin, direction), cursor, limit)
            for link in found:
                known = links.get(link.correlation_id)
                if known is None or abs(link.distance) < abs(known.distance):
                    links[link.correlation_id] = link
    # With a limit, the nearest.
    nearest = sorted(links.values(), key=lambda link: (abs(link.distance), link.correlation_id))[:limit]
    chain = sorted(nearest, key=lambda link: (link.distance, link.correlation_id))
    if len(origins) != 1:
        rest = None
        if len(chain) == limit:
            output.note(f"There may be more than the nearest {limit}: a higher --limit, or --up or --down")
    if s.json:
        output.emit_list(chain, rest)
        return
    for link in chain:
        _write(link, asked=link.distance == 0)
    output.more(rest)


def _write(link: ChainLink, *, asked: bool) -> None:
    bond = {"self": "", "parent": "", "replay": "  (replayed)"}[link.via]
    output.line(
        f"{link.distance:+d}  {link.correlation_id}  {link.config}/{link.route}  {link.status}{bond}"
        if not asked
        else f" 0  {link.correlation_id}  {link.config}/{link.route}  {link.status}{bond}"
    )
    output.line(f"      in   {link.input_key}")
    for key in link.output_keys[:10]:
        output.line(f"      out  {key}")
    if len(link.output_keys) > 10:
        output.line(f"      … and {len(link.output_keys) - 10} more")
    if link.error:
        output.line(f"      {link.error.code}: {link.error.message}")
