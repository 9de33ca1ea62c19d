"""`plan`: fix the set of objects that a replay would publish, and show what would process them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from playhead.cli import complete, effects, executions, output, selecting
from playhead.cli.command import ExecutionRef, Version, command
from playhead.cli.output import counted
from playhead.cli.session import Session, Usage
from playhead.warningtext import warning_text, worded
from playhead.wording import expected_text, left_out, others_text

if TYPE_CHECKING:
    from playhead.cli.deployment import Deployment
    from playhead.model import Plan, PlannedRoute, ReplayRequest

_MOST_TYPES: Final = 5
_MINUTE: Final = 60
_HOUR: Final = 3600

Stage = Annotated[
    str,
    typer.Argument(
        metavar="STAGE",
        help="The stage to replay; `input` contains the inputs of the run.",
        autocompletion=complete.stage,
    ),
]
Route = Annotated[
    str,
    typer.Argument(
        metavar="ROUTE", help="The target route: ROUTE or CONFIG/ROUTE.", autocompletion=complete.route
    ),
]


OthersValid = Annotated[
    bool,
    typer.Option(
        "--others-valid",
        help="Declare that the results for the objects that are left out are still valid: runs with "
        "--changed-since take them over. A replay with it needs --reason.",
    ),
]


@command(
    "plan", example="playhead plan latest markdown_converted segment", options=selecting.OPTIONS, changes=True
)
async def plan(
    s: Session,
    execution: ExecutionRef,
    stage: Stage,
    route: Route,
    path: selecting.Path = None,
    version: Version = None,
    effect: effects.Effects = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every object and compare it with its record.")
    ] = False,
    others_valid: OthersValid = False,
    **chosen: Any,
) -> None:
    """Show what a replay would publish.

    It also shows what would process the messages. Nothing is published. The plan fixes the exact set of
    objects. `playhead replay --plan ID` publishes this set, or nothing if one of its objects is gone or has
    changed. Options select objects, as in `playhead replay`.
    """
    from playhead.model import ReplayRequest

    if not stage or not route:
        raise Usage("STAGE and ROUTE must not be empty")
    selection = selecting.selection(**chosen)
    policy = effects.by_route(effect)
    needs_adapters = others_valid or selecting.needs_adapters(selection)
    async with s.open("plan", checks_configs=needs_adapters) as rt:
        request = ReplayRequest(
            *(await rt.services.resolve.execution(execution), stage, path, route),
            selection=await selecting.within(rt, selection, chosen["in_replay"]),
            config_version=version,
            effects=policy,
            others_valid=others_valid or None,
        )
        await make(s, rt, request, verify=verify)


async def make(s: Session, rt: Deployment, request: ReplayRequest, *, verify: bool = False) -> None:
    """Make a plan and write it."""
    s.interrupted = "stopped; a plan that is not complete publishes nothing"
    made = await rt.services.plan.create(request, verify=verify)
    if s.json:
        output.emit(worded(made))
        return
    describe(made)
    if not made.would_refuse:
        reason = " --reason TEXT" if made.others_valid is not None else ""
        executions.suggest(s, [f"playhead replay --plan {made.plan_id}{_pace(request)}{reason}"])


def _pace(request: ReplayRequest) -> str:
    """Return the options of the pace, which a plan does not keep."""
    from playhead.model import DepthPace, RatePace

    if isinstance(request.pace, RatePace):
        return f" --rate {request.pace.rate:g}"
    return f" --queue-depth {request.pace.queue_depth}" if isinstance(request.pace, DepthPace) else ""


def describe(p: Plan) -> None:
    """Write a plan."""
    request = p.request
    path = f"/{request['from_path']}" if "from_path" in request else ""
    target = f"{p.to_config}/{request['to_route'].rpartition('/')[2]}"
    output.line(f"Plan of {request['from_execution_id']}/{request['from_stage']}{path} into {target}")
    rows = [
        ("plan", str(p.plan_id)),
        ("objects", f"{p.objects:,} ({output.size(p.bytes)})"),
        ("left out", ", ".join(left_out(p)) or "nothing"),
        ("first", p.first_keys[0] if p.first_keys else "-"),
        ("last", p.last_key or "-"),
        ("types", _types(p)),
        ("config", f"{p.to_config} version {p.to_config_version}{', see below' if p.config_diff else ''}"),
        ("queue", _queue(p)),
        ("routes", ", ".join(_route(p, one) for one in p.routes if one.reached)),
        ("takes", _duration(p.seconds)),
        ("attempts", _attempts(p)),
        ("digest", p.digest or "-"),
        ("expires", output.when(p.expires_at)),
    ]
    if others := others_text(p):
        rows.insert(3, ("others", others))
    if p.replayable_until:
        rows.append(("kept until", output.when(p.replayable_until)))
    if p.would_refuse:
        rows.append(("refused", f"the replay would repeat the effects of {', '.join(p.would_refuse)}"))
    rows += [("warning", warning_text(one)) for one in p.warnings]
    for name, text in rows:
        output.line(f"  {name:<10} {text}")
    if p.config_diff:
        output.block(f"\n{p.config_diff.rstrip()}")


def _types(p: Plan) -> str:
    types = [f"{kind} {count:,}" for kind, count in p.content_types.items()]
    more = [f"{len(types) - _MOST_TYPES} more"] if len(types) > _MOST_TYPES else []
    return ", ".join([*types[:_MOST_TYPES], *more])


def _queue(p: Plan) -> str:
    waiting = "unknown" if p.queue_depth is None else counted(p.queue_depth, "message")
    return f"{p.to_queue}: {waiting} waiting, {counted(p.consumers, 'consumer')}"


def _route(p: Plan, one: PlannedRoute) -> str:
    notes = [text] if (text := expected_text(p, one)) else []
    if one.effects == "external":
        notes.append("external effects")
    if one.on_replay != "run":
        notes.append({"skip": "skipped", "refuse": "refused"}[one.on_replay])
    return f"{one.route} ({', '.join(notes)})" if notes else one.route


def _attempts(p: Plan) -> str:
    known = [one.seconds for one in p.routes if one.seconds is not None]
    return f"{_duration(sum(known))}, added up" if known else "unknown: the source has no such messages"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown: no pace, and no earlier replay into this route that was published without one"
    if seconds < _MINUTE:
        return f"about {seconds:.1f} s"
    if seconds < _HOUR:
        return f"about {seconds / _MINUTE:.0f} min"
    return f"about {seconds / _HOUR:.1f} h"
