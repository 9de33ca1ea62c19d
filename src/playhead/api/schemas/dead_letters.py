"""The bodies of requests about dead letters."""

from __future__ import annotations

from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from playhead.api.schemas import Body, ExecutionName, ShortId, Word
from playhead.api.schemas.replays import Time
from playhead.model import Priority

Group = Annotated[str, StringConstraints(pattern="^[0-9a-f]{12}$")]
"""The id of a group of dead letters."""


class Selected(Body):
    """Dead letters that meet all given conditions."""

    execution_id: UUID | ExecutionName | None = Field(
        default=None,
        description="Those of this execution: its id or its last digits, `latest` or `tag:NAME`.",
    )
    route: Word | None = Field(
        default=None, min_length=1, description="Those of this route: its name, or `config/route`."
    )
    error_code: Word | None = Field(default=None, min_length=1, description="Those with this error code.")
    group: Group | None = Field(default=None, description="Those of this group: its id.")
    failed_before: Time | None = Field(
        default=None,
        description="Leave those that failed later: a time with an offset, such as the `last_failed_at` of a "
        "group, or the time before the request, as in `-1h` (units `s`, `m`, `h`, `d`, `w`). A repeated "
        "request with the same time does not resend messages that have failed again.",
    )


class Resend(Selected):
    """The dead letters to resend: a list of ids, or all that meet the other conditions."""

    correlation_ids: list[UUID | ShortId] | None = Field(
        default=None,
        max_length=10_000,
        description="Ids of messages, or their ends; not together with the other fields.",
    )
    priority: Priority | None = Field(
        default=None,
        description="Level of the messages in their queues. Null: normal for up to 1,000 ids, else bulk.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        others = self.execution_id or self.route or self.error_code or self.group or self.failed_before
        if self.correlation_ids is not None and others:
            raise PydanticCustomError(
                "two_selections",
                "correlation_ids cannot be combined with execution_id, route, error_code, group or "
                "failed_before; send one or the other",
            )
        return self


class Resent(BaseModel):
    """The number of dead letters that were resent."""

    resent: int = Field(description="Number of resent dead letters; other messages are unchanged.")
