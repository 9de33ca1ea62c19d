"""Group the messages above and below an object or a message by execution and route."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal
from uuid import UUID

from playhead.model import ChainEdge, ChainGroup, ChainSummary, Execution
from playhead.ports.catalog.trace import Relative


def summarize(
    relatives: Sequence[Relative], executions: Sequence[Execution], of: UUID | str, *, is_complete: bool
) -> ChainSummary:
    """Return the groups of messages, and the edges between them.

    Args:
        relatives: the messages, as `Trace.family` returns them.
        executions: the executions of the messages.
        of: the requested message, or the key of the requested object.
        is_complete: whether these are all messages.
    """
    known = {one.execution_id: one for one in executions}
    members: dict[tuple[UUID, str, str], list[int]] = {}
    for place in sorted(range(len(relatives)), key=lambda place: relatives[place].distance):
        one = relatives[place]
        members.setdefault((one.execution_id, one.route, _direction(one)), []).append(place)
    group_of = {place: number for number, group in enumerate(members.values()) for place in group}
    edges: Counter[tuple[int, int, Literal["parent", "replay"]]] = Counter()
    for place, one in enumerate(relatives):
        if one.neighbour is not None and one.via != "self":
            pair = group_of[one.neighbour], group_of[place]
            above, below = reversed(pair) if one.distance < 0 else pair
            edges[above, below, one.via] += 1
    return ChainSummary(
        groups=[_group(relatives, group, known, of) for group in members.values()],
        edges=[ChainEdge(*edge, messages) for edge, messages in sorted(edges.items())],
        messages=len(relatives),
        is_complete=is_complete,
    )


def _direction(one: Relative) -> Literal["up", "self", "down"]:
    return "up" if one.distance < 0 else "down" if one.distance else "self"


def _group(
    relatives: Sequence[Relative], places: Sequence[int], known: dict[UUID, Execution], of: UUID | str
) -> ChainGroup:
    messages = [relatives[place] for place in places]
    first = messages[0]
    execution = known[first.execution_id]
    direction = _direction(first)
    outputs = sum(one.outputs for one in messages)
    key = next((one.output_key for one in messages if one.output_key), None)
    if direction == "up":
        # One output of each ancestor belongs to the chain: the input of the next message.
        assert first.neighbour is not None
        outputs, key = len(messages), relatives[first.neighbour].input_key
    elif direction == "self" and isinstance(of, str):
        outputs, key = 1, of
    return ChainGroup(
        execution_id=first.execution_id,
        kind=execution.kind,
        replay_batch_id=execution.replay_batch_id,
        created_at=execution.created_at,
        config=first.config,
        config_version=first.config_version,
        route=first.route,
        stage=first.stage,
        direction=direction,
        messages=len(messages),
        outputs=outputs,
        failed=sum(one.status == "dead" for one in messages),
        correlation_id=first.correlation_id,
        input_key=first.input_key,
        key=key,
    )
