"""The bars of a replay: its publishing, and its messages in each route."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from playhead.model import Counts, Replay, RouteCounts, is_skipped
from playhead.web.graph import Pipe
from playhead.web.page import url

_TRACK: Final = 1000
"""Width of a bar in its own units."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: messages of a route, or the publishing.

    Attributes:
        name: of its live numbers.
        title: what it is about.
        href: page of the route; None for the publishing.
        done, failed, cancelled, open: numbers of messages.
        share: share of the messages that are known: the routes before it may still produce others.
        text: the numbers in words.
    """

    name: str
    title: str
    href: str | None
    done: int
    failed: int
    cancelled: int
    open: int
    text: str
    share: float = 1.0

    @property
    def total(self) -> int:
        return self.done + self.failed + self.cancelled + self.open

    @property
    def widths(self) -> dict[str, str]:
        """Widths of the bars, each drawn over the one before: all that has begun, with failures, done."""
        total = self.total
        parts = {
            "open": total,
            "failed": self.done + self.cancelled + self.failed,
            "cancelled": self.done + self.cancelled,
            "done": self.done,
        }
        return {
            part: f"{_TRACK * self.share * value / total:.1f}" if total else "0"
            for part, value in parts.items()
        }


def bars_of(replay: Replay, routes: Sequence[RouteCounts], pipes: Sequence[Pipe] = ()) -> list[Bar]:
    """Return the bar of the publishing, and one for each route with messages.

    Args:
        routes: in the order of the pipeline.
        pipes: the edges of the pipeline; none: all routes follow the target.
    """
    is_cancelled = replay.state == "cancelled"
    published = Bar(
        *("publishing", "published", None, replay.objects_published),
        *((0, replay.objects_failed) if is_cancelled else (replay.objects_failed, 0)),
        replay.objects_uncertain + to_go(replay),
        f"{replay.objects_published:,} of {replay.objects_found:,}",
    )
    bars = [published]
    # The target has a message for each object from the beginning. A later route has one only when a route
    # before it has processed the object.
    target = replay.to_route.rpartition("/")[2]
    processed: dict[str, float] = {}
    for one in routes:
        if one.counts.total:
            before = [pipe.start for pipe in pipes if pipe.end == one.route and pipe.start in processed]
            shares = [processed[name] for name in before or processed.keys() & {target}]
            share = 1.0 if one.route == target else min(shares, default=1.0)
            processed[one.route] = share * (1 - one.counts.pending / one.counts.total)
            href = url(f"/executions/{replay.execution_id}", route=one.route)
            counts, skipped = one.counts, is_skipped(replay.effects, one.route)
            numbers = (counts.completed, counts.failed, counts.cancelled, counts.pending)
            bars.append(
                Bar(
                    f"route.{one.route}",
                    one.route,
                    href,
                    *numbers,
                    _words(one.counts, skipped),
                    share,
                )
            )
    return bars


def _words(counts: Counts, skipped: bool) -> str:
    parts = [f"{counts.completed:,} {'skipped' if skipped else 'done'}"]
    parts += [f"{counts.failed:,} failed"] * bool(counts.failed)
    parts += [f"{counts.cancelled:,} cancelled"] * bool(counts.cancelled)
    parts += [f"{counts.pending:,} to go"] * bool(counts.pending)
    return ", ".join(parts)


def to_go(replay: Replay) -> int:
    """Return the objects that are neither published nor failed nor uncertain."""
    sent = replay.objects_published + replay.objects_failed + replay.objects_uncertain
    return max(replay.objects_found - sent, 0)
