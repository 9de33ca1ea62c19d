"""`why`: what happened to one item of an execution, and the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from playhead.cli import complete, exits, output
from playhead.cli.command import ExecutionRef, command
from playhead.cli.executions import suggest
from playhead.cli.session import Session

if TYPE_CHECKING:
    from playhead.model import Why, WhyRoute

_FAILED: Final = ("dead", "rejected")


@command("why", example="playhead why latest guide/replay.html")
async def why(
    s: Session,
    execution: ExecutionRef,
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="The path of an input; or STAGE/PATH or the key of another object of the execution. Its "
            "suffix may be missing if only one object matches.",
        ),
    ],
    stage: Annotated[
        str | None,
        typer.Option(
            "--stage",
            metavar="STAGE",
            help="The stage that contains PATH; without it, the stage is searched for.",
            autocompletion=complete.stage,
        ),
    ] = None,
) -> int:
    """Explain what happened to an input, and why.

    Shows the trace of the item through the routes, and where and why it ended. For a replay, PATH may
    also be a path in the execution that it replays. For an object of a publication, the trace has the
    execution that stored it, and the results that readers see instead of its own. The exit code is 1 if a
    message of the item is dead or rejected, and 4 if there is no such item.
    """
    async with s.open() as rt:
        identity = await rt.services.resolve.execution(execution)
        found = await rt.services.why.explain(identity, path, stage)
    if s.json:
        output.emit(found)
    else:
        _write(found)
        suggest(s, _next_steps(found))
    return exits.FAILED if found.outcome in _FAILED else exits.OK


def _write(found: Why) -> None:
    output.line(found.key)
    output.line(f"{_words(found.outcome)}: {found.explanation}")
    if found.records_deleted_at:
        when = output.when(found.records_deleted_at)
        output.note(f"The records of the execution that is replayed were deleted on {when}")
    execution = None
    for route in found.routes:
        if route.execution_id != execution:
            execution = route.execution_id
            output.line()
            same = [one for one in found.routes if one.execution_id == execution]
            other = ", whose results readers see" if found.publication_id else ", which is replayed"
            note = "" if execution == found.execution_id else other
            output.line(f"In execution {execution}{note} ({route.config} v{route.config_version}):")
            output.table(
                ("ROUTE", "OUTCOME", "MESSAGES", "WHY"),
                [(one.route, _words(one.outcome), one.messages, one.explanation) for one in same],
            )
    for route in found.routes:
        _write_examples(route)
    if not found.is_complete:
        output.note(f"The item has more messages; the nearest {found.messages:,} are counted")


def _write_examples(route: WhyRoute) -> None:
    """Write the messages that explain an end, and where the outputs of a single message are."""
    if route.outcome == "completed" and (route.messages > 1 or not route.examples[0].output_keys):
        return
    for example in route.examples:
        output.line()
        output.line(f"{route.route}  {example.correlation_id}  {_words(route.outcome)}")
        output.line(f"  in   {example.input_key}")
        for key in example.output_keys:
            output.line(f"  out  {key}")
        if more := example.outputs - len(example.output_keys):
            output.line(f"  … and {more:,} more")
        if example.error:
            output.line(f"  {example.error.code}: {example.error.message}")
    if route.messages > len(route.examples):
        output.line(f"… and {output.counted(route.messages - len(route.examples), 'more message')}")


def _words(outcome: str) -> str:
    return outcome.replace("_", " ")


def _next_steps(found: Why) -> list[str]:
    """Return the commands that are useful next."""
    steps = []
    for route in found.routes:
        if route.outcome in _FAILED:
            message = route.examples[0].correlation_id
            steps += [f"playhead dead-letters show {message}", f"playhead dead-letters resend {message}"]
            break
    steps.append(f"playhead lineage {found.key} --down")
    return steps
