"""`lineage`: the messages above and below an object or a message, across replays."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple

import typer

from playhead.cli import complete, output
from playhead.cli.command import NAMES_IN_SHORT, Cursor, Limit, command
from playhead.cli.session import Session, Usage

if TYPE_CHECKING:
    from uuid import UUID

    from playhead.cli.deployment import AnyLineage
    from playhead.model import ChainLink


Direction = Literal["up", "down", "both"]
_MOST_BELOW: Final = 100_000


class Origin(NamedTuple):
    """A message at which a chain starts, and its distance from the requested object or message."""

    message: UUID
    direction: Direction
    distance: int = 0


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

    Lists the messages that led to it and those that resulted from it, also across replays.
    """
    if up and down:
        raise Usage("--up and --down cannot be combined; without either, both directions are shown")
    from playhead.services.resolve import is_id

    direction: Direction = "up" if up else "down" if down else "both"
    async with s.open() as rt:
        lineage = rt.services.lineage
        names = rt.services.resolve
        if is_id(what):
            its = await names.execution(execution) if execution else None
            origins = [Origin(await names.message(what, its), direction)]
        else:
            what = await names.key(what)
            origins = await _origins(lineage, what, direction)
        if cursor and len(origins) != 1:
            raise Usage(f"{what} has several messages: --cursor needs the correlation id of one")
        # Several messages may have read the object. A message to which several chains lead is shown once.
        links: dict[UUID, ChainLink] = {}
        rest = None
        for origin in origins:
            chain_of = partial(lineage.chain, origin.message, origin.direction)
            found, rest = await output.gather(chain_of, cursor, limit)
            for link in (replace(link, distance=link.distance + origin.distance) for link in found):
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
    if not chain:
        output.note(f"No message took {what}")
    for link in chain:
        _write(link, asked=link.distance == 0)
    output.more(rest)


async def _origins(lineage: AnyLineage, key: str, direction: Direction) -> list[Origin]:
    """Return the messages at which the chains of an object start: its producer and its readers.

    The chain below the producer would include readers of its other outputs.
    """
    messages = await lineage.of_object(key)
    if any(message.input_key == key for message in messages):
        return [Origin(message.correlation_id, direction) for message in messages]
    origins = []
    for message in messages:
        maker = message.correlation_id
        if direction != "down":
            origins.append(Origin(maker, "up"))
        if direction != "up":
            below, _ = await output.gather(partial(lineage.chain, maker, "down"), None, _MOST_BELOW)
            takers = [link.correlation_id for link in below if link.distance == 1 and link.input_key == key]
            origins += [Origin(taker, "down", 1) for taker in takers]
    return origins


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
    if link.skip_reason:
        output.line(f"      {link.skip_reason}")
    if link.error:
        output.line(f"      {link.error.code}: {link.error.message}")
