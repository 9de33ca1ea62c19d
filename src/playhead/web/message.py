"""`/lineage/{correlation_id}`: one message, its attempts, and the messages above and below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from playhead.ids import parse_uuid
from playhead.model import ChainCount, ChainLink, Execution, Lineage
from playhead.services import Services
from playhead.web.ancestry import Step, steps_above
from playhead.web.page import ApiCall, Ask, Crumb, Page, Shown, url

_MOST_ABOVE: Final = 50
_MOST_BELOW: Final = 20


@dataclass(frozen=True, slots=True)
class Below:
    """The messages below a message in one route of an execution.

    Attributes:
        counts: their numbers by state.
        messages: the sum of these.
    """

    execution_id: UUID
    config: str
    route: str
    counts: Sequence[ChainCount]
    messages: int


@dataclass(frozen=True, slots=True)
class MessageView:
    """A message.

    Attributes:
        message: the message and its result.
        execution: its execution.
        steps: the way to it: the objects that were received and the messages that produced them.
        is_whole: false if the way has more than 50 messages.
        executions: number of executions on the way, its own included.
        next: the messages that received its outputs, up to 20.
        below: all messages below it, by execution and route, the nearest first.
        below_count: their number.
        is_complete: false if there are more than 10,000 of them.
    """

    message: Lineage
    execution: Execution
    steps: Sequence[Step]
    is_whole: bool
    executions: int
    next: Sequence[ChainLink]
    below: Sequence[Below]
    below_count: int
    is_complete: bool


async def show(ask: Ask) -> Shown[MessageView]:
    services = ask.services
    text = ask.parameters["correlation_id"]
    identity = parse_uuid(text) or await services.resolve.message(text)
    message = await services.lineage.get(identity)
    execution = await services.executions.get(message.execution_id)
    up = await services.lineage.chain(identity, "up", None, _MOST_ABOVE)
    above = sorted((link for link in up.items if link.distance <= 0), key=lambda link: -link.distance)
    next_ = await _next(services, identity)
    counts = await services.lineage.counts(identity)
    view = MessageView(
        message,
        execution,
        list(steps_above(above, is_whole=up.next_cursor is None)),
        up.next_cursor is None,
        len({link.execution_id for link in above}),
        next_,
        _below(counts.counts),
        counts.messages,
        counts.is_complete,
    )
    home = f"/executions/{execution.execution_id}"
    path = f"/api/v1/lineage/{identity}"
    return Shown(
        f"Message {str(identity)[-8:]} of {message.route}",
        view,
        [ApiCall(path), ApiCall(f"{path}/chain"), ApiCall(f"{path}/counts")],
        crumbs=[
            Crumb("Executions", "/executions"),
            Crumb(f"{execution.kind} {str(execution.execution_id)[-8:]} of {message.config}", url(home)),
            Crumb(message.route, url(home, route=message.route)),
        ],
    )


async def _next(services: Services, identity: UUID) -> list[ChainLink]:
    """Return the messages that received an output."""
    page = await services.lineage.chain(identity, "down", None, _MOST_BELOW + 1)
    return [link for link in page.items if link.distance == 1]


def _below(counts: Sequence[ChainCount]) -> list[Below]:
    groups: dict[tuple[UUID, str, str], list[ChainCount]] = {}
    for one in counts:
        groups.setdefault((one.execution_id, one.config, one.route), []).append(one)
    return [Below(*of, found, sum(one.messages for one in found)) for of, found in groups.items()]


PAGES: Final = (Page("/lineage/{correlation_id}", "message.html", show, "executions", scope="read"),)
