"""What happened when."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TimeCounts:
    """Messages that have ended in an interval, and those that waited in it.

    Attributes:
        start: its beginning; RFC 3339 in UTC.
        done: messages that are done.
        failed: messages that became dead letters.
        waiting: the most messages that waited at once, of one sample a minute: pending, or to be tried again.
    """

    start: str
    done: int
    failed: int
    waiting: int


@dataclass(frozen=True, slots=True)
class RouteTime:
    """Messages of a route that workers have ended in an interval.

    Attributes:
        route: name of the route.
        interval: number of the interval, from 0.
        done: messages that are done.
        failed: messages that became dead letters.
        retries: their attempts after the first one.
        waited: seconds that they waited before their last attempt, together.
        worked: seconds that their last attempts took, together.
    """

    route: str
    interval: int
    done: int
    failed: int
    retries: int
    waited: float
    worked: float


@dataclass(frozen=True, slots=True)
class Mark:
    """What may explain a change of the counts.

    Attributes:
        kind: `config`: a version was applied; `worker`: a process started; `replay`: one was started; or the
            kind of a switch of a dataset, such as `rollback`.
        name: what it is about.
        at: when; RFC 3339 in UTC.
    """

    kind: str
    name: str
    at: str
