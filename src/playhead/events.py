"""Names of log lines. One line an outcome, each with a stable name and the ids it is about."""

from __future__ import annotations

import logging
from typing import Any

LOG = logging.getLogger("playhead")

WORKER_STARTED = "worker_started"
WORKER_STOPPED = "worker_stopped"
MESSAGE_RETRIED = "message_retried"
MESSAGE_DEAD = "message_dead"
MESSAGE_GIVEN_BACK = "message_given_back"
MESSAGE_FENCED = "message_fenced"
UNKNOWN_MESSAGE = "unknown_message"
ADAPTER_HANGS = "adapter_hangs"
ROUTE_PAUSED = "route_paused"
EXECUTION_ENDED = "execution_ended"
JOB_TAKEN = "job_taken"
JOB_LOST = "job_lost"
JOB_ENDED = "job_ended"
JOB_STALLED = "job_stalled"
RECALLED = "messages_recalled"
BACKEND_AWAY = "backend_away"
SERVER_STARTED = "server_started"
CONFIG_APPLIED = "config_applied"
REQUEST_FAILED = "request_failed"


def emit(event: str, level: int = logging.INFO, /, exc_info: bool = False, **fields: Any) -> None:
    """Log one outcome: the event's name, and its fields as `extra`, for text and JSON formatters."""
    if LOG.isEnabledFor(level):
        LOG.log(level, event, extra={"event": event, "fields": fields}, exc_info=exc_info)
