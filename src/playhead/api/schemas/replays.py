"""Bodies of requests for replays and their control, and the values that the services get."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    RootModel,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from playhead.api.schemas import Body
from playhead.api.schemas.derived import body_of, limit_of, schema_of
from playhead.form import read
from playhead.limits import InvalidValue
from playhead.model import MOST_IN_CANARY, Pace, ReplayRequest, Selection
from playhead.model.replays import OUTSIDE_BODY
from playhead.model.selections import IS_TIME

Time = Annotated[str, StringConstraints(max_length=100), limit_of(IS_TIME, str)]
_VALID: Final = {"from_execution_id": str(UUID(int=0)), "from_stage": "-", "to_route": "-"}
"""Valid values for required fields that a request for a plan leaves out; they do not count as sent."""

_NOT_SENT: Final = ("selection", "plan_id", *OUTSIDE_BODY)
_Fields: Any = body_of("Fields", ReplayRequest, Selection, leave_out=_NOT_SENT)


class ReplayBody(_Fields):  # type: ignore[misc]  # its fields are those of the model
    """A replay: what to replay, into which route, and how.

    An object must meet all given conditions. An empty list is refused: it would be unclear whether it selects
    everything or nothing.
    """

    _request: ReplayRequest = PrivateAttr()

    @model_validator(mode="wrap")
    @classmethod
    def _with_request(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        left_out: set[str] = set()
        if isinstance(data, dict) and data.get("plan_id") is not None and "plan_id" in cls.model_fields:
            left_out = _VALID.keys() - data.keys()
            data = {name: _VALID[name] for name in left_out} | data
        body = handler(data)
        sent = body.model_dump(mode="json", include=body.model_fields_set - left_out, exclude={"verify"})
        try:
            body._request = ReplayRequest.of_body(
                {name: sent[name] for name in sent if sent[name] is not None}
            )
        except InvalidValue as exc:
            raise PydanticCustomError("invalid_value", "{why}", {"why": str(exc)}) from None
        return body

    def request(self, **outside: Any) -> ReplayRequest:
        """Return the value that the services get, with the fields of `OUTSIDE_BODY`."""
        return replace(self._request, **outside)


class DetachedReplayRequest(ReplayBody):
    """A replay: what to replay, and into which route. With `plan_id`, no other field is needed."""

    plan_id: UUID | None = Field(
        default=None,
        description="Replay exactly the objects of this plan, or nothing. The fields that choose objects, or "
        "what processes them, follow from the plan: those that are sent, also the required ones, must be "
        "equal.",
    )


class ReplayToPlan(ReplayBody):
    """A replay to plan. `pace` is used for the estimate of its time.

    `canary`, `reason`, `webhook`, `publish` and `report` have no effect.
    """

    verify: bool = Field(default=False, description="Read every object and compare it with its record.")


class NewPace(RootModel[schema_of(Pace | None)]):  # type: ignore[misc]
    """A limit of publishing, or null: as fast as possible."""

    def pace(self) -> Pace | None:
        return read(Pace, self.model_dump()) if self.root else None  # type: ignore[arg-type]


class ResumeReplay(Body):
    """How to resume a replay."""

    canary: int | None = Field(
        default=None,
        ge=1,
        le=MOST_IN_CANARY,
        description="If the canary or `pause_if` has paused the replay: publish only this number of objects, "
        "and decide again. At most as many of them may fail as the request of the replay says.",
    )


class CancelReplay(Body):
    """How to cancel a replay."""

    withdraw: bool = Field(
        default=False,
        description="Also cancel published messages that no worker has started, in all routes. No attempt "
        "starts after the response.",
    )
