"""The wire format of a message: headers, a payload, and the message id for the broker.

A broker message is a dispatch: it points at a message row in the catalog, and the row overrides all headers.
The headers are for other programs, and for people who inspect a queue.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from playhead.ids import parse_uuid

_quote = json.encoder.encode_basestring


@dataclass(frozen=True, slots=True, eq=False)
class Headers:
    """The headers that all dispatches of one batch share.

    A batch uses one instance, so that a broker can encode the headers once.

    Attributes:
        queue: the inbound queue of the route; not sent as a header.
        execution_id: the execution.
        config: the name of its config.
        config_version: the version of that config.
        route: the route that processes the messages.
        replay_batch_id: the replay batch; None for messages that are not from a replay.
        traceparent: the parent span of the attempts (W3C Trace Context); None if tracing is off.
        bulk: they are on the bulk level of the queue (`ports.broker`); not sent as a header.
    """

    queue: str
    execution_id: UUID
    config: str
    config_version: int
    route: str
    replay_batch_id: UUID | None = None
    traceparent: str | None = None
    bulk: bool = False

    def shared(self) -> dict[str, str]:
        headers = {
            "execution_id": str(self.execution_id),
            "config": self.config,
            "config_version": str(self.config_version),
            "route": self.route,
        }
        if self.replay_batch_id:
            headers["replay_batch_id"] = str(self.replay_batch_id)
        if self.traceparent:
            headers["traceparent"] = self.traceparent
        return headers


class Dispatch(NamedTuple):
    """The broker message for one message row.

    Attributes:
        headers: the headers that it shares with its batch.
        correlation_id: the id of the row, as text.
        generation: how often the row was published again; part of the broker's message id.
        parent: the correlation id of the message that produced this one; None for a root.
        object_key: the object to process.
        external: an external program consumes it, so the row is completed as soon as it is published.
        ordinal: its position in the listing of its job; None for children.
    """

    headers: Headers
    correlation_id: str
    generation: int
    parent: str | None
    object_key: str
    external: bool = False
    ordinal: int | None = None

    @property
    def message_id(self) -> str:
        return f"{self.correlation_id}.{self.generation}"

    def own_headers(self) -> dict[str, str]:
        own = {"correlation_id": self.correlation_id}
        if self.parent:
            own["parent_correlation_id"] = self.parent
        return own

    def payload(self) -> str:
        """Return the payload as JSON text, exactly `{"object_key": "…"}`."""
        return f'{{"object_key": {_quote(self.object_key)}}}'


@dataclass(frozen=True, slots=True)
class Message:
    """A message as received from a broker.

    Attributes:
        headers: text by name: `correlation_id`, `execution_id`, `config`, `config_version`, `route`, …
        payload: `object_key`, the key of the object to process.
    """

    headers: Mapping[str, str]
    payload: Mapping[str, Any]


def correlation_of(message_id: str, headers: Mapping[str, str]) -> UUID | None:
    """Return the id of the row to which a delivery points, from its message id or its header, or None."""
    head = message_id.rpartition(".")[0]
    return parse_uuid(head) or parse_uuid(headers.get("correlation_id", ""))


class EncodedHeaders(Mapping[str, str]):
    """Headers that are decoded at the first access. A worker usually needs only the message id.

    Args:
        decode: returns the headers as text by name. It must not raise, even for malformed headers.
    """

    __slots__ = ("_decode", "_decoded")

    def __init__(self, decode: Callable[[], dict[str, str]]) -> None:
        self._decode = decode
        self._decoded: dict[str, str] | None = None

    def _all(self) -> dict[str, str]:
        if self._decoded is None:
            self._decoded = self._decode()
        return self._decoded

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


def decode_headers(raw: str | bytes) -> dict[str, str]:
    """Return the headers of a JSON object as text by name; empty for any other content."""
    return {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in _object(raw).items()
    }


def decode_payload(raw: str | bytes) -> dict[str, Any]:
    """Return the payload; empty if it is not a JSON object (only other programs send such messages)."""
    return _object(raw)


def _object(raw: str | bytes) -> dict[str, Any]:
    """Decode a JSON object. Return {} for anything that cannot be encoded as JSON and UTF-8 again."""
    try:
        value = json.loads(raw)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
