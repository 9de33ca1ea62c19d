"""What a replay leaves when it ends: its completion report, and the events for its webhook."""

from __future__ import annotations

from typing import Literal

ReplayEvent = Literal[
    "replay.started",
    "replay.paused",
    "replay.resumed",
    "replay.completed",
    "replay.failed",
    "replay.cancelled",
    "replay.refused",
]
