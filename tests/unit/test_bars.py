"""The bars of a replay."""

from __future__ import annotations

from dataclasses import replace

import pytest

from playhead.model import Counts, RouteCounts
from playhead.web.bars import bars_of
from playhead.web.graph import Pipe
from tests.lab import REPLAY

PIPES = (Pipe("upper", "split"), Pipe("split", "embed"), Pipe("upper", "index"))


def _counts(route: str, completed: int, pending: int = 0, failed: int = 0) -> RouteCounts:
    total = completed + pending + failed
    return RouteCounts(route, route, Counts(pending, completed, failed, total=total))


def test_a_bar_of_a_later_route_grows_with_the_objects_that_reach_it():
    replay = replace(REPLAY, to_route="docs/upper", status="publishing_complete", objects_published=8)
    routes = [
        _counts("upper", 1, pending=6, failed=1),
        _counts("split", 1, pending=1),
        _counts("embed", 3),
        _counts("index", 1),
    ]

    ends = {bar.title: float(bar.widths["open"]) for bar in bars_of(replay, routes, PIPES)[1:]}

    assert ends == pytest.approx({"upper": 1000, "split": 250, "embed": 125, "index": 250})
