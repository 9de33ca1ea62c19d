"""`queues`: the messages in queues. `routes pause|resume`: whether workers start attempts of a route."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from playhead import times
from playhead.cli import complete, exits, output
from playhead.cli.command import Cursor, Limit, command
from playhead.cli.executions import waits
from playhead.cli.session import Session, Usage, limits_of
from playhead.errors import PlayheadError
from playhead.model import RoutePause
from playhead.terminal import visible_json
from playhead.wording import wait_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playhead.cli.deployment import AnyQueues, AnyTake
    from playhead.envelope import Message
    from playhead.model import RouteStatus


@command("queues", example="playhead queues docs.segment --peek 10", changes=True)
async def queues(
    s: Session,
    queue: Annotated[
        str | None,
        typer.Argument(
            metavar="QUEUE", help="Show the messages of this queue.", autocompletion=complete.queue
        ),
    ] = None,
    peek: Annotated[
        int | None,
        typer.Option(
            "--peek",
            min=1,
            max=output.MAX_PAGE,
            metavar="N",
            help="Show the first N messages without consuming them.  [default: 10]",
        ),
    ] = None,
    take: Annotated[
        int | None,
        typer.Option(
            "--take", min=1, metavar="N", help="Print and remove up to N messages of an external route."
        ),
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> int:
    """List queues, or show the messages of one."""
    if peek and take:
        raise Usage("--peek and --take cannot be combined: --peek leaves the messages, --take removes them")
    if queue is None and (peek or take):
        raise Usage("name the queue to look into: playhead queues QUEUE --peek N")
    async with s.open() as rt:
        queues = rt.services.queues
        if queue is not None:
            known = await _tell_of(queues, queue, take=bool(take))
            if take:
                return await _take(s, rt.services.take, queue, take)
            messages = await queues.peek(queue, peek or 10)
            if not messages and queue not in known:
                s.fail("queue_not_found", f"no queue {queue}; known: {', '.join(known) or 'none'}")
                return exits.NOT_FOUND
            _show(s, queue, messages)
            return exits.OK
        items, rest = await output.gather(queues.routes, cursor, limit)
    if s.json:
        output.emit_list(items, rest)
        return exits.OK
    output.table(
        ("QUEUE", "ROUTE", "WAITING", "IN FLIGHT", "RETRYING", "DEAD", "WORKERS", "STAGE", "TO"),
        [
            (
                *(r.queue, f"{r.config}/{r.route}", r.queue_depth, r.in_flight, r.retrying),
                *(r.dead, r.workers),
                *(r.stage, ",".join(r.to)),
            )
            for r in items
        ],
    )
    waits(items)
    output.more(rest)
    return exits.OK


RouteRef = Annotated[
    str,
    typer.Argument(metavar="CONFIG/ROUTE", help="Route of an active config.", autocompletion=complete.route),
]


@command("pause", example='playhead routes pause docs/index --reason "no quota" --for 2h', changes=True)
async def pause(
    s: Session,
    route: RouteRef,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why.")],
    duration: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="TIME",
            help="For how long, such as 90s, 30m or 2h.  [default: until resumed]",
        ),
    ] = None,
) -> None:
    """Pause a route.

    Its messages stay in the queue, and workers start no attempt of it. They notice it within a second.
    Attempts that run then finish.
    """
    config, name = _parts(route)
    try:
        seconds = None if duration is None else times.duration(duration)
    except ValueError as exc:
        raise Usage(f"--for {duration!r} {exc}") from None
    with limits_of(seconds="--for"):
        wanted = RoutePause(reason, seconds)
    async with s.open() as rt:
        shown = await rt.services.queues.pause(config, name, wanted)
    _print_route(s, shown)


@command("resume", example="playhead routes resume docs/index", changes=True)
async def resume(s: Session, route: RouteRef) -> None:
    """Resume a paused route."""
    config, name = _parts(route)
    async with s.open() as rt:
        shown = await rt.services.queues.resume(config, name)
    _print_route(s, shown)


def _parts(route: str) -> tuple[str, str]:
    config, _, name = route.partition("/")
    if not name:
        raise Usage(f"{route!r} is not a route of a config; write CONFIG/ROUTE, such as docs/index")
    return config, name


def _print_route(s: Session, one: RouteStatus) -> None:
    if s.json:
        output.emit(one)
        return
    state = wait_text(one.wait) if one.wait else "is not paused"
    output.line(
        f"{one.config}/{one.route} {state}; {output.counted(one.queue_depth, 'message')} in {one.queue}"
    )


async def _take(s: Session, taking: AnyTake, queue: str, most: int) -> int:
    """Print messages, then remove them. If this is interrupted in between, they are delivered again."""
    messages: list[Message] = []
    receipts: list[str] = []
    while len(messages) < most:
        taken = await taking.take(queue, most - len(messages))
        if taken.receipt is None:
            break
        messages += taken.items
        receipts.append(taken.receipt)
    _show(s, queue, messages)
    # Written before the messages are removed: a killed process loses its buffers.
    with output.stdout() as stdout:
        stdout.flush()
    for receipt in receipts:
        try:
            await taking.remove(queue, receipt)
        except PlayheadError as exc:
            # With --json the document is written; a second one would make the output unreadable.
            output.note(f"Error ({exc.code}): not all messages were removed: {exc.detail}")
            return exits.exit_code(exc)
    return exits.OK


def _show(s: Session, queue: str, messages: Sequence[Message]) -> None:
    if s.json:
        output.emit_list(messages)
        return
    for message in messages:
        output.line(visible_json(json.dumps(dict(message.payload), ensure_ascii=False)))
        for name, value in message.headers.items():
            output.line(f"  {name}: {value}")
    if not messages:
        output.note(f"No messages in {queue}")


async def _tell_of(queues: AnyQueues, queue: str, *, take: bool) -> list[str]:
    """Warn if no route feeds this queue, or if workers consume it. Returns the queues of active configs."""
    routes, _ = await output.gather(queues.routes, None, output.MAX_PAGE)
    of = next((route for route in routes if route.queue == queue), None)
    if of is None:
        output.note(f"No route of an active config has a queue {queue}; `playhead queues` lists them")
    elif take and of.adapters:
        output.note(
            f"workers process {of.config}/{of.route}: messages taken here are delivered to them again. "
            "Use --peek to look without taking"
        )
    return [route.queue for route in routes]
