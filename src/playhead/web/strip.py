"""The strip of the last 24 hours: bars, a line of what waited, marks, and a link for each hour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
_SPARK_PITCH: Final = 5


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
        scale: what the highest bar stands for, in words; empty without a bar.
        line: path of the line of what waited, in a drawing of its own scale; empty if nothing waited.
        bars: paths of its bars, by state: `done`, and `failed` on top of them.
        hours: its hours, oldest first.
        flags: its marks, newest first.
    """

    done: int
    failed: int
    waiting: int
    scale: str
    line: str
    bars: Mapping[str, str]
    hours: Sequence[Hour]
    flags: Sequence[Flag]


def strip_of(day: LastDay, since: str | None, until: str | None) -> Strip:
    """Return the strip of a day.

    Args:
        since, until: the filter of the page.
    """
    first = seconds(day.counts[0].start)
    pitch = WIDTH / len(day.counts)
    flags = [_flag(mark, first) for mark in day.marks if seconds(mark.at) >= first]
    highest = max(one.done + one.failed for one in day.counts)
    return Strip(
        sum(one.done for one in day.counts),
        sum(one.failed for one in day.counts),
        max(one.waiting for one in day.counts),
        f"highest bar: {counted(highest, 'message')} in {MINUTES} minutes" if highest else "",
        _line([one.waiting for one in day.counts], pitch),
        _bars(day.counts, pitch, highest),
        _hours(day.counts, pitch, since, until),
        flags,
    )


def numbers(done: int, failed: int, waiting: int) -> str:
    """Return numbers of messages in words."""
    waits = f", peak of {waiting:,} waiting" if waiting else ""
    return f"{counted(done, 'message')} done, {failed:,} failed{waits}"


def spark(hours: Sequence[int]) -> str:
    """Return the path of the bars of a small graph; empty if all are empty."""
    most = max(hours, default=0)
    return "".join(
        _bar(n * _SPARK_PITCH, _SPARK_HEIGHT, _SPARK_PITCH - 1, max(_SPARK_HEIGHT * one / most, _SHORTEST))
        for n, one in enumerate(hours)
        if one
    )


def _bars(counts: Sequence[TimeCounts], pitch: float, highest: int) -> dict[str, str]:
    paths: dict[str, list[str]] = {"done": [], "failed": []}
    for n, one in enumerate(counts):
        floor = HEIGHT
        for state, count in (("done", one.done), ("failed", one.failed)):
            if count:
                height = max((HEIGHT - _TOP) * count / highest, _SHORTEST)
                paths[state].append(_bar(n * pitch, floor, pitch - _GAP, height))
                floor -= height
    return {state: "".join(path) for state, path in paths.items()}


def _bar(x: float, floor: float, width: float, height: float) -> str:
    """Return the path of a rectangle on a floor."""
    return f"M{x:.6g} {floor:.4g}h{width:.4g}v-{height:.4g}h-{width:.4g}z"


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
