"""Log lines: one for each outcome, with a stable event name and the ids that it concerns."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

LOG = logging.getLogger("playhead")
ACTOR: Final = ContextVar[str | None]("actor", default=None)
"""Who has sent the request that this task serves."""


class Event(NamedTuple):
    """The description of one kind of log line.

    Attributes:
        levels: the levels that it may have. The first one is used unless the caller gives another one.
        fields: the fields that it may have in addition to time, level, event and message; ids first.
        meaning: one or two sentences for the reference.
    """

    name: str
    levels: tuple[str, ...]
    fields: tuple[str, ...]
    meaning: str


_MESSAGE = "correlation_id execution_id config route attempt trace_id"
_REQUEST = "correlation_id method"
_BACKEND = "backend queue link execution_id code detail"

EVENTS: Final[list[Event]] = []
_LEVELS: Final[dict[str, int]] = {}


def _event(name: str, levels: str, fields: str, meaning: str) -> str:
    """Add an event to the table, and return its name. Levels and fields are separated by blanks."""
    event = Event(name, tuple(levels.split()), tuple(fields.split()), meaning)
    EVENTS.append(event)
    _LEVELS[name] = getattr(logging, event.levels[0].upper())
    return name


MESSAGE_COMPLETED = _event(
    "message_completed", "debug", f"{_MESSAGE} outputs seconds", "An attempt completed its message."
)
MESSAGE_SKIPPED = _event(
    "message_skipped",
    "debug",
    f"{_MESSAGE} reason",
    "An attempt ended its message without an output: a condition dropped the item, a step returned no "
    "output, or a replay does not repeat the effects of the route.",
)
MESSAGE_RETRIED = _event(
    "message_retried",
    "warning debug",
    f"{_MESSAGE} code error count",
    "An attempt failed; another one follows. The code `retry` means that the adapter raised `Retry`. Of "
    "attempts that fail together with the same error, the first is a warning with their `count`, and the "
    "others are on level debug.",
)
MESSAGE_DEAD = _event(
    "message_dead",
    "error",
    f"{_MESSAGE} code error",
    "A message is a dead letter: its last attempt failed, its workers died (`worker_lost`), or the "
    "broker refused its dispatch (`publish_refused`).",
)
MESSAGE_RELEASED = _event(
    "message_released",
    "warning",
    _MESSAGE,
    "An attempt could not be made, and does not count. `backend_unavailable` or `route_waits` has the "
    "reason.",
)
MESSAGE_FENCED = _event(
    "message_fenced",
    "warning",
    _MESSAGE,
    "The result of an attempt was discarded, because its message belongs to a newer attempt.",
)
KEYS_REFUSED = _event(
    "keys_refused",
    "error",
    "execution_id count first_key error",
    "Objects have invalid keys. They are dead letters (`invalid_key`).",
)
UNKNOWN_MESSAGE = _event(
    "unknown_message",
    "warning",
    "queue message_id",
    "A dispatch without a row was dropped: another deployment or program writes to this queue.",
)
EXECUTION_ENDED = _event(
    "execution_ended",
    "info",
    "execution_id status config completed failed cancelled",
    "A run or a replay has ended; the line counts its messages.",
)
JOB_ENDED = _event(
    "job_ended",
    "info error",
    "execution_id replay_batch_id config route status objects_found objects_published objects_failed detail",
    "A run or a replay is listed and published; for a replay, the line counts its objects. At level "
    "`error`: the listing failed.",
)
JOB_TAKEN = _event(
    "job_taken", "info", "execution_id epoch", "This process lists and publishes a run or a replay."
)
JOB_LOST = _event(
    "job_lost",
    "info error",
    "execution_id epoch detail",
    "Another process continues the run or replay. At level `error`: it failed unexpectedly in this process.",
)
JOB_STALLED = _event(
    "job_stalled",
    "error",
    "execution_id",
    "Five consecutive processes died while they listed a run or a replay; no process continues.",
)
REPLAY_CONTROLLED = _event(
    "replay_controlled",
    "info",
    "action replay_batch_id execution_id state objects_published objects_uncertain",
    "A request paused, resumed, cancelled, retried or paced a replay.",
)
CANARY_DECIDED = _event(
    "canary_decided",
    "info warning",
    "replay_batch_id execution_id objects failed passed",
    "The objects of a canary, or the last objects of a replay with `pause_if`, are processed. At level "
    "`warning`: too many of them failed, and the replay is paused.",
)
NOT_TAKEN = _event(
    "messages_not_taken",
    "warning",
    "queue count detail",
    "The broker did not accept dispatches; they are published again later.",
)
RECALLED = _event(
    "messages_recalled", "warning", "queue count", "The broker lost dispatches; they are published again."
)
RESENT = _event(
    "dead_letters_resent",
    "info",
    "correlation_id execution_id route code group count",
    "Dead letters were resent: one, or those of an execution, a route, an error code or a group.",
)
PRUNED = _event(
    "objects_pruned",
    "info",
    "execution_id stage count bytes",
    "The objects of an ended execution, or of one of its stages, were deleted by `playhead prune` or by "
    "the retention of its config. The numbers are of this process.",
)
PUBLICATION_DECIDED = _event(
    "publication_decided", "info", "dataset publication", "Readers of a dataset see a new publication."
)
PUBLICATION_REFUSED = _event(
    "publication_refused",
    "warning",
    "dataset publication detail",
    "A publication was refused. Readers see the one before.",
)
PUBLICATION_ROLLED_BACK = _event(
    "publication_rolled_back",
    "info",
    "dataset publication",
    "Readers of a dataset see an earlier publication again.",
)
PUBLICATION_DROPPED = _event(
    "publication_dropped",
    "info",
    "count",
    "Publications that were no longer kept were dropped, and their entries deleted.",
)
SINK_SWITCHED = _event(
    "sink_switched", "info", "dataset route publication", "Readers of an index or a table see a publication."
)
SINK_LAGGING = _event(
    "sink_lagging",
    "warning",
    "dataset route seconds",
    "An index or a table has shown an earlier publication for more than a minute. Logged once, until it "
    "switches.",
)
SINK_FAILED = _event(
    "sink_failed",
    "warning",
    "dataset route code detail",
    "An index or a table cannot be changed now. It is tried again every few seconds, and its readers see the "
    "earlier publication.",
)
RECORDS_DELETED = _event(
    "records_deleted",
    "info",
    "execution_id count",
    "The records of an execution whose objects are all pruned were deleted by `playhead prune --records` "
    "or by the retention of its config. The number is of this process.",
)
PLAN_READY = _event("plan_ready", "info", "plan_id count bytes", "A plan of a replay is complete.")
PLAN_FAILED = _event("plan_failed", "warning", "plan_id code detail", "A plan of a replay could not be made.")
PLAN_CHANGED = _event(
    "plan_changed",
    "warning",
    "execution_id detail",
    "Objects of a plan were gone or had changed, so its replay was refused.",
)
REPORT_STORED = _event(
    "report_stored", "info", "execution_id revision lines", "The completion report of a replay is stored."
)
REPORT_DELAYED = _event(
    "report_delayed",
    "warning",
    "execution_id revision detail",
    "The completion report of a replay cannot be stored now. After six attempts it is abandoned.",
)
_SENT = "delivery_id attempt status"
WEBHOOK_SENT = _event("webhook_sent", "info", _SENT, "The receiver of a webhook has accepted an event.")
WEBHOOK_FAILED = _event(
    "webhook_failed",
    "warning",
    f"{_SENT} detail",
    "An attempt to send an event to a webhook failed. It is sent again, 12 times in 24 hours at most.",
)
CONFIG_APPLIED = _event("config_applied", "info", "config version", "A config got a new version.")
REQUEST_FAILED = _event(
    "request_failed",
    "warning error",
    f"{_REQUEST} path error_code detail",
    "The response has a 5xx status. At level `warning`: a backend was unavailable. At level `error`: a "
    "bug in Playhead.",
)
REQUEST_ANSWERED = _event(
    "request_answered", "debug", f"{_REQUEST} route status seconds", "A response was sent."
)
BACKEND_UNAVAILABLE = _event(
    "backend_unavailable", "warning", _BACKEND, "A backend cannot be reached; it is tried again."
)
BACKEND_BACK = _event("backend_back", "info", "backend link", "A backend can be reached again.")
ROUTE_WAITS = _event(
    "route_waits",
    "warning",
    "queue code detail",
    "A worker does not consume the queue until all backends respond, or until it has the adapters, their "
    "secrets and their current code. What it lacks is logged once, until the steps run again: "
    "`unknown_adapter`, `secret_missing`, `code_changed`, or `step_invalid` if the adapter rejects its "
    "config.",
)
ROUTE_SKIPPED = _event(
    "route_skipped",
    "warning",
    "execution_id config route adapters",
    "A replay that does not repeat effects reached a route whose adapters declare external effects. When "
    "it was created, this was not known. The replay skips the route.",
)
COOLDOWN_STARTED = _event(
    "cooldown_started",
    "warning",
    "key seconds detail",
    "A step raised `RateLimited`: no worker starts a call of the key for some seconds.",
)
ROUTE_PAUSED = _event(
    "route_paused",
    "warning",
    "config route seconds detail",
    "A request has paused a route: workers start no attempt of it until it is resumed, or for some seconds.",
)
ROUTE_RESUMED = _event("route_resumed", "info", "config route", "A request has resumed a route.")
QUEUE_DIFFERS = _event(
    "queue_differs",
    "warning",
    "queue detail",
    "A queue already exists with other arguments; Playhead uses it unchanged.",
)
NAMES_LEFT_OUT = _event(
    "store_names_left_out",
    "warning",
    "folder names why",
    "Files of a stage are not listed, because their names cannot be keys.",
)
SERVER_STARTED = _event("server_started", "info", "process url", "A server accepts requests.")
LOGIN_REFUSED = _event(
    "login_refused",
    "warning",
    "detail",
    "The provider refused a login, its answer was not valid, or the person has no rights here.",
)
NO_KEY = _event(
    "no_key",
    "warning",
    "detail",
    "People log in at a provider or a proxy, and no key exists. So programs cannot use the server yet.",
)
INSECURE_IGNORED = _event(
    "insecure_ignored",
    "warning",
    "detail",
    "The server was started with `--insecure`, but requires a key. So the flag has no effect.",
)
WORKER_STARTED = _event("worker_started", "info", "worker", "A worker consumes queues.")
WORKER_STOPPED = _event(
    "worker_stopped",
    "info warning",
    "attempts_ended dead pid exit_code",
    "A worker has ended. At level `warning`: it ended unexpectedly, and is started again.",
)
ROUTE_UNKNOWN = _event(
    "route_unknown", "warning", "route detail", "No config has a route that the worker should process."
)
WORK_LEFT = _event(
    "work_left",
    "error",
    "queue detail",
    "`worker --until-idle` or `run` ended, but messages remain whose adapters or secrets it lacks.",
)
EXECUTIONS_OPEN = _event(
    "executions_open",
    "warning",
    "execution_id count detail",
    "`worker --until-idle` ended, but executions are running: other processes may add messages, or "
    "replays are paused, queued or stalled. The id is that of the oldest one.",
)
ADAPTER_HANGS = _event(
    "adapter_hangs",
    "error",
    "adapter",
    "Adapters in half of a route's slots did not return after their time-out, or an async adapter blocks "
    "the event loop of its route; the worker ends.",
)
WORKER_FROZEN = _event(
    "worker_frozen",
    "error",
    "pid seconds",
    "The event loop of a process did not run for so long that its watchdog ends it. Tracebacks of all "
    "threads follow: an adapter holds the interpreter lock.",
)
STEP_EXITED = _event(
    "step_exited",
    "error",
    "detail",
    "A step called `os._exit`, which ends its worker. Other workers process its messages again.",
)
ADAPTER_CLOSE_FAILED = _event(
    "adapter_close_failed", "error", "adapter route", "An adapter's `close` raised."
)
CODE_CHANGED = _event(
    "code_changed",
    "warning",
    "source adapters",
    "The code of adapters in a source has changed. The process still runs the code that it has loaded.",
)
CODE_RELOADED = _event(
    "code_reloaded",
    "info",
    "source",
    "With `--reload`: the code of adapters has changed. The process finishes what runs, and restarts.",
)
CODE_INVALID = _event(
    "code_invalid",
    "error",
    "detail",
    "With `--reload`: the adapters cannot be loaded. The process waits for the next change.",
)
VERSION_UNCHANGED = _event(
    "version_unchanged",
    "warning",
    "detail",
    "The code of adapters has changed since they last ran, but their versions have not.",
)
_CHANGE = "action outcome error_code correlation_id execution_id config replay_batch_id object count reason"
AUDIT = _event("audit", "info", f"{_CHANGE} via address", "A change or a refusal was added to the audit.")
TRACES_OFF = _event("traces_off", "warning", "detail", "Traces were configured, but cannot be exported.")
LOOP_FAILED = _event(
    "loop_failed", "error", "detail", "A background loop of a process failed; it runs again."
)


def emit(event: str, level: int | None = None, /, exc_info: bool | Exception = False, **fields: Any) -> None:
    """Log one outcome: the event's name as the message, and its fields as `extra` for the formatters.

    Without a `level`, the first level of the event applies.
    """
    level = level or _LEVELS[event]
    if LOG.isEnabledFor(level):
        who = {"actor": actor} if (actor := ACTOR.get()) else {}
        LOG.log(level, event, extra={"event": event, "fields": who | fields}, exc_info=exc_info)
