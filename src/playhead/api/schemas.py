"""Bodies as callers send them, and the two answers of the contract that are not the model's own.

Everything else that is answered is a frozen dataclass of `playhead.model`, as it is.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from playhead.ids import moment
from playhead.model import Diagnostic
from playhead.services.submit import MAX_TAG_CHARACTERS, MAX_TAGS, TAG
from playhead.services.take import MOST_AT_ONCE

__all__ = [
    "ConfigErrorResponse",
    "ConfigSource",
    "DetachedReplayRequest",
    "DetachedReplayResponse",
    "ErrorResponse",
    "Liveness",
    "Receipt",
    "Removed",
    "Resend",
    "Resent",
    "RunForm",
    "RunPayload",
    "TakeLimit",
    "Validated",
    "ValidationError",
]

MAX_VERSION = 2**31 - 1

Word = Annotated[str, StringConstraints(max_length=1024, pattern=r"^[^\x00]*$")]
"""Text that a catalog can look for: every database takes it."""
Tag = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TAG_CHARACTERS, pattern=TAG)]
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
    from_execution_id: UUID = Field(description="As it was asked for.")
    from_stage: str = Field(description="As it was asked for.")
    from_path: str | None = Field(description="As it was asked for.")
    to_route: str = Field(description="As it was asked for.")
    to_queue: str = Field(description="The inbound queue of the route, where the messages went.")
    objects_found: int = Field(description="Objects listed, without sidecars and folder markers.")
    objects_published: int = Field(description="Messages that the broker has confirmed.")
    objects_failed: int = Field(default=0, description="Objects whose message is not confirmed.")
    status: Literal["publishing_complete", "partial_failure"] = Field(
        description="`partial_failure` when objects failed, or publishing ended early."
    )
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
        description="When it was answered; RFC 3339 in UTC.",
        json_schema_extra={"format": "date-time"},
    )


class ConfigErrorResponse(ErrorResponse):
    """A config with faults: all of them."""

    diagnostics: list[Diagnostic] | None = Field(
        default=None, description="In the order of the source; only with the code `config_invalid`."
    )


class ConfigSource(Body):
    """A config as JSON holds it."""

    source: str = Field(description="The YAML text.")


class Validated(BaseModel):
    """What is wrong with a config; warnings leave it valid."""

    valid: bool = Field(description="Whether it could be applied: no diagnostic is an `error`.")
    diagnostics: list[Diagnostic] = Field(description="All faults and warnings, in the order of the source.")


class RunForm(Body):
    """The parts of a multipart run beside its files."""

    tags: list[Tag] = Field(
        default_factory=list, max_length=MAX_TAGS, description="Marks to find the run by."
    )
    config_version: Version | None = Field(default=None, description="Null: the newest.")


class RunPayload(RunForm):
    """A run whose one input is a JSON value."""

    payload: Any = Field(description="Any JSON value; stored as the input object.")
    path: str = Field(default="payload.json", description="Its path under `input`.")


class Resend(Body):
    """Which dead letters to send again: those named, or all of an execution, of a route, or of both."""

    correlation_ids: list[UUID] | None = Field(
        default=None, max_length=10_000, description="Ids of messages; alone, without the other two."
    )
    execution_id: UUID | None = Field(default=None, description="All of this execution.")
    route: Word | None = Field(default=None, min_length=1, description="A route, or `config/route`.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.correlation_ids is not None and (self.execution_id or self.route):
            raise PydanticCustomError(
                "two_selections",
                "correlation_ids name all there is to send; leave execution_id and route out",
            )
        return self


class Resent(BaseModel):
    """How many dead letters were sent again."""

    resent: int = Field(description="Those that were dead; what was not is left as it is.")


class TakeLimit(Body):
    """How many messages to hand out."""

    limit: int = Field(default=1, ge=1, le=MOST_AT_ONCE, description="At most so many.")


class Receipt(Body):
    """What was handed out and may go."""

    receipt: str = Field(min_length=1, max_length=200, description="As `take` gave it.")


class Liveness(BaseModel):
    """That a process answers."""

    status: Literal["ok"] = Field(default="ok", description="Always `ok`.")


class Removed(BaseModel):
    """How many messages were removed."""

    removed: int = Field(description="As many as `take` gave with the receipt.")
