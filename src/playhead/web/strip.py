"""The strip of the last 24 hours: bars, a line of what waited, marks, and a link for each hour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from playhead.ids import moment, seconds
from playhead.model import Mark, TimeCounts
from playhead.services.activity import HOURS, MINUTES, LastDay
from playhead.web.page import url
from playhead.web.render import counted
from playhead.web.states import MARKS

WIDTH: Final = 960.0
HEIGHT: Final = 90.0
LINE_HEIGHT: Final = 28.0
"""Height of the drawing of the line."""
_TOP: Final = 8.0
"""Room above the bars for the heads of marks."""
_GAP: Final = 2.0
_HOUR: Final = 3600.0
_SHORTEST: Final = 1.5
"""Height of a bar that is not empty."""
_SPARK_HEIGHT: Final = 24.0


@dataclass(frozen=True, slots=True)
class Piece:
    """A rectangle of a bar.

    Attributes:
        state: `done` or `failed`.
        x, y, height: where it is, in units of the drawing.
    """

    state: str
    x: float
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour of the strip, and a link that shows only what happened then.

    Attributes:
        x, width: where it is.
        start: its beginning; RFC 3339 in UTC.
        done, failed: messages that ended in it.
        waiting: the most messages that waited at once.
        text: its numbers in words.
        href: the page, filtered by the hour; without the filter if it is chosen.
        chosen: whether the page is filtered by it.
    """

    x: float
    width: float
    start: str
    done: int
    failed: int
    waiting: int
    text: str
    href: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Flag:
    """A mark.

    Attributes:
        x: where it is.
        text: what happened.
        at: when; RFC 3339 in UTC.
    """

    x: float
    text: str
    at: str


@dataclass(frozen=True, slots=True)
class Strip:
    """The strip.

    Attributes:
        done, failed: numbers of all messages that it shows.
        waiting: the most messages that waited at once.
        line: path of the line of what waited, in a drawing of its own scale; empty if nothing waited.
        pieces: its bars.
        bar: width of one.
        hours: its hours, oldest first.
        flags: its marks, newest first.
    """

    done: int
    failed: int
    waiting: int
    line: str
    pieces: Sequence[Piece]
    bar: float
    hours: Sequence[Hour]
    flags: Sequence[Flag]


def strip_of(day: LastDay, since: str | None, until: str | None) -> Strip:
    """Return the strip of a day.

    Args:
        since, until: the filter of the page.
    """
    first = seconds(day.counts[0].start)
    pitch = WIDTH / len(day.counts)
    most = max((one.done + one.failed for one in day.counts), default=0)
    pieces = [piece for n, one in enumerate(day.counts) for piece in _pieces(one, n * pitch, most) if most]
    flags = [_flag(mark, first) for mark in day.marks if seconds(mark.at) >= first]
    return Strip(
        sum(one.done for one in day.counts),
        sum(one.failed for one in day.counts),
        max(one.waiting for one in day.counts),
        _line([one.waiting for one in day.counts], pitch),
        pieces,
        round(pitch - _GAP, 2),
        _hours(day.counts, pitch, since, until),
        flags,
    )


def numbers(done: int, failed: int, waiting: int) -> str:
    """Return numbers of messages in words."""
    waits = f", at most {waiting:,} waiting" if waiting else ""
    return f"{counted(done, 'message')} done, {failed:,} failed{waits}"


def spark(hours: Sequence[int]) -> list[float]:
    """Return the heights of the bars of a small graph."""
    most = max(hours, default=0)
    return [round(max(_SPARK_HEIGHT * one / most, _SHORTEST), 1) if one else 0.0 for one in hours]


def _pieces(one: TimeCounts, x: float, most: int) -> list[Piece]:
    found = []
    floor = HEIGHT
    for state, count in (("done", one.done), ("failed", one.failed)):
        if count:
            height = max((HEIGHT - _TOP) * count / most, _SHORTEST)
            floor -= height
            found.append(Piece(state, round(x, 2), round(floor, 2), round(height, 2)))
    return found


def _line(waiting: Sequence[int], pitch: float) -> str:
    """Return the path of a line of steps, one for each interval."""
    most = max(waiting)
    if not most:
        return ""
    heights = [round(LINE_HEIGHT - (LINE_HEIGHT - _GAP) * one / most, 1) for one in waiting]
    steps = [f"V{height:g}H{(n + 1) * pitch:g}" for n, height in enumerate(heights)]
    return f"M0 {heights[0]:g}{''.join(steps)}"


def _hours(counts: Sequence[TimeCounts], pitch: float, since: str | None, until: str | None) -> list[Hour]:
    size = 60 // MINUTES
    found = []
    for n in range(0, len(counts), size):
        start, some = counts[n].start, counts[n : n + size]
        end = moment(seconds(start) + _HOUR)
        chosen = (start, end) == (since, until)
        done, failed = sum(one.done for one in some), sum(one.failed for one in some)
        waiting = max(one.waiting for one in some)
        text = f"{start[11:16]} to {end[11:16]} UTC: {numbers(done, failed, waiting)}"
        href = "/" if chosen else url("/", since=start, until=end)
        x, width = round(n * pitch, 2), round(size * pitch, 2)
        found.append(Hour(x, width, start, done, failed, waiting, text, href, chosen))
    return found


def _flag(mark: Mark, first: float) -> Flag:
    x = WIDTH * (seconds(mark.at) - first) / (HOURS * _HOUR)
    return Flag(round(x, 1), MARKS.get(mark.kind, mark.kind + " {}").format(mark.name), mark.at)
