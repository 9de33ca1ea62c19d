"""The two forms of a log line: a JSON object, or human-readable text."""

from __future__ import annotations

import json
import logging
from typing import Any

from playhead.ids import moment
from playhead.terminal import is_visible, visible, visible_json


class JsonFormatter(logging.Formatter):
    """Format a line as one JSON object: time, level, event, message, trace id, and the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": moment(record.created),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", None),
            "message": record.getMessage(),
        }
        if trace := getattr(record, "trace_id", None):
            fields["trace_id"] = trace
        fields |= getattr(record, "fields", {})
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return visible_json(json.dumps(fields, default=str, ensure_ascii=False))


class TextFormatter(logging.Formatter):
    """Format a human-readable line: time, level, event, and its fields as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{moment(record.created)} {record.levelname.lower():7} {one_line(record)}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line

    def formatException(self, ei: Any) -> str:
        """Return the traceback without control characters: the text of an error may contain any."""
        return visible(super().formatException(ei), keep="\n")


def one_line(record: logging.LogRecord) -> str:
    """Return the message of a record and its fields as `name=value`, on one line."""
    fields: dict[str, Any] = getattr(record, "fields", {})
    return visible(record.getMessage()) + "".join(
        f" {k}={_flat(v)}" for k, v in fields.items() if v is not None
    )


def _flat(value: Any) -> str:
    """The text of a field, on one line: as a JSON string if it has line ends or other hidden characters."""
    text = str(value)
    return text if is_visible(text) else visible_json(json.dumps(text, ensure_ascii=False))
