"""The published objects that decide whether the other objects of a replay follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from playhead.errors import BadRequest, NotFound, Unavailable
from playhead.model import Execution, Replay, ReplayedObject
from playhead.services import Services
from playhead.web.matrix import result_url, state_of
from playhead.web.page import ROWS, Missing
from playhead.wording import AFTER, BEFORE


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """An object.

    Attributes:
        object: the object before and after.
        look: the state whose shape and colour are shown.
        text: what happened to it now, in words.
        before: what had happened to it, in words.
        href: URL of its outputs side by side.
    """

    object: ReplayedObject
    look: str
    text: str
    before: str
    href: str


@dataclass(frozen=True, slots=True)
class EvidenceView:
    """The objects.

    Attributes:
        rows: those that failed, then the others; the first ones.
        objects: number of all of them.
    """

    rows: Sequence[EvidenceRow]
    objects: int

    @property
    def shape(self) -> str:
        """What decides which parts are shown."""
        return " ".join(f"{row.object.ordinal}{row.object.after}" for row in self.rows)


def limit_of(replay: Replay) -> str | None:
    """Return how many of the checked objects of a replay may fail, such as `none` or `at most 2`.

    None if it neither waits for their result nor was paused by it.
    """
    match replay.paused_by or replay.waits_for:
        case "canary" if replay.canary:
            most = replay.canary.max_failed
        case "guard" if replay.pause_if:
            most = replay.pause_if.failed
        case _:
            return None
    if most == 0:
        return "none"
    return f"at most {most:,.0f}" if most >= 1 else f"at most {100 * most:.4g}%"


async def evidence(
    services: Services, replay: Replay, source: Execution | Missing, made: Execution
) -> EvidenceView | None:
    """Return the objects that the canary or the guard decides about now; None if they cannot be read."""
    if isinstance(source, Missing) or limit_of(replay) is None:
        return None
    assert replay.hold_at is not None and replay.hold_from is not None  # noqa: PT018
    ids = source.execution_id, made.execution_id
    try:
        found = await services.result.listed(*ids, replay.hold_from, replay.hold_at)
    except (BadRequest, NotFound, Unavailable):
        return None
    rows = [
        EvidenceRow(
            one,
            state_of(one.before, one.after),
            AFTER[one.after],
            BEFORE[one.before],
            f"{result_url(*ids, before=one.before, after=one.after, by='all', at=one.ordinal)}#object",
        )
        for one in found[:ROWS]
    ]
    return EvidenceView(rows, replay.hold_at - replay.hold_from)
