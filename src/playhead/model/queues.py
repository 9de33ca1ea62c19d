"""What the API and the CLI show of routes, queues and dead letters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final
from uuid import UUID

from annotated_types import Interval, Len

from playhead.limits import Limited, NoNul
from playhead.model.replays import OnReplay

MOST_PAUSED_SECONDS: Final = 31_536_000


@dataclass(frozen=True, slots=True)
class RouteWait:
    """Why a route waits: a person has paused it, a service rejected calls, or a worker cannot run its steps.

    A worker lacks an adapter, a secret, or the current code of an adapter. Other workers may run the route.

    Attributes:
        seconds: seconds until the route continues, or until the worker tries again; None: it is paused until
            a request resumes it.
        reason: why it is paused, the text of the adapter, or what the worker lacks.
        key: key of the rate limit, or `config/route`. All routes that use it wait.
        is_paused: whether a person has paused it.
    """

    seconds: float | None
    reason: str
    key: str
    is_paused: bool = False


@dataclass(frozen=True, slots=True)
class RoutePause(Limited):
    """Why a route is paused, and for how long.

    Attributes:
        reason: why.
        seconds: for how long; None: until it is resumed.
    """

    reason: Annotated[str, Len(1, 1_000), NoNul]
    seconds: Annotated[float, Interval(ge=1, le=MOST_PAUSED_SECONDS)] | None = None


@dataclass(frozen=True, slots=True)
class ResendRoute:
    """What a resend repeats in one route.

    Attributes:
        config: its config.
        route: its name.
        letters: number of dead letters.
        external: routes with external effects that their messages reach: this route, or routes after it.
    """

    config: str
    route: str
    letters: int
    external: list[str]


@dataclass(frozen=True, slots=True)
class ResendPlan:
    """What a resend of dead letters would repeat. The newest 10,000 dead letters are counted.

    Attributes:
        letters: number of dead letters; 10000 stands for 10,000 or more.
        objects: number of distinct objects: an object may have failed in several executions, and a resend
            processes it for each of them.
        routes: the routes, those with the most dead letters first.
    """

    letters: int
    objects: int
    routes: list[ResendRoute]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that failed for good. It is processed again only after a resend.

    Attributes:
        correlation_id: id of the message; a resend does not change it.
        execution_id: execution of the message.
        config: config that processed it.
        config_version: version of that config.
        route: route that processed it.
        queue: inbound queue of the route.
        input_key: key of its input object.
        attempts: number of attempts, including those that do not count towards `max_attempts`, but not those
            that were released before a step was called.
        error_code: stable code of the error: `adapter_error`, `rejected`, …
        error: description; the adapter's own text if the adapter raised an exception.
        failed_at: time at which it became a dead letter; RFC 3339 in UTC.
        group: group of dead letters that failed alike: 12 hexadecimal digits.
    """

    correlation_id: UUID
    execution_id: UUID
    config: str
    config_version: int
    route: str
    queue: str
    input_key: str
    attempts: int
    error_code: str
    error: str
    failed_at: str
    group: str


@dataclass(frozen=True, slots=True)
class DeadLetterDetail(DeadLetter):
    """A dead letter with its traceback.

    Attributes:
        traceback: traceback of the adapter's last exception; the middle of a long one is cut out. None for
            errors without a traceback, such as `rejected` or `adapter_timeout`.
    """

    traceback: str | None = None


MOST_COUNTED: Final = 10_000
"""Dead letters of a group that are counted: the newest ones."""


@dataclass(frozen=True, slots=True)
class DeadLetterGroup:
    """Dead letters that failed alike: in the same route, with the same code and pattern of the error.

    For an exception of an adapter, its type and the function that raised it are also the same. Only the
    newest 10,000 dead letters of a group are counted.

    Attributes:
        group: id of the group: 12 hexadecimal digits. The same failure has the same id in every deployment.
        config: config that processed the messages, in any version.
        route: route that processed them.
        queue: inbound queue of the route.
        error_code: stable code of the error: `adapter_error`, `rejected`, …
        error: description of the newest dead letter.
        pattern: this description with placeholders such as `<n>`, `<text>` and `<path>` for what differs.
        count: number of dead letters; 10000 stands for 10,000 or more.
        executions: number of executions that they belong to.
        first_failed_at: time at which the first of them became a dead letter; RFC 3339 in UTC.
        last_failed_at: time at which the last of them became a dead letter; RFC 3339 in UTC. If `count` is
            less than 10000, a resend with this time as `failed_before` resends exactly the counted ones.
        newest: correlation id of the newest one.
        input_key: key of the input object of the newest one.
        open: false: since then, the route has processed the input object of each counted dead letter in
            another message; true: at least one is left, or the records that would tell are deleted.
    """

    group: str
    config: str
    route: str
    queue: str
    error_code: str
    error: str
    pattern: str
    count: int
    executions: int
    first_failed_at: str
    last_failed_at: str
    newest: UUID
    input_key: str
    open: bool


@dataclass(frozen=True, slots=True)
class RouteStatus:
    """A route of the newest version of an active config, with the state of its queue.

    Attributes:
        config: config of the route.
        route: name of the route.
        queue: inbound queue of the route.
        stage: stage of its outputs; None if they are not stored.
        adapters: types of its steps, in order; empty if other programs consume the queue.
        to: routes that receive its outputs.
        queue_depth: messages in the queue that are ready.
        in_flight: messages of the queue that are delivered and not acknowledged.
        retrying: messages of the route that are not in the queue, but wait for their next attempt; over all
            routes, at most 10,000 are counted.
        retry_seconds: seconds until the first of them is due; None without one.
        dead: dead letters of the route, over all versions of the config.
        workers: live processes that consume the queue.
        wait: why no attempt starts now, or what a worker lacks; None if the route does not wait.
        on_replay: what replays do with messages of the route, if the request is not stricter.
    """

    config: str
    route: str
    queue: str
    stage: str | None
    adapters: list[str]
    to: list[str]
    queue_depth: int
    in_flight: int
    dead: int
    workers: int
    wait: RouteWait | None = None
    on_replay: OnReplay = "run"
    retrying: int = 0
    retry_seconds: float | None = None
