"""The sidecar of an object: a copy of what the catalog records of it, for people and other tools."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from playhead.ids import moment
from playhead.keys import INPUT_STAGE, sidecar_key
from playhead.model import Execution
from playhead.ports.adapter import CONTENT_TYPE
from playhead.ports.catalog.prune import PrunedObject
from playhead.ports.catalog.runs import Input
from playhead.ports.catalog.work import Bound, Claim, NewOutput
from playhead.ports.store import Blob
from playhead.steps.outputs import MAX_ATTRIBUTES_BYTES, encode

_MOST_OF_TYPE: Final = 200
"""Characters. A content type becomes a header of an HTTP response."""


def _blob(key: str, fields: dict[str, Any]) -> Blob:
    return Blob(sidecar_key(key), json.dumps(fields, ensure_ascii=False).encode(), "application/json")


@dataclass(frozen=True)
class SidecarInfo:
    """What an object's sidecar describes; invalid values are left out."""

    content_type: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


NOTHING: Final = SidecarInfo()


def read(data: bytes | None) -> SidecarInfo:
    """Read a sidecar, which any program may have written. A missing or unreadable one describes nothing."""
    if not data:
        return NOTHING
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return NOTHING
    if not isinstance(found, dict):
        return NOTHING
    kind, attributes = found.get("content_type"), found.get("attributes")
    fits = isinstance(kind, str) and len(kind) <= _MOST_OF_TYPE and CONTENT_TYPE.fullmatch(kind)
    return SidecarInfo(kind if fits else None, _attributes(attributes))


def _attributes(found: object) -> Mapping[str, Any]:
    """Return attributes if they are within the limits of outputs, because an output may inherit them."""
    try:
        if isinstance(found, dict) and len(encode(found).encode()) <= MAX_ATTRIBUTES_BYTES:
            return found
    except (ValueError, RecursionError):
        pass  # NaN, half a surrogate pair, nested too deeply
    return {}


def of_output(
    claim: Claim, stage: str, output: NewOutput, bound: Bound, adapters: list[Mapping[str, str]]
) -> Blob:
    """Return the sidecar of an output. Its bytes are the same at every redelivery: what differs between
    attempts comes from the binding."""
    return _blob(
        bound.key,
        {
            "key": bound.key,
            "execution_id": str(claim.execution_id),
            "route": claim.route,
            "stage": stage,
            "path": bound.path,
            "config": claim.config,
            "config_version": claim.config_version,
            "config_hash": claim.config_hash,
            "correlation_id": str(claim.correlation_id),
            "attempt": bound.attempt,
            "source_key": claim.object_key,
            "replay_batch_id": str(claim.replay_batch_id) if claim.replay_batch_id else None,
            "content_type": output.content_type,
            "size": output.size,
            "sha256": output.sha256.hex(),
            "created_at": moment(bound.created_at),
            "attributes": output.attributes,
            "adapters": adapters,
        },
    )


def of_pruned(key: str, found: PrunedObject) -> bytes:
    """Return what the catalog knows of a pruned object, with the names of a sidecar, and `pruned_at`."""
    fields = {
        "key": key,
        "execution_id": key.partition("/")[0],
        "correlation_id": str(found.message) if found.message else None,
        "attempt": found.attempt,
        "content_type": found.content_type,
        "size": found.size,
        "sha256": found.sha256.hex(),
        "created_at": moment(found.created_at),
        "attributes": found.attributes,
        "pruned_at": moment(found.pruned_at),
    }
    return _blob(key, fields).data


def of_input(execution: Execution, key: str, given: Input, created_at: float) -> Blob:
    """Return the sidecar of an input. An input has no route, no message and no attempt."""
    return _blob(
        key,
        {
            "key": key,
            "execution_id": str(execution.execution_id),
            "route": None,
            "stage": INPUT_STAGE,
            "path": given.path,
            "config": execution.config,
            "config_version": execution.config_version,
            "config_hash": execution.config_hash,
            "correlation_id": None,
            "attempt": None,
            "source_key": None,
            "replay_batch_id": None,
            "content_type": given.content_type,
            "size": given.size,
            "sha256": given.sha256.hex(),
            "created_at": moment(created_at),
            "attributes": {},
            "adapters": [],
        },
    )
