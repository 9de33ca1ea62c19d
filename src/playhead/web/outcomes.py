"""What happened to replays: the state of their publishing, and of the messages that they published."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from playhead.model import Execution, Replay
from playhead.services import Services
from playhead.web.render import counted
from playhead.web.states import word
from playhead.wording import state_of

_STOPPED: Final = {"cancelled": "replay cancelled", "refused": "refused: nothing ran"}
"""What is said of an ended execution, by the state of its replay: the execution has only its messages."""
_WAITING: Final = ("paused", "stalled")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The state of a replay.

    Attributes:
        look: the state whose shape and colour are shown.
        text: its state, with what it waits for; when publishing has ended, that of its messages.
        failed: objects or messages that failed, without those that a cancelled replay did not publish.
        not_published: objects that a cancelled replay did not publish.
    """

    look: str
    text: str
    failed: int
    not_published: int


def outcome_of(replay: Replay, made: Execution) -> Outcome:
    """Return the state of a replay with its new execution."""
    is_cancelled = replay.state == "cancelled"
    return Outcome(
        made.status if replay.state == "publishing_complete" else replay.state,
        _text(replay, made),
        made.counts.failed if is_cancelled else max(replay.objects_failed, made.counts.failed),
        replay.objects_failed if is_cancelled else 0,
    )


def _text(replay: Replay, made: Execution) -> str:
    if replay.status is None or replay.state in ("refused", "cancelled"):
        return state_of(replay)
    if made.status == "running":
        return f"{_published(replay)}, {counted(made.counts.pending, 'message')} to go"
    if made.status == "completed" and replay.status == "publishing_complete":
        return "completed"
    if made.counts.failed:
        return f"{_published(replay)}; {counted(made.counts.failed, 'message')} failed"
    return _published(replay) if made.status == "completed" else f"{_published(replay)}, {made.status}"


def _published(replay: Replay) -> str:
    return "all published" if replay.state == "publishing_complete" else state_of(replay)


async def outcomes(services: Services, replays: Sequence[Replay]) -> dict[UUID, Outcome]:
    """Return the states of replays by batch. The executions are read at once."""
    made = await services.executions.named([one.execution_id for one in replays])
    return {one.replay_batch_id: outcome_of(one, made[one.execution_id]) for one in replays}


async def endings(services: Services, shown: Iterable[Execution]) -> Mapping[UUID, tuple[str, str]]:
    """Return the state and its word, by execution, of replays that stopped before they published everything.

    The status of such an execution describes only its messages.
    """
    made = {one.replay_batch_id: one for one in shown if one.replay_batch_id}
    replays = await services.executions.replays_named(list(made))
    found = ((made[one.replay_batch_id], one) for one in replays)
    return {of.execution_id: end for of, replay in found if (end := ending(of, replay))}


def ending(of: Execution, replay: Replay) -> tuple[str, str] | None:
    """Return the state of a replay that stopped, and its word; None if its execution says it all."""
    if of.status == "running":
        return (replay.state, word(replay.state)) if replay.state in _WAITING else None
    return (replay.state, _STOPPED[replay.state]) if replay.state in _STOPPED else None
