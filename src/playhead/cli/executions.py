"""`executions`, `show`, `stages`, `cancel`: the state of runs and replays, and how to stop one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from playhead import wording
from playhead.cli import complete, output
from playhead.cli.command import NAMES_IN_SHORT, Cursor, ExecutionRef, Limit, command
from playhead.cli.output import counted, when
from playhead.cli.progress import described
from playhead.cli.selecting import check_times
from playhead.cli.session import Session
from playhead.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from playhead.cli.deployment import Deployment
    from playhead.model import (
        Counts,
        DeadLetter,
        Execution,
        Lineage,
        PrunedStage,
        RouteCode,
        RouteCounts,
        RouteStatus,
        StageSummary,
        StageTotal,
    )

MESSAGES_SHOWN = 10


@command("executions", example="playhead executions --status failed --config docs")
async def executions(
    s: Session,
    status: Annotated[
        Literal["running", "completed", "failed", "cancelled"] | None,
        typer.Option("--status", help="Only executions with this status."),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            metavar="NAME",
            help="Only executions of this config.",
            autocompletion=complete.config,
        ),
    ] = None,
    kind: Annotated[
        Literal["run", "replay", "adopted", "publication"] | None,
        typer.Option("--kind", help="Only executions of this kind."),
    ] = None,
    tag: Annotated[
        str | None,
        typer.Option(
            "--tag",
            metavar="T",
            help="Only executions with this tag.",
            autocompletion=complete.tag,
        ),
    ] = None,
    parent: Annotated[
        str | None,
        typer.Option(
            "--parent",
            metavar="EXECUTION",
            help=f"Only replays of this execution: {NAMES_IN_SHORT}.",
            autocompletion=complete.execution,
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Only executions created at TIME or later: 2026-01-31T18:00:00Z, -24h, -7d.",
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Only executions created before TIME.")
    ] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> None:
    """List runs and replays, newest first."""
    check_times(since=since, until=until)
    from playhead.ports.catalog.browse import ExecutionFilter

    async with s.open() as rt:
        executions = rt.services.executions
        source = await rt.services.resolve.execution(parent) if parent else None
        where = ExecutionFilter(status, config, kind, tag, source, since, until)
        items, rest = await output.gather(lambda c, n: executions.list(where, c, n), cursor, limit)
    if s.json:
        output.emit_list(items, rest)
        return
    has_kept = any(e.pinned or e.pruned for e in items)
    output.table(
        (
            *("EXECUTION", "KIND", "STATUS", "CONFIG", "CREATED", "DONE", "FAILED", "TO GO", "TAGS"),
            *["OBJECTS"] * has_kept,
        ),
        [
            (
                *(e.execution_id, e.kind, e.status, config_of(e), when(e.created_at)),
                *(e.counts.completed, e.counts.failed, e.counts.pending, ",".join(e.tags)),
                *[_objects_of(e)] * has_kept,
            )
            for e in items
        ],
    )
    output.more(rest)


@command("show", example="playhead show latest")
async def show(s: Session, execution: ExecutionRef = "latest") -> None:
    """Show the state of one execution.

    Prints counts by route, the stored stages, failed and skipped messages with the reasons, and commands to
    try next.
    """
    from playhead.ports.catalog.browse import DeadLetterFilter

    async with s.open() as rt:
        executions = rt.services.executions
        try:
            found = await executions.get(await rt.services.resolve.execution(execution))
        except NotFound as exc:
            if "/" not in execution:
                raise
            advice = f"To show an object: playhead lineage {execution}, or playhead cat {execution}"
            raise NotFound(exc.code, f"{exc.detail}. {advice}") from exc
        identity = found.execution_id
        has_records = found.kind != "adopted" and not found.records_deleted_at
        code = await executions.code(identity) if has_records else []
        mixed = [one for one in code if len(one.codes) > 1]
        if s.json:
            output.emit(output.plain(found) | {"mixed_code": mixed})
            return
        routes, stages, dead, skipped = [], await executions.stages(identity), [], []
        if found.kind != "adopted":
            routes = await executions.route_counts(identity)
        if has_records:
            if found.counts.failed:
                failed = DeadLetterFilter(identity)
                dead = (await rt.services.queues.dead_letters(failed, limit=MESSAGES_SHOWN)).items
            skipped = (
                await rt.services.lineage.list(execution=identity, status="skipped", limit=MESSAGES_SHOWN + 1)
            ).items
        steps = await next_steps(rt, found, stages)
    describe(found)
    _mixed_code(mixed)
    _details(routes, stages, found.counts.failed, dead)
    _skipped(skipped)
    suggest(s, steps)


@command("stages", example="playhead stages latest")
async def stages(s: Session, execution: ExecutionRef) -> None:
    """List the stages of an execution."""
    async with s.open() as rt:
        identity = await rt.services.resolve.execution(execution)
        found = await rt.services.executions.stages(identity)
        if any(one.objects == 0 for one in found):
            await note_pruned(rt, identity)
    if s.json:
        output.emit_list(found)
    else:
        _stages(found)


@command("cancel", example="playhead cancel latest", changes=True)
async def cancel(s: Session, execution: ExecutionRef) -> None:
    """Cancel a running execution.

    When this command returns, no further attempt of the execution starts. Running attempts finish.
    """
    async with s.open() as rt:
        stopped = await rt.services.recover.cancel(await rt.services.resolve.execution(execution))
    if s.json:
        output.emit(stopped)
    else:
        describe(stopped)


async def note_pruned(rt: Deployment, execution: UUID, stage: str | None = None) -> None:
    """Report the stages of an execution that were pruned, or only whether this one was."""
    try:
        found = await rt.services.executions.get(execution)
    except NotFound:  # it is only in the store
        return
    for one in found.pruned:
        if stage is None or one.overlaps(stage):
            output.note(f"Pruned: {_what_was_pruned(one)}")


def config_of(execution: Execution) -> str:
    if execution.config is None:
        return "-"
    return f"{execution.config} v{execution.config_version}"


def _objects_of(e: Execution) -> str:
    """Return whether the objects of an execution are protected or deleted; `describe` prints the details."""
    if e.pinned:
        return "pinned"
    if e.pruned:
        return "pruned" if any(one.stage is None for one in e.pruned) else "partly pruned"
    return "-"


_KINDS: Final = {
    "run": "run of",
    "replay": "replay into",
    "adopted": "made by another program",
    "publication": "publication of a dataset of",
}


def describe(e: Execution) -> None:
    """Print the head of an execution as text."""
    of = _KINDS[e.kind]
    output.line(f"Execution {e.execution_id}: {of} {config_of(e)}".removesuffix(" -"))
    output.line(f"  status    {e.status}")
    output.line(f"  created   {when(e.created_at)}" + (f", ended {when(e.ended_at)}" if e.ended_at else ""))
    if e.parent_execution_id:
        output.line(f"  from      {e.parent_execution_id} (replay batch {e.replay_batch_id})")
    if e.changed_since:
        output.line(f"  since     {e.changed_since} (results that are still valid are taken over)")
    if e.requested_by:
        output.line(f"  by        {e.requested_by.name}")
    if e.tags:
        output.line(f"  tags      {', '.join(e.tags)}")
    if e.kind in ("run", "replay"):
        output.line(f"  messages  {described(e.counts, takes_over=e.changed_since is not None)}")
    if e.error:
        output.line(f"  error     {e.error.code}: {e.error.message}")
    _retention(e)


def _mixed_code(routes: Sequence[RouteCode]) -> None:
    """Print the adapters that ran with different code, with the number of messages of each code."""
    for route in routes:
        types = dict.fromkeys(one.type for ran in route.codes for one in ran.adapters)
        for kind in types:
            messages: dict[tuple[str, str], int] = {}
            for ran in route.codes:
                for one in {one for one in ran.adapters if one.type == kind}:
                    code = one.version, output.code(one.code)
                    messages[code] = messages.get(code, 0) + ran.messages
            if len(messages) > 1:
                parts = [f"version {v} {c} in {counted(n, 'message')}" for (v, c), n in messages.items()]
                output.line(f"  code      {kind} in route {route.route} differs: {', '.join(parts)}")


def _retention(e: Execution) -> None:
    """Print how long the objects are kept, and which ones are deleted."""
    if e.pinned:
        output.line("  pinned    no prune deletes its objects")
    for one in e.pruned:
        output.line(f"  pruned    {_what_was_pruned(one)}")
    if e.records_deleted_at:
        output.line(
            f"  records   deleted on {when(e.records_deleted_at)}: messages, errors, outputs and reports"
        )
    if e.replayable_until:
        output.line(f"  kept      replayable at least until {when(e.replayable_until)}")


def _what_was_pruned(one: PrunedStage) -> str:
    what = f"stage {one.stage}" if one.stage else "all objects"
    rest = "" if one.deleted_at else ", deletion continues"
    return f"{what}, on {when(one.pruned_at)}{rest}"


def _details(
    routes: Sequence[RouteCounts], stages: Sequence[StageSummary], failed: int, dead: Sequence[DeadLetter]
) -> None:
    if routes:
        output.line()
        columns: dict[str, Callable[[Counts], int]] = {"DONE": lambda of: of.completed}
        if any(one.counts.taken_over for one in routes):
            columns |= {"PROCESSED": lambda of: of.processed, "TAKEN OVER": lambda of: of.taken_over}
        if any(one.counts.declared_valid for one in routes):
            columns["DECLARED VALID"] = lambda of: of.declared_valid
        columns |= {"FAILED": lambda of: of.failed, "TO GO": lambda of: of.pending}
        columns["CANCELLED"] = lambda of: of.cancelled
        output.table(
            ("ROUTE", "QUEUE", *columns),
            [(one.route, one.queue, *(count(one.counts) for count in columns.values())) for one in routes],
        )
        waits(routes)
    if stages:
        output.line()
        _stages(stages)
    if dead:
        output.line()
        output.table(
            ("FAILED MESSAGE", "ROUTE", "CODE", "INPUT", "ERROR"),
            [
                (
                    output.short(d.correlation_id),
                    d.route,
                    d.error_code,
                    d.input_key.partition("/")[2],
                    d.error,
                )
                for d in dead
            ],
        )
        if failed > len(dead):
            output.line(f"… and {counted(failed - len(dead), 'more', 'more')}: playhead dead-letters list")


def waits(routes: Sequence[RouteCounts] | Sequence[RouteStatus]) -> None:
    """Print why routes wait."""
    for r in routes:
        if r.wait:
            output.line(f"{r.route} {wording.wait_text(r.wait)}")


def _skipped(messages: Sequence[Lineage]) -> None:
    if messages:
        output.line()
        output.table(
            ("SKIPPED MESSAGE", "ROUTE", "INPUT", "REASON"),
            [
                (m.correlation_id, m.route, m.input_key.partition("/")[2], m.skip_reason)
                for m in messages[:MESSAGES_SHOWN]
            ],
        )
        if len(messages) > MESSAGES_SHOWN:
            output.line(f"… and more. One input: playhead why {messages[0].execution_id} PATH")


def _stages(stages: Sequence[StageSummary]) -> None:
    output.table(
        ("STAGE", "OBJECTS", "SIZE", "FIRST KEY"),
        [(x.stage, x.objects, output.size(x.bytes), x.first_key) for x in stages],
    )


async def next_steps(
    deployment: Deployment, e: Execution, stages: Sequence[StageSummary | StageTotal]
) -> list[str]:
    """Return the commands that are useful next."""
    identity = e.execution_id
    steps = []
    if e.status == "running":
        if deployment.here:
            steps.append("playhead worker --until-idle")
        steps.append(f"playhead cancel {identity}")
    if e.counts.failed and e.status != "cancelled" and not e.records_deleted_at:
        steps += [
            f"playhead dead-letters list --execution {identity}",
            f"playhead dead-letters resend --execution {identity}",
        ]
    datasets = await deployment.services.publish.datasets()
    for dataset in datasets:
        if identity in dataset.unpublished:
            name = wording.address_of(dataset.config, dataset.name, datasets)
            # After a rollback, the run may have the same fault.
            steps.append(f"playhead publish {name} {identity}{' --dry-run' * dataset.held}")
    made = [x.stage for x in stages if x.objects]
    if made:
        steps.append(f"playhead ls {identity} {made[-1]}")
    routes = (await deployment.services.queues.routes(None, output.MAX_PAGE)).items if made else ()
    # A stage that feeds a route can be replayed: the steps before it need not run again.
    ours = [r for r in routes if r.config == e.config]
    may_be_target = {r.route for r in ours if r.on_replay == "run"}
    fed = [
        (r.stage, following[0])
        for r in ours
        if r.stage in made and (following := [to for to in r.to if to in may_be_target])
    ]
    if fed:
        stage, route = fed[-1]
        steps.append(f"playhead replay {identity} {stage} {route}")
    elif made and e.kind == "adopted":
        steps.append(f"playhead replay {identity} {made[-1]} ROUTE")
    return steps


def suggest(s: Session, steps: Sequence[str]) -> None:
    """Print commands to try next, ready to be pasted."""
    if steps:
        output.block("\nNext:")
        for step in steps:
            output.line(f"  {s.again(step)}")
