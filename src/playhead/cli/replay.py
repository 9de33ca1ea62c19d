"""`replay`: send a stored stage into a route again."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from uuid import UUID

import typer

from playhead import wording
from playhead.cli import (
    canary,
    complete,
    effects,
    executions,
    exits,
    output,
    plan,
    progress,
    replays,
    selecting,
    workers,
)
from playhead.cli.command import NAMES, RequireCode, Version, command
from playhead.cli.session import Session, Usage, limits_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from playhead.cli.deployment import AnyReplay, Deployment
    from playhead.model import ReplayPublication, ReplayRequest
    from playhead.ports.catalog.jobs import Opened

_LOOK_SECONDS: Final = 0.25
_PATIENCE_SECONDS: Final = 5.0
CONTRACT: Final = (
    *("execution_id", "from_execution_id", "from_stage", "from_path", "to_route", "to_queue"),
    *("objects_found", "objects_published", "objects_failed", "status", "replay_batch_id", "errors"),
)
"""The fields of the replay contract's answer, in its order."""


@command(
    "replay",
    example="playhead replay latest markdown_converted segment --wait",
    options=selecting.OPTIONS,
    changes=True,
)
async def replay(
    s: Session,
    execution: Annotated[
        str | None,
        typer.Argument(
            metavar="EXECUTION",
            help=f"{NAMES[0].upper()}{NAMES[1:]}. Left out with --plan, like STAGE and ROUTE.",
            autocompletion=complete.execution,
        ),
    ] = None,
    stage: Annotated[
        str | None,
        typer.Argument(
            metavar="STAGE",
            help="The stage to replay; `input` contains the inputs of the run.",
            autocompletion=complete.stage,
        ),
    ] = None,
    route: Annotated[
        str | None,
        typer.Argument(
            metavar="ROUTE",
            help="The target route: ROUTE or CONFIG/ROUTE.",
            autocompletion=complete.route,
        ),
    ] = None,
    path: selecting.Path = None,
    version: Version = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until workers have finished the new execution.")
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=0,
            help="With --wait: stop waiting after this time. Exit code 1; the execution continues.",
        ),
    ] = None,
    effect: effects.Effects = None,
    plan_id: Annotated[
        UUID | None,
        typer.Option(
            "--plan",
            metavar="ID",
            help="Publish exactly the objects of this plan, or nothing if one is gone or has changed.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only make a plan, like `playhead plan`.")
    ] = False,
    first: canary.Objects = None,
    max_failed: canary.MaxFailed = None,
    seed: canary.Seed = None,
    pause_if: canary.PauseIf = None,
    of_last: canary.OfLast = None,
    rate: replays.Rate = None,
    queue_depth: replays.QueueDepth = None,
    priority: Annotated[
        Literal["normal", "bulk"] | None,
        typer.Option(
            "--priority",
            help="The level of its messages in their queues (default: normal up to 1,000 objects).",
        ),
    ] = None,
    reason: Annotated[
        str | None,
        typer.Option("--reason", metavar="TEXT", help="Why it is replayed."),
    ] = None,
    webhook: Annotated[
        str | None,
        typer.Option("--webhook", metavar="URL", help="Send the events of the replay to this URL."),
    ] = None,
    publish: Annotated[
        bool,
        typer.Option(
            "--publish",
            help="When all messages have ended, publish it in the dataset of ROUTE, if none has failed.",
        ),
    ] = False,
    reuse: Annotated[
        bool,
        typer.Option(
            "--reuse",
            help="Take over earlier results for items that are the same, in the routes that follow too.",
        ),
    ] = False,
    others_valid: plan.OthersValid = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Record the replay and return; other processes publish it.")
    ] = False,
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            metavar="K",
            help="Your own key: the same command with the same key starts no second replay.",
        ),
    ] = None,
    require_code: RequireCode = False,
    allow_old_code: Annotated[
        bool,
        typer.Option(
            "--allow-old-code",
            help="Start also if workers have outdated or different code; otherwise such a replay is refused.",
        ),
    ] = False,
    **chosen: Any,
) -> int:
    """Send the objects of a stored stage into a route.

    Options select objects: those that meet all of them are replayed. Quote globs, so that the shell does not
    expand them. The replay is a new execution; its source does not change. Exit code 3 if the replay
    published only some of its objects, or was paused or cancelled meanwhile. With --wait, exit code 1 if a
    message failed permanently.
    """
    from playhead.ids import uuid7
    from playhead.model import ReplayRequest

    if plan_id is None:
        for name, given in (("EXECUTION", execution), ("STAGE", stage), ("ROUTE", route)):
            if not given:
                raise Usage(f"{name} is missing or empty: name EXECUTION, STAGE and ROUTE, or --plan ID")
    elif dry_run:
        raise Usage("--dry-run makes a new plan; it cannot be combined with --plan")
    policy = effects.by_route(effect)
    if timeout is not None and not wait:
        raise Usage("--timeout limits how long --wait waits; add --wait")
    if detach and wait:
        raise Usage("--detach cannot be combined with --wait")
    pace = replays.pace_of(rate, queue_depth)
    selection = selecting.selection(**chosen)
    with limits_of():
        request = ReplayRequest(
            *(UUID(int=0), stage or "", path, route or "", require_code, allow_old_code),
            plan_id=plan_id,
            selection=selection,
            config_version=version,
            effects=policy,
            pace=pace,
            canary=canary.canary_of(first, max_failed, seed),
            pause_if=canary.guard_of(pause_if, of_last),
            priority=priority,
            reason=reason,
            webhook=webhook,
            publish=publish or None,
            reuse=reuse or None,
            others_valid=others_valid or None,
            # Always a key: a request whose answer is lost can then be repeated.
            key=str(uuid7()) if key is None else key,
        )
    # The code of the adapters here decides which results may be taken over.
    needs_adapters = reuse or others_valid or selecting.needs_adapters(selection)
    kind = "plan" if dry_run else None if detach else "replay"
    async with s.open(kind, checks_configs=needs_adapters) as rt:
        if execution:
            source = await rt.services.resolve.execution(execution)
            selection = await selecting.within(rt, selection, chosen["in_replay"])
            request = replace(request, from_execution_id=source, selection=selection)
        if dry_run:
            await plan.make(s, rt, request)
            return exits.OK
        if detach:
            return await _detach(s, rt, request)
        return await _publish(s, rt, request, wait=wait, timeout=timeout)


async def _detach(s: Session, rt: Deployment, request: ReplayRequest) -> int:
    """Record a replay, which other processes publish."""
    opened = await rt.services.replay.create(request, output.warn)
    _tell_if_repeated(opened)
    found = await rt.services.executions.replay(opened.replay.replay_batch_id)
    if found.status is None and rt.here:
        await workers.tell_if_no_publisher(rt)
    if s.json:
        output.emit(found)
        return exits.OK
    replays.describe(found)
    executions.suggest(s, [f"playhead replays watch {found.replay_batch_id}"])
    return exits.OK


async def _publish(
    s: Session, rt: Deployment, request: ReplayRequest, *, wait: bool, timeout: float | None
) -> int:
    """Publish a replay, and show its progress. With `wait`, also until its messages are processed."""
    import asyncio

    goes_on = "" if s.server else " in the next `playhead serve` or `playhead worker`"
    source = f" {request.from_execution_id}" if request.from_execution_id.int else ""
    s.interrupted = f"stopped; a replay that had started continues{goes_on}. To list it: " + s.again(
        f"playhead replays{source}"
    )
    with progress.display() as shown:
        watching: list[asyncio.Task[None]] = []

        def started(opened: Opened) -> None:
            batch = opened.replay.replay_batch_id
            s.interrupted = f"stopped; the replay continues{goes_on}. To watch it: " + s.again(
                f"playhead replays watch {batch}"
            )
            _tell_if_repeated(opened)
            look = progress.watch_publishing(rt.services, batch, shown)
            watching.append(asyncio.create_task(look))

        try:
            done = await rt.services.replay.execute(request, output.warn, started)
        finally:
            for task in watching:
                task.cancel()
        batch = done.replay_batch_id
        steps = [f"playhead show {done.execution_id}"]
        answer = {name: getattr(done, name) for name in CONTRACT}
        code = exits.PARTIAL if done.status == "partial_failure" else exits.OK
        # Of a paused replay, the messages never end.
        is_paused = bool(code) and (await rt.services.executions.replay(batch)).state == "paused"
        if is_paused:
            steps = [f"playhead replays resume {batch}"]
        elif not wait and await workers.tell_if_missing(rt, [done.to_queue]) and rt.here:
            steps.insert(0, "playhead worker --until-idle")
        if not (s.json or is_paused or request.publish):
            config = (await rt.services.executions.get(done.execution_id)).config
            every = await rt.services.publish.datasets()
            named = [wording.address_of(one.config, one.name, every) for one in every if one.config == config]
            steps += [f"playhead publish {name} {done.execution_id} --dry-run" for name in named]
        made = None
        if wait and not is_paused:
            s.interrupted = f"stopped waiting; execution {done.execution_id} continues"
            stalled = partial(workers.tell_if_stalled, rt)
            try:
                async with asyncio.timeout(timeout):
                    made = await progress.watch(rt.services, done.execution_id, shown, stalled)
            except TimeoutError:
                made = await rt.services.executions.get(done.execution_id)
    published: list[ReplayPublication] = []
    if request.publish:
        published = await _publications(rt, batch, waits=made is not None and made.status != "running")
        answer["publications"] = published
        code = code or _code_of(published)
    if made is not None:
        if made.status == "running":
            output.note(f"stopped waiting after {timeout:g} s; execution {done.execution_id} continues")
        answer["execution"] = made
        code = code or (exits.OK if made.status == "completed" else exits.FAILED)
    if s.json:
        output.emit(answer)
        return code
    _describe(done)
    for one in published:
        output.line(f"  publish    {wording.publication_text(one)}")
    if made is not None:
        output.line()
        executions.describe(made)
    executions.suggest(s, steps)
    return code


async def _publications(rt: Deployment, batch: UUID, *, waits: bool) -> list[ReplayPublication]:
    """Return the publications of a replay; with `waits`, as soon as they are decided or refused.

    One that cannot begin now, because another one is being prepared, is not waited for.
    """
    import asyncio

    patience = _PATIENCE_SECONDS
    while True:
        found = (await rt.services.executions.replay(batch)).publications
        states = {one.state for one in found}
        if not waits or not states & {"due", "preparing"} or ("preparing" not in states and patience <= 0):
            return found
        await asyncio.sleep(_LOOK_SECONDS)
        patience -= _LOOK_SECONDS


def _code_of(published: Sequence[ReplayPublication]) -> int:
    if any(one.state in ("refused", "cancelled") for one in published):
        return exits.FAILED
    return exits.OK


def _tell_if_repeated(opened: Opened) -> None:
    if not opened.fresh:
        which = "this key" if opened.replay.plan_id is None else "this plan or this key"
        output.note(f"A request with {which} has started replay {opened.replay.replay_batch_id} already")


def _describe(r: AnyReplay) -> None:
    path = f"/{r.from_path}" if r.from_path else ""
    output.line(f"Replay of {r.from_execution_id}/{r.from_stage}{path} into {r.to_route}")
    output.line(f"  execution  {r.execution_id}")
    output.line(f"  batch      {r.replay_batch_id}")
    failed = f", {r.objects_failed:,} not published" if r.objects_failed else ""
    output.line(f"  published  {r.objects_published:,} of {r.objects_found:,} to {r.to_queue}{failed}")
    for error in r.errors or ():
        output.line(f"  error      {error}")
