"""Causes of failures, over all routes and executions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, get_args
from uuid import UUID

from playhead.model.code import AdapterCode
from playhead.model.plans import Plan

CauseState = Literal["open", "acknowledged", "closed"]
CAUSE_STATES: Final[tuple[CauseState, ...]] = get_args(CauseState)
MOST_ROUTES: Final = 20
"""Routes that a cause names."""


@dataclass(frozen=True, slots=True)
class TextPart:
    """A part of an error.

    Attributes:
        text: the part.
        varies: it may differ between failures with the same cause: a number, a time, a path, quoted text.
    """

    text: str
    varies: bool


@dataclass(frozen=True, slots=True)
class CauseRoute:
    """A route in which a cause occurs.

    Attributes:
        config: its config.
        route: its name.
        objects: number of its objects that failed; 10000 stands for 10,000 or more.
    """

    config: str
    route: str
    objects: int


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A person has seen a cause.

    Attributes:
        acknowledged_at: when; RFC 3339 in UTC.
        reason: why nothing is done now; may be empty.
        requested_by: the person who has acknowledged it; may be empty.
        ends_at: time at which it ends; RFC 3339 in UTC; null: at no time.
        until_version: version of a config with which it ends: `CONFIG@VERSION`; null: with no version.
        ended: it has ended.
    """

    acknowledged_at: str
    reason: str
    requested_by: str
    ends_at: str | None
    until_version: str | None
    ended: bool


@dataclass(frozen=True, slots=True)
class Cause:
    """One error, over all routes and executions.

    Failures have the same cause if their error code, the pattern of the error, and the type and the function
    of the exception are the same. An object is a stage and a path in a config, whatever execution has it. It
    is open until the route has processed it: after a resend, or in a later execution. The figures are those
    of open objects, or of all objects if no object is open. At most the newest 10,000 objects are counted.

    Attributes:
        id: 12 hexadecimal digits. The same failure has the same cause in every deployment.
        state: `open`, `acknowledged`, or `closed`: no object is open.
        is_new: it was first seen in the period of the request, or in the last 24 hours, and was never
            acknowledged.
        error_code: stable code of the error: `adapter_error`, `rejected`, …
        error: the parts of the newest error, in order. Its line breaks are spaces.
        adapters: adapters of the route that has failed last, with the code that ran; empty if it is unknown.
        place: file and line of the adapter that raised, such as `steps.py:16`; empty if it is unknown.
        objects: number of distinct objects; 10000 stands for 10,000 or more.
        processed: number of objects that were processed since; 10000 stands for 10,000 or more.
        letters: number of dead letters of the objects: an object may have failed several times.
        executions: number of executions in which the objects have failed last.
        routes: the routes in which it occurs, those with the most objects first; at most 20.
        route_count: number of these routes.
        first_failed_at: time of its first failure; RFC 3339 in UTC.
        last_failed_at: time of its newest failure; RFC 3339 in UTC.
        closed_at: when the last object was processed; RFC 3339 in UTC; null if an object is open.
        newest: correlation id of the message that failed last; null if its records are deleted.
        input_key: key of its input object; null if its records are deleted.
        input_stage: stage of this object; null if its records are deleted.
        execution_id: its execution; null if its records are deleted.
        acknowledgement: the newest acknowledgement; null without one.
    """

    id: str
    state: CauseState
    is_new: bool
    error_code: str
    error: list[TextPart]
    adapters: list[AdapterCode]
    place: str
    objects: int
    processed: int
    letters: int
    executions: int
    routes: list[CauseRoute]
    route_count: int
    first_failed_at: str
    last_failed_at: str
    closed_at: str | None = None
    newest: UUID | None = None
    input_key: str | None = None
    input_stage: str | None = None
    execution_id: UUID | None = None
    acknowledgement: Acknowledgement | None = None


@dataclass(frozen=True, slots=True)
class CauseObject:
    """An object that has failed in a route.

    Attributes:
        config: config of the route.
        route: the route.
        path: stage and path of the object.
        letters: number of its dead letters in this route.
        error: description of its newest failure; null if its records are deleted, or if this message was
            processed after a resend.
        failed_at: time of its newest failure; RFC 3339 in UTC.
        processed_at: when the route has processed it since; RFC 3339 in UTC; null if it has not.
        correlation_id: id of the message that failed last; null if its records are deleted.
        input_key: key of the object that this message received; null if its records are deleted.
    """

    config: str
    route: str
    path: str
    letters: int
    error: str | None
    failed_at: str
    processed_at: str | None
    correlation_id: UUID | None
    input_key: str | None


@dataclass(frozen=True, slots=True)
class NotPlanned:
    """Objects of a cause that no plan has.

    Attributes:
        code: stable error code: why not.
        detail: why not, and what to do.
        objects: their number.
        execution_id: execution that has the objects; null if their records are deleted.
        route: `config/route`.
    """

    code: str
    detail: str
    objects: int
    execution_id: UUID | None
    route: str


@dataclass(frozen=True, slots=True)
class CausePlan:
    """What a replay of the open objects of a cause would publish: each object once, from its newest source.

    A replay has one source, one stage and one target. So there is a plan for each of them.

    Attributes:
        cause: its id.
        objects: number of objects in all plans.
        plans: those of the newest source first. A replay is started from each of them.
        left_out: objects that are in no plan.
        objects_left: number of objects of other sources, which the next request plans. One request plans
            the objects of at most 100 sources.
        next_cursor: cursor of the next request; null if no objects are left.
    """

    cause: str
    objects: int
    plans: list[Plan]
    left_out: list[NotPlanned] = field(default_factory=list)
    objects_left: int = 0
    next_cursor: str | None = None
