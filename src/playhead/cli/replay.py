"""`replay` and `replays`: send a stored stage into a route again."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID

import typer

from playhead.cli import complete, effects, executions, exits, output, plan, progress, selecting, workers
from playhead.cli.command import NAMES, NAMES_IN_SHORT, Cursor, Limit, RequireCode, Version, command
from playhead.cli.session import Session, Usage

if TYPE_CHECKING:
    from playhead.cli.deployment import AnyReplay

CONTRACT: Final = (
    *("execution_id", "from_execution_id", "from_stage", "from_path", "to_route", "to_queue"),
    *("objects_found", "objects_published", "objects_failed", "status", "replay_batch_id", "errors"),
)
"""The fields of the replay contract's answer, in its order."""


@command("replay", example="playhead replay latest markdown_converted segment --wait")
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
    include: selecting.Include = None,
    exclude: selecting.Exclude = None,
    after: selecting.After = None,
    before: selecting.Before = None,
    type_: selecting.Type = None,
    attribute: selecting.Attribute = None,
    only: selecting.OnlyOption = None,
    in_replay: selecting.InReplay = None,
    limit: selecting.First = None,
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
    require_code: RequireCode = False,
) -> int:
    """Send the objects of a stored stage into a route.

    Options select objects: those that meet all of them are replayed. Quote globs, so that the shell does not
    expand them. The replay is a new execution; its source does not change. Exit code 3 if the replay
    published only some of its objects. With --wait, exit code 1 if a message failed permanently.
    """
    import asyncio

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
    chosen = selecting.selection(
        include=include,
        exclude=exclude,
        after=after,
        before=before,
        type_=type_,
        attribute=attribute,
        only=only,
        in_replay=in_replay,
        limit=limit,
    )
    goes_on = "" if s.server else " in the next `playhead serve` or `playhead worker`"
    s.interrupted = (
        f"stopped; a replay that had started continues{goes_on}, and `{s.again('playhead replays')}` shows it"
    )
    async with s.open("plan" if dry_run else "replay") as rt:
        source = await rt.services.resolve.execution(execution) if execution else UUID(int=0)
        request = ReplayRequest(
            *(source, stage or "", path, route or "", require_code),
            plan_id=plan_id,
            selection=await selecting.within(rt, chosen, in_replay),
            config_version=version,
            effects=policy,
        )
        if dry_run:
            await plan.make(s, rt, request)
            return exits.OK
        done = await rt.services.replay.execute(request, output.warn)
        s.interrupted = f"stopped waiting; execution {done.execution_id} continues"
        steps = [f"playhead show {done.execution_id}"]
        if not wait and await workers.tell_if_missing(rt, [done.to_queue]) and rt.here:
            steps.insert(0, "playhead worker --until-idle")
        answer = {name: getattr(done, name) for name in CONTRACT}
        code = exits.PARTIAL if done.status == "partial_failure" else exits.OK
        if wait:
            with progress.display() as shown:
                stalled = partial(workers.tell_if_stalled, rt)
                try:
                    async with asyncio.timeout(timeout):
                        made = await progress.watch(rt.services.executions, done.execution_id, shown, stalled)
                except TimeoutError:
                    made = await rt.services.executions.get(done.execution_id)
            if made.status == "running":
                output.note(f"stopped waiting after {timeout:g} s; execution {done.execution_id} continues")
            answer["execution"] = made
            code = code or (exits.OK if made.status == "completed" else exits.FAILED)
    if s.json:
        output.emit(answer)
        return code
    _describe(done)
    if wait:
        output.line()
        executions.describe(made)
    executions.suggest(s, steps)
    return code


@command("replays", example="playhead replays latest")
async def replays(
    s: Session,
    execution: Annotated[
        str | None,
        typer.Argument(
            metavar="EXECUTION",
            help=f"Only replays of this execution: {NAMES_IN_SHORT}.",
            autocompletion=complete.execution,
        ),
    ] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> None:
    """List replays, newest first."""
    async with s.open() as rt:
        of = rt.services.executions
        source = await rt.services.resolve.execution(execution) if execution else None
        items, rest = await output.gather(lambda c, n: of.replays(source, c, n), cursor, limit)
    if s.json:
        output.emit_list(items, rest)
        return
    output.table(
        ("BATCH", "EXECUTION", "FROM", "STAGE", "TO", "FOUND", "PUBLISHED", "FAILED", "STATE"),
        [
            (
                *map(output.short, (r.replay_batch_id, r.execution_id, r.from_execution_id)),
                *("/".join(filter(None, (r.from_stage, r.from_path))), r.to_route),
                *(r.objects_found, r.objects_published, r.objects_failed, r.state),
            )
            for r in items
        ],
    )
    output.more(rest)


def _describe(r: AnyReplay) -> None:
    path = f"/{r.from_path}" if r.from_path else ""
    output.line(f"Replay of {r.from_execution_id}/{r.from_stage}{path} into {r.to_route}")
    output.line(f"  execution  {r.execution_id}")
    output.line(f"  batch      {r.replay_batch_id}")
    failed = f", {r.objects_failed:,} failed" if r.objects_failed else ""
    output.line(f"  published  {r.objects_published:,} of {r.objects_found:,} to {r.to_queue}{failed}")
    for error in r.errors or ():
        output.line(f"  error      {error}")
