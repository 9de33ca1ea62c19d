"""The metrics by name, with their kinds, labels and meanings. The reference is generated from this list."""

from __future__ import annotations

from typing import Final, NamedTuple

from playhead.services.metrics import MOST_ROUTES


class Declared(NamedTuple):
    """A metric, by its printed name. A histogram has three names, with `_bucket`, `_sum` and `_count`."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


_QUEUE: Final = ("config", "route", "queue")
_ROUTE: Final = ("config", "route")
_DATASET: Final = ("config", "dataset")
METRICS: Final = (
    Declared(
        "playhead_build_info", "gauge", ("version",), "Always 1; the label is the version of this server."
    ),
    Declared(
        "playhead_backend_up",
        "gauge",
        ("port",),
        "1 if the catalog, the broker or the store responded in time to this scrape, else 0.",
    ),
    Declared(
        "playhead_processes", "gauge", ("kind",), "Processes that are alive: worker, serve, run, replay."
    ),
    Declared(
        "playhead_routes_omitted",
        "gauge",
        (),
        f"Routes above the limit of {MOST_ROUTES}, which are not reported.",
    ),
    Declared("playhead_workers", "gauge", _QUEUE, "Processes that consume the queue."),
    Declared("playhead_queue_depth", "gauge", _QUEUE, "Dispatches in the queue that are ready."),
    Declared(
        "playhead_in_flight",
        "gauge",
        _QUEUE,
        "Dispatches of the queue that are delivered and not yet acknowledged.",
    ),
    Declared(
        "playhead_messages",
        "gauge",
        (*_ROUTE, "state"),
        "Messages in the state pending, running, retry or dead, counted from rows.",
    ),
    Declared(
        "playhead_messages_completed_total", "counter", _ROUTE, "Messages that were completed or skipped."
    ),
    Declared(
        "playhead_messages_failed_total",
        "counter",
        _ROUTE,
        "Attempts that failed, whether the message is retried or not.",
    ),
    Declared(
        "playhead_messages_retried_total",
        "counter",
        _ROUTE,
        "Attempts that failed, and whose message is retried.",
    ),
    Declared("playhead_messages_dead_total", "counter", _ROUTE, "Messages that became dead letters."),
    Declared(
        "playhead_messages_released_total",
        "counter",
        _ROUTE,
        "Attempts that were released: a backend was unavailable, an adapter was missing, or a service "
        "rejected the call.",
    ),
    Declared(
        "playhead_messages_rate_limited_total",
        "counter",
        _ROUTE,
        "Attempts that were released, because a step raised `RateLimited`.",
    ),
    Declared(
        "playhead_cooldown_seconds",
        "gauge",
        ("key",),
        "Seconds until calls of a rate limit or a route may start again. Only keys with a cooldown.",
    ),
    Declared(
        "playhead_key_seconds",
        "gauge",
        ("key",),
        "Seconds until the key with this name ends. Only keys that end within 14 days and that no other key "
        "replaces.",
    ),
    Declared(
        "playhead_dataset_publication", "gauge", _DATASET, "Number of the publication that readers see, or 0."
    ),
    Declared(
        "playhead_dataset_seq",
        "gauge",
        _DATASET,
        "Number of publications and rollbacks so far, each of which changed what readers see.",
    ),
    Declared(
        "playhead_dataset_held",
        "gauge",
        _DATASET,
        "1 if automatic publication waits for a person since a rollback, else 0.",
    ),
    Declared(
        "playhead_dataset_unpublished",
        "gauge",
        _DATASET,
        "Settled runs and replays that are newer than what readers see; at most 10.",
    ),
    Declared(
        "playhead_dataset_objects", "gauge", _DATASET, "Objects of the publication that readers see, or 0."
    ),
    Declared(
        "playhead_dataset_stale",
        "gauge",
        _DATASET,
        "Results in this publication that are not of the newest code and config. Absent if this server has "
        "not loaded all adapters of the dataset.",
    ),
    Declared(
        "playhead_dataset_age_seconds",
        "gauge",
        _DATASET,
        "Seconds since this publication became current for the first time.",
    ),
    Declared(
        "playhead_publication_seconds",
        "histogram",
        ("step",),
        "Duration of the steps of publications: `resolving` their content, and `staging` it in the sinks.",
    ),
    Declared(
        "playhead_sink_lag_seconds",
        "gauge",
        (*_DATASET, "route"),
        "Seconds for which an index or a table has been behind its dataset; 0 if it is not.",
    ),
    Declared(
        "playhead_attempt_duration_seconds", "histogram", _ROUTE, "Duration of the adapters of an attempt."
    ),
    Declared(
        "playhead_message_age_seconds",
        "histogram",
        _ROUTE,
        "Time from the recording of a message to its completion.",
    ),
    Declared(
        "playhead_replay_messages_published_total",
        "counter",
        _ROUTE,
        "Messages of replays that the broker confirmed.",
    ),
    Declared(
        "playhead_replay_messages_failed_total",
        "counter",
        _ROUTE,
        "Objects of replays that the broker rejected permanently, or whose key is invalid.",
    ),
    Declared(
        "playhead_http_requests_total",
        "counter",
        ("method", "route", "status"),
        "Requests to which this server responded.",
    ),
    Declared(
        "playhead_http_request_duration_seconds",
        "histogram",
        ("method", "route"),
        "Duration of responses, except for event streams.",
    ),
)
