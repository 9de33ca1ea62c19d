"""Log lines: one for each outcome, with a stable event name and the ids that it concerns."""

from __future__ import annotations

import json
import logging
from typing import Any, NamedTuple

from playhead.ids import moment
from playhead.terminal import is_visible, visible, visible_json

LOG = logging.getLogger("playhead")

WORKER_STARTED = "worker_started"
WORKER_STOPPED = "worker_stopped"
MESSAGE_COMPLETED = "message_completed"
MESSAGE_SKIPPED = "message_skipped"
MESSAGE_RETRIED = "message_retried"
MESSAGE_DEAD = "message_dead"
MESSAGE_RELEASED = "message_released"
MESSAGE_FENCED = "message_fenced"
UNKNOWN_MESSAGE = "unknown_message"
ADAPTER_HANGS = "adapter_hangs"
WORKER_FROZEN = "worker_frozen"
STEP_EXITED = "step_exited"
ROUTE_WAITS = "route_waits"
ROUTE_SKIPPED = "route_skipped"
COOLDOWN_STARTED = "cooldown_started"
ROUTE_UNKNOWN = "route_unknown"
WORK_LEFT = "work_left"
EXECUTIONS_OPEN = "executions_open"
EXECUTION_ENDED = "execution_ended"
JOB_TAKEN = "job_taken"
JOB_LOST = "job_lost"
JOB_ENDED = "job_ended"
JOB_STALLED = "job_stalled"
REPLAY_CONTROLLED = "replay_controlled"
CANARY_DECIDED = "canary_decided"
RECALLED = "messages_recalled"
NOT_TAKEN = "messages_not_taken"
KEYS_REFUSED = "keys_refused"
RESENT = "dead_letters_resent"
PRUNED = "objects_pruned"
RECORDS_DELETED = "records_deleted"
PLAN_READY = "plan_ready"
PLAN_FAILED = "plan_failed"
PLAN_CHANGED = "plan_changed"
REPORT_STORED = "report_stored"
REPORT_DELAYED = "report_delayed"
WEBHOOK_SENT = "webhook_sent"
WEBHOOK_FAILED = "webhook_failed"
BACKEND_UNAVAILABLE = "backend_unavailable"
QUEUE_DIFFERS = "queue_differs"
BACKEND_BACK = "backend_back"
LOOP_FAILED = "loop_failed"
SERVER_STARTED = "server_started"
TRACES_OFF = "traces_off"
CONFIG_APPLIED = "config_applied"
REQUEST_FAILED = "request_failed"
REQUEST_ANSWERED = "request_answered"
CODE_CHANGED = "code_changed"
CODE_RELOADED = "code_reloaded"
CODE_INVALID = "code_invalid"
VERSION_UNCHANGED = "version_unchanged"
ADAPTER_CLOSE_FAILED = "adapter_close_failed"
NAMES_LEFT_OUT = "store_names_left_out"


class Event(NamedTuple):
    """The description of one kind of log line.

    Attributes:
        levels: the levels that it may have.
        fields: the fields that it may have in addition to time, level, event and message; ids first.
        meaning: one or two sentences for the reference.
    """

    name: str
    levels: tuple[str, ...]
    fields: tuple[str, ...]
    meaning: str


_MESSAGE = ("correlation_id", "execution_id", "config", "route", "attempt", "trace_id")
_BACKEND = ("backend", "queue", "link", "execution_id", "code", "detail")

EVENTS = (
    Event(
        MESSAGE_COMPLETED,
        ("debug",),
        (*_MESSAGE, "outputs", "seconds"),
        "An attempt completed its message.",
    ),
    Event(
        MESSAGE_SKIPPED,
        ("debug",),
        (*_MESSAGE, "reason"),
        "An attempt ended its message without an output: a condition dropped the item, a step returned no "
        "output, or a replay does not repeat the effects of the route.",
    ),
    Event(
        MESSAGE_RETRIED,
        ("warning", "debug"),
        (*_MESSAGE, "code", "error", "count"),
        "An attempt failed; another one follows. The code `retry` means that the adapter raised `Retry`. Of "
        "attempts that fail together with the same error, the first is a warning with their `count`, and the "
        "others are on level debug.",
    ),
    Event(
        MESSAGE_DEAD,
        ("error",),
        (*_MESSAGE, "code", "error"),
        "A message is a dead letter: its last attempt failed, its workers died (`worker_lost`), or the "
        "broker refused its dispatch (`publish_refused`).",
    ),
    Event(
        MESSAGE_RELEASED,
        ("warning",),
        _MESSAGE,
        "An attempt could not be made, and does not count. `backend_unavailable` or `route_waits` has the "
        "reason.",
    ),
    Event(
        MESSAGE_FENCED,
        ("warning",),
        _MESSAGE,
        "The result of an attempt was discarded, because its message belongs to a newer attempt.",
    ),
    Event(
        KEYS_REFUSED,
        ("error",),
        ("execution_id", "count", "first_key", "error"),
        "Objects have invalid keys. They are dead letters (`invalid_key`).",
    ),
    Event(
        UNKNOWN_MESSAGE,
        ("warning",),
        ("queue", "message_id"),
        "A dispatch without a row was dropped: another deployment or program writes to this queue.",
    ),
    Event(
        EXECUTION_ENDED,
        ("info",),
        ("execution_id", "status", "config", "completed", "failed", "cancelled"),
        "A run or a replay has ended; the line counts its messages.",
    ),
    Event(
        JOB_ENDED,
        ("info", "error"),
        (
            *("execution_id", "replay_batch_id", "config", "route", "status"),
            *("objects_found", "objects_published", "objects_failed", "detail"),
        ),
        "A run or a replay is listed and published; for a replay, the line counts its objects. At level "
        "`error`: the listing failed.",
    ),
    Event(
        JOB_TAKEN, ("info",), ("execution_id", "epoch"), "This process lists and publishes a run or a replay."
    ),
    Event(
        JOB_LOST,
        ("info", "error"),
        ("execution_id", "epoch", "detail"),
        "Another process continues the run or replay. At level `error`: it failed unexpectedly in this "
        "process.",
    ),
    Event(
        JOB_STALLED,
        ("error",),
        ("execution_id",),
        "Five consecutive processes died while they listed a run or a replay; no process continues.",
    ),
    Event(
        REPLAY_CONTROLLED,
        ("info",),
        (
            *("action", "replay_batch_id", "execution_id", "state"),
            *("objects_published", "objects_uncertain"),
        ),
        "A request paused, resumed, cancelled, retried or paced a replay.",
    ),
    Event(
        CANARY_DECIDED,
        ("info", "warning"),
        ("replay_batch_id", "execution_id", "objects", "failed", "passed"),
        "The first objects of a replay with a canary are processed. At level `warning`: too many of them "
        "failed, and the replay is paused.",
    ),
    Event(
        NOT_TAKEN,
        ("warning",),
        ("queue", "count", "detail"),
        "The broker did not accept dispatches; they are published again later.",
    ),
    Event(
        RECALLED,
        ("warning",),
        ("queue", "count"),
        "The broker lost dispatches; they are published again.",
    ),
    Event(
        RESENT,
        ("info",),
        ("correlation_id", "execution_id", "route", "code", "group", "count"),
        "Dead letters were resent: one, or those of an execution, a route, an error code or a group.",
    ),
    Event(
        PRUNED,
        ("info",),
        ("execution_id", "stage", "count", "bytes"),
        "The objects of an ended execution, or of one of its stages, were deleted by `playhead prune` or by "
        "the retention of its config. The numbers are of this process.",
    ),
    Event(
        RECORDS_DELETED,
        ("info",),
        ("execution_id", "count"),
        "The records of an execution whose objects are all pruned were deleted by `playhead prune --records` "
        "or by the retention of its config. The number is of this process.",
    ),
    Event(PLAN_READY, ("info",), ("plan_id", "count", "bytes"), "A plan of a replay is complete."),
    Event(PLAN_FAILED, ("warning",), ("plan_id", "code", "detail"), "A plan of a replay could not be made."),
    Event(
        PLAN_CHANGED,
        ("warning",),
        ("execution_id", "detail"),
        "Objects of a plan were gone or had changed, so its replay was refused.",
    ),
    Event(
        REPORT_STORED,
        ("info",),
        ("execution_id", "revision", "lines"),
        "The completion report of a replay is stored.",
    ),
    Event(
        REPORT_DELAYED,
        ("warning",),
        ("execution_id", "revision", "detail"),
        "The completion report of a replay cannot be stored now. After six attempts it is abandoned.",
    ),
    Event(
        WEBHOOK_SENT,
        ("info",),
        ("delivery_id", "attempt", "status"),
        "The receiver of a webhook has accepted an event.",
    ),
    Event(
        WEBHOOK_FAILED,
        ("warning",),
        ("delivery_id", "attempt", "status", "detail"),
        "An attempt to send an event to a webhook failed. It is sent again, 12 times in 24 hours at most.",
    ),
    Event(CONFIG_APPLIED, ("info",), ("config", "version"), "A config got a new version."),
    Event(
        REQUEST_FAILED,
        ("warning", "error"),
        ("correlation_id", "method", "path", "error_code", "detail"),
        "The response has a 5xx status. At level `warning`: a backend was unavailable. At level `error`: a "
        "bug in Playhead.",
    ),
    Event(
        REQUEST_ANSWERED,
        ("debug",),
        ("correlation_id", "method", "route", "status", "seconds"),
        "A response was sent.",
    ),
    Event(BACKEND_UNAVAILABLE, ("warning",), _BACKEND, "A backend cannot be reached; it is tried again."),
    Event(BACKEND_BACK, ("info",), ("backend", "link"), "A backend can be reached again."),
    Event(
        ROUTE_WAITS,
        ("warning",),
        ("queue", "code", "detail"),
        "A worker does not consume the queue until all backends respond, or until it has the adapters, their "
        "secrets and their current code. What it lacks is logged once, until the steps run again: "
        "`unknown_adapter`, `secret_missing`, `code_changed`, or `step_invalid` if the adapter rejects its "
        "config.",
    ),
    Event(
        ROUTE_SKIPPED,
        ("warning",),
        ("execution_id", "config", "route", "adapters"),
        "A replay that does not repeat effects reached a route whose adapters declare external effects. When "
        "it was created, this was not known. The replay skips the route.",
    ),
    Event(
        COOLDOWN_STARTED,
        ("warning",),
        ("key", "seconds", "detail"),
        "A step raised `RateLimited`: no worker starts a call of the key for some seconds.",
    ),
    Event(
        QUEUE_DIFFERS,
        ("warning",),
        ("queue", "detail"),
        "A queue already exists with other arguments; Playhead uses it unchanged.",
    ),
    Event(
        NAMES_LEFT_OUT,
        ("warning",),
        ("folder", "names", "why"),
        "Files of a stage are not listed, because their names cannot be keys.",
    ),
    Event(SERVER_STARTED, ("info",), ("process", "url"), "A server accepts requests."),
    Event(WORKER_STARTED, ("info",), ("worker",), "A worker consumes queues."),
    Event(
        WORKER_STOPPED,
        ("info", "warning"),
        ("attempts_ended", "dead", "pid", "exit_code"),
        "A worker has ended. At level `warning`: it ended unexpectedly, and is started again.",
    ),
    Event(
        ROUTE_UNKNOWN,
        ("warning",),
        ("route", "detail"),
        "No config has a route that the worker should process.",
    ),
    Event(
        WORK_LEFT,
        ("error",),
        ("queue", "detail"),
        "`worker --until-idle` or `run` ended, but messages remain whose adapters or secrets it lacks.",
    ),
    Event(
        EXECUTIONS_OPEN,
        ("warning",),
        ("execution_id", "count", "detail"),
        "`worker --until-idle` ended, but executions are running: other processes may add messages, or "
        "replays are paused, queued or stalled. The id is that of the oldest one.",
    ),
    Event(
        ADAPTER_HANGS,
        ("error",),
        ("adapter",),
        "Adapters in half of a route's slots did not return after their time-out, or an async adapter blocks "
        "the event loop of its route; the worker ends.",
    ),
    Event(
        WORKER_FROZEN,
        ("error",),
        ("pid", "seconds"),
        "The event loop of a process did not run for so long that its watchdog ends it. Tracebacks of all "
        "threads follow: an adapter holds the interpreter lock.",
    ),
    Event(
        STEP_EXITED,
        ("error",),
        ("detail",),
        "A step called `os._exit`, which ends its worker. Other workers process its messages again.",
    ),
    Event(ADAPTER_CLOSE_FAILED, ("error",), ("adapter", "route"), "An adapter's `close` raised."),
    Event(
        CODE_CHANGED,
        ("warning",),
        ("source",),
        "A file or module of adapters has changed. The process still runs the code that it has loaded.",
    ),
    Event(
        CODE_RELOADED,
        ("info",),
        ("source",),
        "With `--reload`: a file or module of adapters has changed. The process finishes what runs, and "
        "restarts.",
    ),
    Event(
        CODE_INVALID,
        ("error",),
        ("detail",),
        "With `--reload`: the adapters cannot be loaded. The process waits for the next change.",
    ),
    Event(
        VERSION_UNCHANGED,
        ("warning",),
        ("detail",),
        "The source of adapters has changed since they last ran, but their versions have not.",
    ),
    Event(TRACES_OFF, ("warning",), ("detail",), "Traces were configured, but cannot be exported."),
    Event(LOOP_FAILED, ("error",), ("detail",), "A background loop of a process failed; it runs again."),
)


def emit(event: str, level: int = logging.INFO, /, exc_info: bool | Exception = False, **fields: Any) -> None:
    """Log one outcome: the event's name as the message, and its fields as `extra` for the formatters."""
    if LOG.isEnabledFor(level):
        LOG.log(level, event, extra={"event": event, "fields": fields}, exc_info=exc_info)


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
