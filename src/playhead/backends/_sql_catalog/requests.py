"""What a replay was asked for, as the row of its job holds it: `jobs.request` and `jobs.effects`, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from playhead.model import DepthPace, OnReplay, Pace, RatePace, ReplayRequest, Selection


def encode(request: ReplayRequest, paths_of_plan: int | None = None) -> tuple[str, str | None]:
    """Return `request` and `paths`. Only the process that lists a replay reads its paths.

    Args:
        paths_of_plan: the number of paths that its plan has selected. The plan itself has the objects.
    """
    paths = request.selection and request.selection.paths
    shown = request.shown() | ({"selected_paths": paths_of_plan} if paths_of_plan else {})
    return json.dumps(shown, separators=(",", ":")), json.dumps(paths) if paths else None


@lru_cache(maxsize=1024)
def decode(text: str) -> ReplayRequest:
    """Return the request. The text of a job never changes, and pages and loops read it again and again."""
    return ReplayRequest.of_body(json.loads(text))


def decode_selection(text: str, paths: str | None) -> Selection | None:
    """Return the selection with its paths."""
    found = decode(text).selection
    return found if paths is None else replace(found or Selection(), paths=json.loads(paths))


def selected_paths(text: str) -> int | None:
    """Return the number of paths of a selection; None without any."""
    number: int | None = json.loads(text).get("selected_paths")
    return number


def decode_effects(text: str | None) -> Mapping[str, OnReplay]:
    """Return what a replay does in routes with external effects. Other jobs have no text."""
    found: Mapping[str, OnReplay] = json.loads(text or "{}")
    return found


def pace_columns(pace: Pace | None) -> tuple[float | None, int | None]:
    """Return `pace_rate` and `pace_depth`."""
    if isinstance(pace, RatePace):
        return pace.rate, None
    return None, pace.queue_depth if pace else None


def pace_of(rate: float | None, depth: int | None) -> Pace | None:
    if rate is not None:
        return RatePace(rate)
    return DepthPace(depth) if depth is not None else None
