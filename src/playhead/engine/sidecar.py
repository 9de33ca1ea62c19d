"""The sidecar of an object: a copy, for people and other tools, of what the catalog knows of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from playhead.ids import moment
from playhead.keys import INPUT_STAGE, sidecar_key
from playhead.model import Execution
from playhead.ports.catalog.jobs import Input
from playhead.ports.catalog.work import Bound, Claim, NewOutput
from playhead.ports.store import Blob


def _blob(key: str, fields: dict[str, Any]) -> Blob:
    return Blob(sidecar_key(key), json.dumps(fields, ensure_ascii=False).encode(), "application/json")


def of_output(
    claim: Claim, stage: str, output: NewOutput, bound: Bound, adapters: list[Mapping[str, str]]
) -> Blob:
    """The same bytes at every redelivery: what changes from try to try comes from the binding."""
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


def of_input(execution: Execution, key: str, given: Input, created_at: float) -> Blob:
    """An input was made by nobody of ours: no route, no message, no attempt."""
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
