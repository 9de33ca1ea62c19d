"""Names of log lines. One line an outcome, each with a stable name and the ids it is about."""

from __future__ import annotations

import json
import logging
from typing import Any

from playhead.ids import moment

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
LOOP_FAILED = "loop_failed"
SERVER_STARTED = "server_started"
CONFIG_APPLIED = "config_applied"
REQUEST_FAILED = "request_failed"


def emit(event: str, level: int = logging.INFO, /, exc_info: bool = False, **fields: Any) -> None:
    """Log one outcome: the event's name, and its fields as `extra`, for text and JSON formatters."""
    if LOG.isEnabledFor(level):
        LOG.log(level, event, extra={"event": event, "fields": fields}, exc_info=exc_info)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, event, message, and the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": moment(record.created),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", None),
            "message": record.getMessage(),
        }
        fields |= getattr(record, "fields", {})
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """One line for people: time, level, event, and its fields as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{moment(record.created)} {record.levelname.lower():7} {told(record)}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def told(record: logging.LogRecord) -> str:
    """The message of a record, and its fields as `name=value`."""
    fields: dict[str, Any] = getattr(record, "fields", {})
    return record.getMessage() + "".join(f" {k}={v}" for k, v in fields.items() if v is not None)
