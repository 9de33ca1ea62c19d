"""A message on the wire: headers, a payload, and the id given to the broker.

What travels is a call to look at a row of the catalog; the row wins over every header. The headers
are for tools of others, and for people who peek.
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
    """What all calls of one batch share. One instance a batch, so that a broker may encode it once.

    Attributes:
        queue: the inbound queue they go to; no header.
        traceparent: the span (W3C Trace Context) that the work on them belongs under; None: no header.
    """

    queue: str
    execution_id: UUID
    config: str
    config_version: int
    route: str
    replay_batch_id: UUID | None = None
    traceparent: str | None = None

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
    """A row that is to be called: all that its message says.

    Attributes:
        headers: what it shares with its batch.
        correlation_id: of the row, in its text form.
        generation: how often the row was called anew; part of the broker's message id.
        parent: the correlation id of the message whose work made this one; None at a root.
        object_key: the object to work on.
        external: nobody of ours consumes it; marking it published completes it.
        ordinal: place within its job's listing; None for children.
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
        """The payload, exactly `{"object_key": "…"}`, as JSON text."""
        return f'{{"object_key": {_quote(self.object_key)}}}'


@dataclass(frozen=True, slots=True)
class Message:
    """A message as a broker hands it out.

    Attributes:
        headers: text by name: `correlation_id`, `execution_id`, `config`, `config_version`, `route`, …
        payload: `object_key`, the key of the object to work on.
    """

    headers: Mapping[str, str]
    payload: Mapping[str, Any]


def correlation_of(message_id: str, headers: Mapping[str, str]) -> UUID | None:
    """The row that a delivery calls: by the message id, else by its header; None when neither says."""
    head = message_id.rpartition(".")[0]
    return parse_uuid(head) or parse_uuid(headers.get("correlation_id", ""))


class EncodedHeaders(Mapping[str, str]):
    """Headers that are decoded when first read: a worker goes by the message id alone.

    Args:
        decode: returns the headers as text by name. It must not raise, whatever another program wrote.
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
    """Return the headers of a JSON object as text by name; none when it is anything else."""
    return {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in _object(raw).items()
    }


def decode_payload(raw: str | bytes) -> dict[str, Any]:
    """Return the payload; empty when it is not a JSON object, as only other programs send it."""
    return _object(raw)


def _object(raw: str | bytes) -> dict[str, Any]:
    """Decode a JSON object that can be encoded again as JSON and as UTF-8; anything else is an empty one."""
    try:
        value = json.loads(raw)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
