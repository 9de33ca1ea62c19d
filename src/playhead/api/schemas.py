"""Bodies as callers send them, and the two answers of the contract that are not the model's own.

Everything else that is answered is a frozen dataclass of `playhead.model`, as it is.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from playhead.ids import moment
from playhead.model import Diagnostic

__all__ = [
    "ConfigErrorResponse",
    "ConfigSource",
    "DetachedReplayRequest",
    "DetachedReplayResponse",
    "ErrorResponse",
    "Resend",
    "Resent",
    "RunForm",
    "RunPayload",
    "Validated",
    "ValidationError",
]

MAX_VERSION = 2**31 - 1

Word = Annotated[str, StringConstraints(max_length=1024, pattern=r"^[^\x00]*$")]
"""Text that a catalog can look for: every database takes it."""
Tag = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Version = Annotated[int, Field(ge=1, le=MAX_VERSION)]


def _open(schema: dict[str, Any]) -> None:
    """Take `additionalProperties` out of a schema: the contract does not name it, though we forbid them."""
    schema.pop("additionalProperties", None)


class Body(BaseModel):
    """A body with no field but its own: a misspelt optional field must not pass for one left out."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_open)


class DetachedReplayRequest(Body):
    """What to replay, and into which route."""

    from_execution_id: UUID = Field(description="The execution whose stored outputs are replayed.")
    from_stage: str = Field(min_length=1, description="The stage to take them from; it may contain `/`.")
    from_path: str | None = Field(
        default=None,
        description="A folder or one object in the stage, in whole path segments; none: the whole stage.",
    )
    to_route: str = Field(min_length=1, description="A route id, or `config/route`.")


class DetachedReplayResponse(BaseModel):
    """What was found and published. Found is always published plus failed."""

    execution_id: UUID = Field(description="The new execution, under which the outputs will be stored.")
    from_execution_id: UUID
    from_stage: str
    from_path: str | None = Field(description="As it was asked for.")
    to_route: str = Field(description="As it was asked for.")
    to_queue: str = Field(description="The inbound queue of the route, where the messages went.")
    objects_found: int = Field(description="Objects listed, without sidecars and folder markers.")
    objects_published: int = Field(description="Messages that the broker has confirmed.")
    objects_failed: int = Field(default=0, description="Objects whose message is not confirmed.")
    status: Literal["publishing_complete", "partial_failure"]
    replay_batch_id: str = Field(description="Look at `/api/v1/replays/{replay_batch_id}`.")
    errors: list[str] | None = Field(default=None, description="At most 100 lines; the last counts the rest.")


class ErrorResponse(BaseModel):
    """Every error but 422."""

    detail: str = Field(description="What is wrong, where, and what to do.")
    error_code: str | None = Field(default=None, description="Stable; see `playhead errors`.")
    correlation_id: str | None = Field(
        default=None,
        description="Of this request, not of a message; the same as in the header `X-Correlation-ID`.",
    )
    timestamp: str = Field(
        default_factory=lambda: moment(time.time()),
        description="UTC.",
        json_schema_extra={"format": "date-time"},
    )


class ConfigErrorResponse(ErrorResponse):
    """A config with faults: all of them."""

    diagnostics: list[Diagnostic] | None = None


class ConfigSource(Body):
    """A config as JSON holds it."""

    source: str = Field(description="The YAML text.")


class Validated(BaseModel):
    """What is wrong with a config; warnings leave it valid."""

    valid: bool
    diagnostics: list[Diagnostic]


class RunForm(Body):
    """The parts of a multipart run beside its files."""

    tags: list[Tag] = Field(default_factory=list, max_length=100, description="Marks to find the run by.")
    config_version: Version | None = Field(default=None, description="None: the newest.")


class RunPayload(RunForm):
    """A run whose one input is a JSON value."""

    payload: Any = Field(description="Any JSON value; stored as the input object.")
    path: str = Field(default="payload.json", description="Its path under `input`.")


class Resend(Body):
    """Which dead letters to send again: one of the three."""

    correlation_ids: list[UUID] | None = Field(default=None, max_length=10_000)
    execution_id: UUID | None = None
    route: Word | None = Field(default=None, min_length=1)


class Resent(BaseModel):
    """How many dead letters were sent again."""

    resent: int
