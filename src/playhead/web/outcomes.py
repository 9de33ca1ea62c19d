"""What happened to replays: the state of their publishing, and of the messages that they published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from playhead.model import Execution, Replay
from playhead.services import Services
from playhead.web.render import counted
from playhead.wording import state_of

_STOPPED: Final = {
    "cancelled": "replay cancelled",
    "refused": "refused: nothing ran",
    "paused": "paused",
    "stalled": "stalled",
}


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


def endings(replays: Sequence[Replay]) -> Mapping[UUID, tuple[str, str]]:
    """Return the state and its text, by execution, of replays that stopped before they published everything.

    The status of such an execution describes only its messages.
    """
    return {one.execution_id: (one.state, _STOPPED[one.state]) for one in replays if one.state in _STOPPED}
