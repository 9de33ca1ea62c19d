"""When the messages of an execution ended: routes as rows, time as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from playhead.ids import moment
from playhead.model import Execution, RouteTime
from playhead.services.activity import INTERVALS
from playhead.web import pipelines
from playhead.web.page import Ask, url
from playhead.web.pipelines import Known, pipeline_map

MOST_ROUTES: Final = 40
COUNTING: Final = "counting"
"""Mark of a page that waits for its timeline."""
HEIGHT: Final = 100
"""Height of a row in its own units. A column is 10 wide."""
_COLUMN: Final = 10


@dataclass(frozen=True, slots=True)
class Column:
    """Messages that ended in an interval.

    Attributes:
        x: its left edge.
        failed: height of the failed ones, at the bottom.
        done: height of the others, above them.
    """

    x: int
    failed: float
    done: float


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """A route.

    Attributes:
        route: its name.
        href: the page with the route chosen.
        columns: its intervals with messages.
        messages: number of messages; about, if only a sample was read.
        failed: number of those that failed.
        most: messages per second in its busiest interval.
        waited: seconds that a message waited on average.
        worked: seconds that the last attempt of a message took on average.
        retries: attempts after the first ones.
    """

    route: str
    href: str
    columns: Sequence[Column]
    messages: int
    failed: int
    most: float
    waited: float
    worked: float
    retries: int


@dataclass(frozen=True, slots=True)
class TimelineTab:
    """A timeline.

    Attributes:
        rows: the routes that had messages, in the order of the pipeline; the first 40.
        hidden: number of further routes.
        seconds: length of a column.
        every: one of this number of messages was read.
        until: end of the last column; None: the messages are being read.
        width: width of a row in its own units.
        height: its height.
    """

    rows: Sequence[TimelineRow]
    hidden: int
    seconds: float
    every: int
    until: str | None = None
    width: int = _COLUMN * INTERVALS
    height: int = HEIGHT


async def timeline(ask: Ask, of: Execution) -> TimelineTab | None:
    """Return the timeline; None for live numbers, which need it only while the page waits for it."""
    if ask.text("mark") not in (None, COUNTING):
        return None
    found = (await ask.services.activity.timeline(of, patience=ask.patience)).result
    if found is None:
        return TimelineTab((), 0, 0.0, 1)
    pipeline = await ask.services.pipelines.of_found(of)
    order = pipelines.places(pipeline_map(pipeline, Known(None)))
    by_route: dict[str, list[RouteTime]] = {}
    for one in found.routes:
        by_route.setdefault(one.route, []).append(one)
    names = sorted(by_route, key=lambda name: order.get(name, len(order)))
    rows = [_row(of, name, by_route[name], found.seconds, found.every) for name in names[:MOST_ROUTES]]
    hidden = max(len(names) - MOST_ROUTES, 0)
    return TimelineTab(rows, hidden, found.seconds, found.every, moment(found.until))


def _row(of: Execution, route: str, found: Sequence[RouteTime], seconds: float, every: int) -> TimelineRow:
    done, failed = _by_column(found, "done"), _by_column(found, "failed")
    totals = {at: done.get(at, 0) + failed.get(at, 0) for at in sorted({*done, *failed})}
    messages, most = sum(totals.values()), max(totals.values())
    return TimelineRow(
        route,
        url(f"/executions/{of.execution_id}", route=route),
        [
            Column(at * _COLUMN, HEIGHT * failed.get(at, 0) / most, HEIGHT * done.get(at, 0) / most)
            for at in totals
        ],
        messages * every,
        sum(failed.values()) * every,
        most * every / seconds,
        sum(one.waited for one in found) / messages,
        sum(one.worked for one in found) / messages,
        sum(one.retries for one in found) * every,
    )


def _by_column(found: Sequence[RouteTime], what: str) -> Mapping[int, int]:
    """Return the numbers by column."""
    numbers: dict[int, int] = {}
    for one in found:
        numbers[one.interval] = numbers.get(one.interval, 0) + getattr(one, what)
    return numbers
