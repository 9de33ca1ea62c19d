"""Invalid addresses of backends: they are refused before anything is sent, and no error shows a password."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from playhead.backends._postgres import Postgres
from playhead.backends.broker_nats import NatsBroker
from playhead.backends.broker_rabbitmq import RabbitBroker
from playhead.backends.store_object import ObjectStore
from playhead.errors import CannotStart

MISPLACED = (
    "u:a/hush@host",
    "u:1/hush@host",
    "u:hush?@host",
    "u:a?hush=1@host",
    "u:hush#@host",
    "u:hush\u2100@host",
)
"""Passwords with a character that is not encoded: a part seems to belong to the host or to an option."""


def object_store(url: str) -> ObjectStore:
    return ObjectStore(url, max_object_bytes=1)


CASES: list[tuple[Callable[[str], object], str, str]] = [
    *((NatsBroker, f"nats://{rest}", "") for rest in (*MISPLACED, ":4222", "host:port", "u:hush@host:99999")),
    (NatsBroker, "nats://u:hush@host/path", ""),
    (NatsBroker, "nats://u:[hush]@host", ""),
    *((NatsBroker, f"nats://u:hush@host?{option}", "") for option in ("replicas=9", "replica=3", "replicas")),
    (NatsBroker, "http://u:hush@host", ""),
    *((RabbitBroker, f"amqp://{rest}", "") for rest in (*MISPLACED, "u:hush@host:no", "u:hush@[::1")),
    *(
        (RabbitBroker, f"amqp://u:hush@host?{option}", "")
        for option in ("ca=/x", "heartbeat=often", "heartbeat=0")
    ),
    (RabbitBroker, "http://u:hush@host", ""),
    *((Postgres, f"postgresql://{rest}/db", "") for rest in (*MISPLACED, "u:hush@[::1")),
    (Postgres, "postgresql://u:hush@host/db?pool_size=many", ""),
    *((object_store, f"s3://{rest}/p", "environment") for rest in (*MISPLACED, "u:hush@b", "u:[hush@b")),
    (object_store, "s3:///prefix", "names no bucket"),
    (object_store, "s3://fast--euw1-az1--x-s3/p", "general purpose bucket"),
    (object_store, "s3://b/p?regoin=x", "the options are endpoint, region"),
    (object_store, "s3://b/a//b", "empty segment"),
    (object_store, "s3://b/p?endpoint=localhost:9000", "http://host:port"),
    (object_store, "s3://b/p?endpoint=http://[h", "http://host:port"),
    (object_store, "s3://b/p?endpoint=http://u:hush@h:9000", "environment"),
    (object_store, "s3://b/p?virtual_host=yes", "true or false"),
    (object_store, "gs://b/p?region=x", "unknown option"),
]


@pytest.mark.parametrize(("make", "url", "words"), CASES, ids=[ascii(url) for _, url, _ in CASES])
def test_an_invalid_address_is_refused_without_its_password(
    make: Callable[[str], object], url: str, words: str
):
    with pytest.raises(CannotStart) as caught:
        make(url)
    assert caught.value.code == "setup_invalid"
    assert words in caught.value.detail
    assert "hush" not in caught.value.detail
