"""Named points at which tests kill a process.

With `PLAYHEAD_FAULT=point[:n]`, a process kills itself (SIGKILL) when it reaches the point for the n-th time.
So a test can end a real process after any step, and check what remains.
"""

from __future__ import annotations

import os
import signal
import sys

POINTS = frozenset(
    {"submit.stored", "submit.sealed", "reconciler.published", "control.committed", "reuse.indexed"}
    | {f"plan.{x}" for x in ("paged", "ready")}
    | {f"prune.{x}" for x in ("begun", "marked", "deleted", "emptied", "records")}
    | {f"take.{x}" for x in ("received", "intended", "removed")}
    | {f"report.{x}" for x in ("bound", "written", "stored")}
    | {f"webhook.{x}" for x in ("sent", "noted")}
    | {f"publication.{x}" for x in ("begun", "undone", "rewound", "written")}
    | {f"publication.{x}" for x in ("resolved", "finished", "staged", "decided", "refused", "rolled_back")}
    | {f"drop.{x}" for x in ("marked", "page")}
    | {f"sink.{x}" for x in ("staged", "switched", "forgot", "lag_reported")}
    | {f"repair.{x}" for x in ("asked", "rebuilt", "recorded", "ended")}
    | {f"replay.{x}" for x in ("created", "listed", "recorded", "published", "marked", "closed")}
    | {"replay.admitted", "replay.allowed", "replay.decided", "replay.checked", "replay.compared"}
    | {
        f"worker.{x}"
        for x in (
            *("claimed", "read", "ran", "bound", "sidecar", "object"),
            *("committed", "published", "marked", "acked", "checked"),
        )
    }
)

_armed: dict[str, int] = {}


def _kill(point: str) -> None:
    sys.stderr.write(f"fault: {point}\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def arm(spec: str) -> None:
    """Arm one point from `point[:n]`; an empty spec disarms all points.

    Raises:
        ValueError: the point does not exist, or `n` is not a positive number.
    """
    _armed.clear()
    if not spec:
        return
    point, _, n = spec.partition(":")
    if point not in POINTS:
        raise ValueError(f"unknown fault point {point!r}; known: {', '.join(sorted(POINTS))}")
    passes = int(n or "1")
    if passes < 1:
        raise ValueError(f"fault point {spec!r}: the number of passes must be at least 1")
    _armed[point] = passes


def reach(point: str, passes: int = 1) -> None:
    """Note that `point` was reached `passes` times. While nothing is armed, this is one test of a dict."""
    if not _armed:
        return
    left = _armed.get(point)
    if left is None:
        return
    if left <= passes:
        _armed.clear()
        _kill(point)
    else:
        _armed[point] = left - passes
