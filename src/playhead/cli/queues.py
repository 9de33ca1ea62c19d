"""`queues`: what waits where."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from playhead.cli import output
from playhead.cli.command import Cursor, Limit, command
from playhead.cli.session import Session, Usage

if TYPE_CHECKING:
    from playhead.services.browse import BrowseService


@command("queues", example="playhead queues docs.segment --peek 10")
async def queues(
    s: Session,
    queue: Annotated[str | None, typer.Argument(metavar="QUEUE", help="Look into this queue.")] = None,
    peek: Annotated[
        int | None,
        typer.Option(
            "--peek", min=1, metavar="N", help="Show its first N messages, consuming none.  [default: 10]"
        ),
    ] = None,
    take: Annotated[
        int | None,
        typer.Option(
            "--take", min=1, metavar="N", help="Print and remove N messages: for routes that are `external`."
        ),
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> None:
    """List queues, or look into one."""
    if peek and take:
        raise Usage("--peek and --take can't go together: one leaves the messages, the other removes them")
    if queue is None and (peek or take):
        raise Usage("name the queue to look into: playhead queues QUEUE --peek N")
    async with s.open() as rt:
        browse = rt.services.browse
        if queue is None:
            items, rest = await output.gather(browse.routes, cursor, limit)
        elif take:
            messages = await browse.take(queue, take)
        else:
            messages = await browse.peek(queue, peek or 10)
        if queue is not None:
            await _tell_of(browse, queue, take=bool(take))
    if queue is not None:
        if s.json:
            output.emit_list(messages)
            return
        for message in messages:
            output.line(json.dumps(dict(message.payload), ensure_ascii=False))
            for name, value in message.headers.items():
                output.line(f"  {name}: {value}")
        if not messages:
            output.note(f"Nothing waits in {queue}")
        return
    if s.json:
        output.emit_list(items, rest)
        return
    output.table(
        ("QUEUE", "ROUTE", "WAITING", "IN FLIGHT", "DEAD", "WORKERS", "STAGE", "TO"),
        [
            (
                *(r.queue, f"{r.config}/{r.route}", r.queue_depth, r.in_flight, r.dead, r.workers),
                *(r.stage, ",".join(r.to)),
            )
            for r in items
        ],
    )
    output.more(rest)


async def _tell_of(browse: BrowseService, queue: str, *, take: bool) -> None:
    """Say what the list of messages can't: that nobody feeds this queue, or that it is not the taker's."""
    routes, _ = await output.gather(browse.routes, None, output.MAX_PAGE)
    of = next((route for route in routes if route.queue == queue), None)
    if of is None:
        output.note(f"No route of an active config has a queue {queue}; `playhead queues` lists them")
    elif take and of.adapters:
        output.note(
            f"{of.config}/{of.route} is worked by workers: what was taken here comes again to them. "
            "--peek looks without taking"
        )
