"""The way of an item through the routes of an execution: its messages, grouped by route and outcome."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, cast
from uuid import UUID

from playhead.model import OUTCOMES, Config, Declaration, Execution, Outcome, Replay, Route, SkipCode
from playhead.ports.catalog.trace import Descendant, PublishedBelow
from playhead.wording import declaration_text

_LONGEST: Final = 200
ORDER: Final = {outcome: place for place, outcome in enumerate(OUTCOMES)}


@dataclass(frozen=True, slots=True)
class Visited:
    """An execution that an item went through.

    Attributes:
        replay: what it replays; None for a run.
        config: the config that it ran; None if it was adopted.
    """

    execution: Execution
    replay: Replay | None
    config: Config | None

    @property
    def id(self) -> UUID:
        return self.execution.execution_id

    @property
    def stages(self) -> tuple[str, ...]:
        return self.config.stages if self.config else ()


@dataclass(frozen=True, slots=True)
class Walk:
    """The messages of an item in one execution, nearest first, and whether these are all."""

    at: Visited
    messages: Sequence[Descendant]
    is_complete: bool

    def in_stage(self, stage: str) -> list[Descendant]:
        """Return the messages that stored outputs in a stage."""
        routes = self.at.config.routes if self.at.config else {}
        return [
            one
            for one in self.messages
            if one.status in ("completed", "taken_over")
            and one.route in routes
            and routes[one.route].stage == stage
        ]


@dataclass(slots=True)
class Group:
    """The messages of an item with the same outcome, for the same reason, in one route.

    Attributes:
        is_taken_over: whether they have results of an earlier execution.
        declared: the declaration that makes these results valid; None: their code was the newest.
        replaced_by: the execution whose results a publication has instead.
    """

    route: str
    outcome: Outcome
    reason: str
    is_taken_over: bool = False
    declared: Declaration | None = None
    replaced_by: UUID | None = None
    messages: list[Descendant] = field(default_factory=list)


def outcome_of(message: Descendant) -> Outcome:
    """Return the outcome of one message."""
    if message.status == "skipped" or (message.status == "taken_over" and message.error_code):
        return cast("SkipCode", message.error_code)
    if message.status == "dead":
        return "rejected" if message.error_code == "rejected" else "dead"
    if message.status == "completed" or message.status == "taken_over":
        return "pruned" if message.outputs_pruned_at else "completed"
    return message.status


def groups(
    at: Visited,
    messages: Sequence[Descendant],
    *,
    is_complete: bool,
    replaced: Mapping[UUID, UUID] = MappingProxyType({}),
) -> list[Group]:
    """Return the messages of an execution by route and outcome, in the order of its config.

    `replaced` has by message the execution whose results a publication has instead. Routes that could have
    followed, and have no message, are `not_reached`; if there are too many messages to know them all
    (`is_complete`), such routes are left out.
    """
    found: dict[tuple[str, Outcome, str, bool, UUID | None, UUID | None], Group] = {}
    for message in messages:
        outcome = outcome_of(message)
        reason = ""
        is_taken_over = message.status == "taken_over"
        if message.status == "skipped" or (is_taken_over and message.error_code):
            reason = message.text or ""
        elif message.status in ("dead", "retry"):
            reason = message.error_code or ""
        elif outcome == "pruned":
            reason = message.outputs_pruned_at or ""
        declared = message.declared_valid
        kind = (message.route, outcome, reason, is_taken_over)
        other = replaced.get(message.correlation_id)
        by = declared.execution_id if declared else None
        group = found.setdefault((*kind, by, other), Group(*kind, declared, other))
        group.messages.append(message)
    routes = at.config.routes if at.config else {}
    if found and is_complete:
        visited = {route for route, *_ in found}
        for name, before in _following(routes, visited):
            found[name, "not_reached", "", False, None, None] = Group(
                name, "not_reached", f"no output of {before} has reached it"
            )
    places = {name: place for place, name in enumerate(routes)}
    return sorted(found.values(), key=lambda g: (places.get(g.route, len(places)), ORDER[g.outcome]))


def replaced_in(messages: Sequence[Descendant], shown: PublishedBelow) -> dict[UUID, UUID]:
    """Return the messages whose results are not in a publication because that of another execution is, by id.

    That one has received the object with the same place, or the publication does not have the object.
    """
    of_shown = {one.correlation_id for one in shown.messages}
    places = {(one.route, _place(one)) for one in shown.messages}
    by_route: dict[str, UUID] = {}
    for one in shown.messages:
        by_route[one.route] = max(one.execution_id, by_route.get(one.route, one.execution_id))
    return {
        one.correlation_id: by_route[one.route]
        for one in messages
        if one.correlation_id not in of_shown
        and by_route.get(one.route, one.execution_id) != one.execution_id
        and ((one.route, _place(one)) in places or _place(one) not in shown.places)
    }


def _place(message: Descendant) -> str:
    return message.input_key.partition("/")[2]


def _following(routes: Mapping[str, Route], visited: set[str]) -> Iterator[tuple[str, str]]:
    """Yield the routes after the visited ones that were not visited, each with a route before it."""
    seen = set(visited)
    level = [name for name in routes if name in visited]
    while level:
        following: list[str] = []
        for name in level:
            for target in routes[name].to:
                if target not in seen:
                    seen.add(target)
                    following.append(target)
                    yield target, name
        level = following


def explain(group: Group, at: Visited) -> str:
    """Return why the messages of a group have their outcome, in words."""
    text = _explain(group, at)
    if group.is_taken_over:
        valid = f" ({declaration_text(group.declared)})" if group.declared else ""
        text = f"taken over from an earlier execution{valid}: {text}"
    if group.replaced_by:
        text = f"{text}; readers see the result of execution {group.replaced_by} instead"
    return text


def _explain(group: Group, at: Visited) -> str:
    route = at.config.routes.get(group.route) if at.config else None
    first = group.messages[0] if group.messages else None
    text = _brief((first.text if first else None) or "")
    match group.outcome:
        case "completed" if route and route.external:
            return f"handed over to the queue {route.queue} of another program"
        case "completed":
            return (
                f"outputs are in stage {route.stage}"
                if route and route.stage
                else "processed, without a stage"
            )
        case "pruned":
            return f"outputs were in stage {route.stage if route else '?'}, and were pruned on {group.reason}"
        case "condition_false" | "no_output" | "effects_skipped":
            return text or "a step returned no output"
        case "rejected":
            return f"the adapter rejected it: {text}"
        case "dead":
            attempts = max(one.attempts for one in group.messages)
            return f"{group.reason}: {text} (attempts: {attempts})"
        case "retry" if first is not None:
            due = min(one.retry_at or "" for one in group.messages)
            # A backend, an adapter or a secret was missing, or a rate limit was reached.
            why = f"{group.reason}: {text}" if group.reason else "it was released"
            return f"attempt {first.attempts} ended ({why}); the next is due at {due}"
        case "running":
            return f"a worker processes it, attempt {first.attempts if first else 1}"
        case "pending":
            waits = f"it waits in queue {route.queue}" if route else "it waits for a worker"
            return f"{_unpublished(group.route, at.replay)}{waits}"
        case "cancelled":
            return group.reason or "the execution was cancelled before"
        case "uncertain":
            return "it may have been sent before the cancellation"
        case _:
            return group.reason


def _unpublished(route: str, replay: Replay | None) -> str:
    """Return why a message may not be in the queue yet; empty if it is."""
    if replay is None or replay.status is not None or replay.to_route.rpartition("/")[2] != route:
        return ""
    why = f" ({replay.pause_reason})" if replay.pause_reason else ""
    return f"the replay is {replay.state}{why}: the message is not published yet, or "


def _brief(text: str) -> str:
    """Return the first line of an error, shortened."""
    line = text.strip().partition("\n")[0]
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
