"""Request bodies, and the responses that are not dataclasses of `playhead.model`."""

from __future__ import annotations

import re
import time
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from playhead.ids import moment
from playhead.model import MAX_VERSION, Compare, Diagnostic, PlanDifference
from playhead.services.resolve import ID_END
from playhead.services.submit import MAX_TAG_CHARACTERS, MAX_TAGS, TAG
from playhead.services.take import MOST_AT_ONCE

__all__ = [
    "ConfigErrorResponse",
    "ConfigSource",
    "DetachedReplayResponse",
    "ErrorResponse",
    "Liveness",
    "PlanErrorResponse",
    "Receipt",
    "Removed",
    "RunForm",
    "RunPayload",
    "TakeLimit",
    "Validated",
    "ValidationError",
]

Word = Annotated[str, StringConstraints(max_length=1024, pattern=r"^[^\x00]*$")]
"""Text that every catalog database can search for."""
Tag = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TAG_CHARACTERS, pattern=TAG)]
Version = Annotated[int, Field(ge=1, le=MAX_VERSION)]


ShortId = Annotated[str, StringConstraints(pattern=f"^{ID_END}$")]
"""The last digits of an id."""
_EXECUTION: Final = rf"{ID_END}|latest(:[^\x00]+)?|tag:[^\x00]+|current:[^\x00]+"
ExecutionName = Annotated[str, StringConstraints(max_length=1024, pattern=f"^({_EXECUTION})$")]
"""The last digits of an execution's id, `latest`, `tag:NAME`, or `current:DATASET`."""
EarlierRun = Annotated[
    str, StringConstraints(max_length=1024, pattern=rf"^({_EXECUTION}|previous(:[^\x00]+)?)$")
]
"""The same, or `previous`."""


def _open(schema: dict[str, Any]) -> None:
    """Remove `additionalProperties`, which the contract does not name. They are still forbidden."""
    schema.pop("additionalProperties", None)


def for_readers_of_json(text: str) -> str:
    """Return a field's description as a sentence, with JSON's `null` for Python's `None`."""
    said = re.sub(r"\bNone\b", "null", text).replace(". null:", ". Null:")
    return said[0].upper() + said[1:]


class Body(BaseModel):
    """A body without unknown fields. A misspelt optional field must not be ignored."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_open)


class DetachedReplayResponse(BaseModel):
    """The result of a replay. `objects_found` is always `objects_published` plus `objects_failed`."""

    execution_id: UUID = Field(description="New execution, under which the outputs are stored.")
    from_execution_id: UUID = Field(description="As requested.")
    from_stage: str = Field(description="As requested.")
    from_path: str | None = Field(description="As requested.")
    to_route: str = Field(description="As requested.")
    to_queue: str = Field(description="Inbound queue of the route, which received the messages.")
    objects_found: int = Field(description="Objects listed, without sidecars and folder markers.")
    objects_published: int = Field(description="Messages that the broker confirmed.")
    objects_failed: int = Field(default=0, description="Objects whose message the broker did not confirm.")
    status: Literal["publishing_complete", "partial_failure"] = Field(
        description="`partial_failure` if objects failed or publishing ended early."
    )
    replay_batch_id: str = Field(description="Id of the batch, for `/api/v1/replays/{replay_batch_id}`.")
    errors: list[str] | None = Field(
        default=None, description="At most 100 lines; the last one has the number of further errors."
    )


class ErrorResponse(BaseModel):
    """The body of every error except 422."""

    detail: str = Field(description="What is wrong, where, and what to do.")
    error_code: str | None = Field(default=None, description="Stable code; `/api/v1/errors` lists all codes.")
    correlation_id: str | None = Field(
        default=None,
        description="Id of this request (not of a message), as in the header `X-Correlation-ID`.",
    )
    timestamp: str = Field(
        default_factory=lambda: moment(time.time()),
        description="Time of the response; RFC 3339 in UTC.",
        json_schema_extra={"format": "date-time"},
    )


class ConfigErrorResponse(ErrorResponse):
    """The error for an invalid config, with all its faults."""

    diagnostics: list[Diagnostic] | None = Field(
        default=None, description="All faults in the order of the source, with the code `config_invalid`."
    )


class PlanErrorResponse(ErrorResponse):
    """The error for a replay whose plan has changed."""

    difference: PlanDifference | None = Field(
        default=None, description="Objects that are gone or have changed, with the code `plan_changed`."
    )


class ConfigSource(Body):
    """A config in a JSON body."""

    source: str = Field(description="YAML text of the config.")


class Validated(BaseModel):
    """The faults of a config. A config with warnings only is valid."""

    valid: bool = Field(description="Whether the config can be applied: no diagnostic is an `error`.")
    diagnostics: list[Diagnostic] = Field(description="All faults and warnings, in the order of the source.")


class RunForm(Body):
    """The parts of a multipart run other than its files."""

    tags: list[Tag] = Field(
        default_factory=list, max_length=MAX_TAGS, description="Tags, to find the run later."
    )
    config_version: Version | None = Field(
        default=None, description="Version of the config; null: the newest."
    )
    changed_since: UUID | EarlierRun | None = Field(
        default=None,
        description="Take over the results of this run that are still valid: its id or its "
        "last digits, `previous` (the newest run of this config that was completed, or failed only with dead "
        "letters), `latest` or `tag:NAME`. Null: process all inputs.",
    )
    compare: Compare = Field(
        default="code",
        description="With `changed_since`, what must be the same of an adapter: the fingerprint of its code, "
        "or only its declared version.",
    )
    reuse: bool = Field(
        default=False,
        description="Take over the results of earlier executions of this config for items that are the same, "
        "whatever their paths. `changed_since` does this in any case.",
    )


class RunPayload(RunForm):
    """A run with one input, a JSON value."""

    payload: Any = Field(description="Any JSON value, which is stored as the input object.")
    path: str = Field(default="payload.json", description="Path of the input object in the stage `input`.")


class TakeLimit(Body):
    """The number of messages to receive."""

    limit: int = Field(default=1, ge=1, le=MOST_AT_ONCE, description="Maximum number of messages.")


class Receipt(Body):
    """The receipt of messages to remove."""

    receipt: str = Field(min_length=1, max_length=200, description="Receipt from `take`.")


class Liveness(BaseModel):
    """The response of a live process."""

    status: Literal["ok"] = Field(default="ok", description="Always `ok`.")


class Readiness(BaseModel):
    """Whether a server is ready. Probes need no credentials, so it names no host, process or path."""

    status: Literal["ok", "degraded"] = Field(description="`ok` if all backends can be reached.")


class Removed(BaseModel):
    """The number of messages that were removed."""

    removed: int = Field(description="Number of messages of the receipt.")
