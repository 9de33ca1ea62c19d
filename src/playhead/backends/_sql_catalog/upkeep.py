"""What the reconciler waits for, processes, and what can't be sent again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from playhead.errors import Conflict
from playhead.ids import moment
from playhead.model import WorkerInfo

UNHURRIED_SECONDS: Final = 60.0
"""A live publisher that has not published a row for so long has lost sight of it (its broker failed)."""
FORGET_SECONDS: Final = 3600.0
"""For so long a process that is dead keeps its row."""

OPEN_JOB: Final = "j.state IN ('uploading', 'publishing')"
"""Says what the index `jobs_open` says, word for word: else all jobs there ever were are looked at."""

COUNTERS: Final = (
    "SELECT counters FROM processes WHERE counters IS NOT NULL UNION ALL SELECT counters FROM departed"
)

WORKER: Final = "SELECT id, kind, host, pid, queues, started_at, heartbeat_at FROM processes "

UNSEALED: Final = "the process that stored the inputs ended before all of them were stored; run it again"


def worker_of(row: Sequence[Any]) -> WorkerInfo:
    """From a row as `WORKER` gives it."""
    process, kind, host, pid, queues, began, beat = row
    return WorkerInfo(process, kind, host, pid, json.loads(queues), moment(began), moment(beat))


def is_cancelled(execution: UUID) -> Conflict:
    return Conflict(
        "execution_ended", f"execution {execution} is cancelled; its dead letters can't be sent again"
    )


def has_bad_key(correlation_id: UUID) -> Conflict:
    return Conflict(
        "execution_ended",
        f"message {correlation_id} names a key that can't be worked; rename the object and replay it",
    )
