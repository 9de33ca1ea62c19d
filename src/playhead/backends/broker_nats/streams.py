"""The stream and the consumers of a queue: their names, their declarations, and the settings that work needs.

A stream has a subject and a consumer for each level of the queue.

Declarations never depend on a config. So all processes declare the same, in any order, at the same time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from playhead.backends.broker_nats.frames import subject_of
from playhead.backends.broker_nats.link import Link
from playhead.errors import Unavailable, broker_unavailable

CONSUMER = "playhead"
BULK_CONSUMER = "playhead-bulk"
STREAM_PREFIX = "playhead-"

NO_STREAM = 10059
NO_CONSUMER = 10014
NO_MESSAGE = 10037

_NANOSECONDS = 1_000_000_000
_DUPLICATE_SECONDS = 2
"""Drops messages that are published again after a short interruption. The server keeps the ids of this time
in memory. During it, a dispatch that was acknowledged cannot be published again with the same id."""

_NO_LEADER = 10008
_LEADERLESS = "the cluster has no leader: more than half of its servers must be up"

_LONGEST_NAME = 255

_MOST_WAITING = 10_000
"""The limit of receivers that wait for one queue, in all processes."""


def stream_of(queue: str) -> str:
    """Return the stream of a queue. Names of streams may not contain all characters of queue names."""
    return STREAM_PREFIX + queue.replace("_", "__").replace(".", "_d")


def queue_of(stream: str) -> str:
    """Return the queue of a stream, with its prefix."""
    pairs = re.compile(r"_(.)")
    return pairs.sub(lambda m: "." if m[1] == "d" else m[1], stream.removeprefix(STREAM_PREFIX))


def unfit(queue: str) -> str | None:
    """Return why a queue's name cannot be a subject and a stream of NATS; None if it can."""
    if len(stream_of(queue)) > _LONGEST_NAME:
        return (
            f"the queue name {queue!r} is too long: a stream of NATS may have {_LONGEST_NAME} characters, "
            "and each dot and underscore takes two"
        )
    if all(queue.split(".")):
        return None
    return f"the queue name {queue!r} has two dots in a row or a dot at an end, which NATS forbids: rename it"


async def ask(link: Link, subject: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Send a request to JetStream; an answer with an `error` is returned like any other.

    Raises `Unavailable` when JetStream does not answer or is not enabled.
    """
    try:
        answer = await link.ask(f"$JS.API.{subject}", json.dumps(body).encode() if body else b"")
    except Unavailable as exc:
        if link.lost_because is not None or not link.is_clustered:
            raise
        raise broker_unavailable(f"{exc.detail}. A possible reason: {_LEADERLESS}") from exc
    if answer.status == "503":
        raise broker_unavailable(
            f"NATS at {link.server} has no JetStream for this account. Start nats-server with -js, or with "
            f"jetstream {{ }} in its configuration. Another possible reason: {_LEADERLESS}"
        )
    try:
        found = json.loads(answer.data)
    except ValueError as exc:
        raise link.unavailable(f"answered {subject} with invalid JSON") from exc
    return found if isinstance(found, dict) else {}


def error_of(answer: Mapping[str, Any]) -> int:
    """Return the code of the error in an answer; 0 if there is no error."""
    error = answer.get("error")
    return int(error.get("err_code") or error.get("code") or -1) if error else 0


async def account(link: Link) -> dict[str, Any]:
    """Return the JetStream limits and usage of this account.

    Raises `Unavailable` if the account has no JetStream or no permission.
    """
    found = await ask(link, "INFO")
    if error_of(found):
        raise _refused(link, "the account has no JetStream, or JetStream cannot answer", found)
    return found


async def declare(link: Link, queue: str, *, visibility: float, replicas: int) -> None:
    """Create the stream of a queue and its consumers, if they do not exist.

    The stream is created first. If this process dies in between, the stream keeps published messages, and the
    next process creates the consumers. The consumer of normal dispatches is first: if it was created without
    a filter, it overlaps with the other one until it gets one.

    Raises `Unavailable` if one of them cannot be created, or if an existing stream would lose confirmed
    dispatches. Stopping reports the fault and loses nothing.
    """
    stream = stream_of(queue)
    found = await ask(link, f"STREAM.INFO.{stream}")
    if error_of(found) == NO_STREAM:
        found = await ask(link, f"STREAM.CREATE.{stream}", stream_config(queue, replicas))
        if error_of(found):
            # Another process may have created it meanwhile with other replicas, which is fine.
            again = await ask(link, f"STREAM.INFO.{stream}")
            found = found if error_of(again) else again
    if error_of(found):
        raise _refused(link, f"stream {stream} cannot be created or read", found)
    config = found.get("config", {})
    if config.get("subjects") == [subject_of(queue)]:  # created before queues had levels
        subjects = stream_config(queue, replicas)["subjects"]
        found = await ask(link, f"STREAM.UPDATE.{stream}", config | {"subjects": subjects})
        if error_of(found):
            raise _refused(link, f"the subjects of stream {stream} cannot be updated", found)
        config = found["config"]
    if wrong := stream_faults(config, queue):
        raise broker_unavailable(
            f"stream {stream} on NATS at {link.server} would lose or reject dispatches: "
            f"{'; '.join(wrong)}. Change it with: nats stream edit {stream} (or delete it while it is empty: "
            "Playhead creates it again)"
        )
    for wanted in consumer_configs(queue, visibility):
        name = f"{stream}.{wanted['name']}"
        found = await ask(link, f"CONSUMER.INFO.{name}")
        differs = not error_of(found) and consumer_faults(found["config"], wanted)
        if error_of(found) == NO_CONSUMER or differs:
            found = await ask(link, f"CONSUMER.CREATE.{name}", {"stream_name": stream, "config": wanted})
        if error_of(found):
            raise _refused(
                link, f"consumer {wanted['name']} of stream {stream} cannot be created or read", found
            )


def stream_config(queue: str, replicas: int) -> dict[str, Any]:
    return {
        "name": stream_of(queue),
        "subjects": [subject_of(queue), subject_of(queue, bulk=True)],
        "retention": "workqueue",
        "storage": "file",
        "discard": "new",
        "max_age": 0,
        "max_msgs_per_subject": -1,
        "no_ack": False,
        "sealed": False,
        "num_replicas": replicas,
        "duplicate_window": _DUPLICATE_SECONDS * _NANOSECONDS,
    }


def stream_faults(config: Mapping[str, Any], queue: str) -> list[str]:
    """Return the settings of a stream that lose or reject dispatches. Size limits are left to the
    operator."""
    return _differences(
        {"subjects": [], **config},  # a mirror has none
        stream_config(queue, 1),
        ("subjects", "retention", "discard", "max_age", "max_msgs_per_subject", "no_ack", "sealed"),
    )


def consumer_configs(queue: str, visibility: float) -> list[dict[str, Any]]:
    """Return the consumers of normal and of bulk dispatches."""
    return [
        {
            "name": name,
            "durable_name": name,
            "filter_subject": subject_of(queue, bulk=name == BULK_CONSUMER),
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": int(visibility * _NANOSECONDS),
            "max_deliver": -1,
            "max_ack_pending": -1,
            "max_waiting": _MOST_WAITING,
        }
        for name in (CONSUMER, BULK_CONSUMER)
    ]


def consumer_faults(config: Mapping[str, Any], declared: Mapping[str, Any]) -> list[str]:
    """Return the settings of a consumer that differ from the declared ones."""
    return _differences(
        {"filter_subject": "", **config},
        declared,
        ("filter_subject", "ack_policy", "ack_wait", "max_deliver", "max_ack_pending"),
    )


def _differences(config: Mapping[str, Any], declared: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    # The server leaves out settings that are off.
    return [
        f"{name} is {_shown(name, config[name])}, not {_shown(name, declared[name])}"
        for name in names
        if config.get(name, declared[name]) != declared[name]
    ]


def _shown(name: str, value: Any) -> str:
    return f"{value / _NANOSECONDS:g} s" if name in ("max_age", "ack_wait") else str(value)


def _refused(link: Link, what: str, answer: Mapping[str, Any]) -> Unavailable:
    said = answer["error"].get("description") or answer["error"]
    advice = _LEADERLESS if error_of(answer) == _NO_LEADER else "see docs/howto/nats.md"
    return broker_unavailable(f"{what} on NATS at {link.server}: {said}; {advice}")
