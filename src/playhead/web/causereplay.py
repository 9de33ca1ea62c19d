"""`/causes/{id}/plan`: what a replay of a cause would publish, and the form that starts it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from playhead.errors import BadRequest, PlayheadError
from playhead.ids import parse_uuid
from playhead.model import Cause, CausePlan, Replay
from playhead.warningtext import warning_text
from playhead.web.page import Action, Answer, ApiCall, Ask, Crumb, Shown, status_of
from playhead.web.replayform import ReplayForm


@dataclass(frozen=True, slots=True)
class CauseReplayView:
    """Replays of the objects of a cause.

    Attributes:
        cause: the cause.
        planned: the plans; None if replays were started.
        warnings: those of all plans, each once.
        form: what was typed into the form.
        begun: the replays that were started.
        problem: why not all of them were; empty if all were.
        next_cursor: cursor of the next plans; empty if no objects are left.
    """

    cause: Cause
    planned: CausePlan | None
    warnings: Sequence[str]
    form: ReplayForm
    begun: Sequence[Replay]
    problem: str
    next_cursor: str


async def plan(ask: Ask) -> Shown[CauseReplayView]:
    """Plan the replays and show them."""
    cause = await ask.services.causes.get(ask.parameters["id"])
    planned = await ask.services.causes.plan(cause.id, _field(ask, "cursor") or None)
    warnings = dict.fromkeys(warning_text(one) for plan in planned.plans for one in plan.warnings)
    following = planned.next_cursor or ""
    view = CauseReplayView(cause, planned, list(warnings), ReplayForm(), (), "", following)
    return _shown(view, [ApiCall(f"/api/v1/causes/{cause.id}/plan", "POST")])


async def start(ask: Ask) -> Answer:
    """Start a replay from each plan. The key of each is its plan, so a second press starts none."""
    cause = await ask.services.causes.get(ask.parameters["id"])
    form = ReplayForm.of(ask.form)
    begun: list[Replay] = []
    error: PlayheadError | None = None
    try:
        plans = [parse_uuid(str(text)) for text in ask.form.getlist("plan")]
        if not plans or None in plans:
            raise BadRequest("invalid_body", "the form names no plan: plan again")
        for one in filter(None, plans):
            opened = await ask.services.replay.create(form.to_replay(one, str(one)))
            begun.append(opened.replay)
    except PlayheadError as exc:
        error = exc
    problem = error.detail if error else ""
    view = CauseReplayView(cause, None, (), form, begun, problem, _field(ask, "next_cursor"))
    return _shown(view, [ApiCall("/api/v1/replays")], error)


def _field(ask: Ask, name: str) -> str:
    return str(ask.form.get(name) or "")


def _shown(
    view: CauseReplayView, calls: Sequence[ApiCall], error: PlayheadError | None = None
) -> Shown[CauseReplayView]:
    one = view.cause
    crumbs = [Crumb("Causes", "/causes"), Crumb(one.id, f"/causes/{one.id}"), Crumb("Replay")]
    return Shown(
        "Replay of a cause", view, calls, crumbs, status=status_of(error), template="cause_replay.html"
    )


ACTIONS: Final = (
    Action("/causes/{id}/plan", plan, "cause_replay.html", "dead-letters", scope="replay"),
    Action("/causes/{id}/replay", start, "cause_replay.html", "dead-letters", scope="replay"),
)
