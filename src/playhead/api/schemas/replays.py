"""Bodies of requests for replays and their control, and the values that the services get."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    ModelWrapValidatorHandler,
    RootModel,
    StringConstraints,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from playhead.api.schemas import Body, Version
from playhead.globs import compile_glob
from playhead.model import (
    MOST_IN_CANARY,
    Canary,
    DepthPace,
    Only,
    OnReplay,
    Pace,
    RatePace,
    ReplayRequest,
    Selection,
)
from playhead.model.replays import _check_media_type
from playhead.times import fixed_time


class PaceByRate(Body):
    """Publish at a rate."""

    rate: float = Field(strict=True, ge=0.01, le=1e6, description="Messages per second, at most.")

    def pace(self) -> Pace:
        return RatePace(self.rate)


class PaceByDepth(Body):
    """Publish while the target queue has room."""

    queue_depth: int = Field(
        strict=True, ge=1, le=1_000_000, description="How many messages may wait in the target queue."
    )

    def pace(self) -> Pace:
        return DepthPace(self.queue_depth)


def _which_pace(given: Any) -> str:
    is_depth = isinstance(given, PaceByDepth) or (isinstance(given, dict) and "queue_depth" in given)
    return "queue_depth" if is_depth else "rate"


# With a discriminator, an error is about the pace that was meant, not about both.
PaceBody = Annotated[
    Annotated[PaceByRate, Tag("rate")] | Annotated[PaceByDepth, Tag("queue_depth")],
    Discriminator(_which_pace),
]


class CanaryBody(Body):
    """The first objects, whose processing decides whether the others follow."""

    objects: int = Field(
        strict=True, ge=1, le=MOST_IN_CANARY, description="How many objects, in byte order of their keys."
    )
    max_failed: float = Field(
        default=0,
        strict=True,
        ge=0,
        le=MOST_IN_CANARY,
        description="How many of them may fail: a whole number, or a share if it is below 1. An object has "
        "failed if its message was refused, or if it or a message below it is a dead letter.",
    )

    @model_validator(mode="after")
    def _counts_or_shares(self) -> Self:
        try:
            self.canary()
        except ValueError as exc:
            raise PydanticCustomError("invalid_canary", "{why}", {"why": str(exc)}) from None
        return self

    def canary(self) -> Canary:
        return Canary(self.objects, self.max_failed)


class NewPace(RootModel[PaceBody | None]):
    """A limit of publishing, or null: as fast as possible."""

    def pace(self) -> Pace | None:
        return self.root.pace() if self.root else None


def _refusing(check: Callable[[str], object]) -> AfterValidator:
    """A validator of text for which `check` raises a `ValueError` that continues a sentence."""

    def validate(text: str) -> str:
        try:
            check(text)
        except ValueError as exc:
            raise PydanticCustomError("invalid_text", "the text {why}", {"why": str(exc)}) from None
        return text

    return AfterValidator(validate)


Globs = Annotated[
    list[Annotated[str, StringConstraints(max_length=1_000), _refusing(compile_glob)]],
    Field(min_length=1, max_length=100),
]
Time = Annotated[
    str, StringConstraints(max_length=100), _refusing(lambda text: fixed_time(text, time.time()))
]
MediaType = Annotated[str, StringConstraints(max_length=200), _refusing(_check_media_type)]


class ReplayedObjects(Body):
    """Which objects to replay, and into which route. An object must meet all given conditions.

    An empty list is refused: it would be unclear whether it selects everything or nothing.
    """

    from_execution_id: UUID = Field(description="Execution whose stored outputs are replayed.")
    from_stage: str = Field(min_length=1, description="Stage to replay; it may contain `/`.")
    from_path: str | None = Field(
        default=None,
        description="Folder or object in the stage, in whole path segments; null: the whole stage.",
    )
    to_route: str = Field(min_length=1, description="Route id, or `config/route`.")
    include: Globs | None = Field(
        default=None,
        description="Globs, one of which must match the path under the stage. `*` stands for text within a "
        "segment, `**` for any number of segments; also `?`, `[a-z]`, `[!a-z]`.",
    )
    exclude: Globs | None = Field(
        default=None, description="Globs of which none may match; stronger than `include`."
    )
    modified_after: Time | None = Field(
        default=None,
        description="Only objects that were written at this time or later: a time with an offset, as in "
        "`2026-01-31T18:00:00Z`, or the time before the request, as in `-24h` or `-7d` (units `s`, `m`, `h`, "
        "`d`, `w`).",
    )
    modified_before: Time | None = Field(
        default=None, description="Only objects that were written before this time, in the same form."
    )
    content_type: Annotated[list[MediaType], Field(min_length=1, max_length=100)] | None = Field(
        default=None,
        description="Only objects of one of these media types; `text/*` includes all types of text. The type "
        "of an object of another program follows from its suffix.",
    )
    attributes: Annotated[dict[str, Any], Field(min_length=1, max_length=20)] | None = Field(
        default=None,
        description="Only objects that have these attributes with equal JSON values. Objects of other "
        "programs have none.",
    )
    only: Only | None = Field(
        default=None,
        description="`failed`: a message that received the object, or one below it, is a dead letter. "
        "`unfinished`: also if one was cancelled, or if no message received the object. The execution must "
        "have ended.",
    )
    in_replay: UUID | None = Field(
        default=None,
        description="Replay batch of the source whose messages `only` is about; null: those of the source.",
    )
    limit: Annotated[int, Field(ge=1, le=2**53)] | None = Field(
        default=None, description="Only the first objects, in byte order of their keys."
    )
    config_version: Version | None = Field(
        default=None, description="Version of the config of the route; null: the newest."
    )
    effects: OnReplay | Annotated[dict[str, OnReplay], Field(min_length=1, max_length=1_000)] | None = Field(
        default=None,
        description="What the replay does in routes with external effects: in all of them, or by route, "
        "where `*` stands for all others. The stricter of this and `on_replay` of the config applies. For "
        "routes that have no value here, a replay takes over the values of the replay that is its source, "
        "and of `in_replay`.",
    )

    @model_validator(mode="after")
    def _about_a_replay(self) -> Self:
        if self.in_replay is not None and self.only is None:
            raise PydanticCustomError(
                "in_replay_alone", "in_replay says what `only` is about; send both, or leave it out"
            )
        return self

    def selection(self) -> Selection | None:
        """Return the conditions; None if the request has no condition."""
        found = Selection(**{field.name: getattr(self, field.name) for field in fields(Selection)})
        return None if found == Selection() else found


class ReplayBody(ReplayedObjects):
    """A replay: what to replay, into which route, and how."""

    pace: PaceBody | None = Field(
        default=None, description="Limit of the publishing; null: as fast as possible."
    )
    canary: CanaryBody | None = Field(
        default=None,
        description="Publish the first objects, wait until their messages are processed in all routes, and "
        "pause the replay if too many failed. Null: publish all at once.",
    )
    reason: Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")] | None = Field(
        default=None, description="Why it is replayed. Shown with the replay, its report and its events."
    )
    webhook: Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")] | None = Field(
        default=None,
        description="URL that receives the events of the replay: its start, pauses, and each end. On a host "
        "that the operator allows; never shown.",
    )
    report: bool | None = Field(
        default=None,
        description="Write a completion report. Null: only if the request has a field other than "
        "`from_execution_id`, `from_stage`, `from_path` and `to_route`.",
    )

    def request(self, *, require_code: bool = False, key: str | None = None) -> ReplayRequest:
        """Return the value that the services get."""
        return ReplayRequest(
            from_execution_id=self.from_execution_id,
            from_stage=self.from_stage,
            from_path=self.from_path,
            to_route=self.to_route,
            require_code=require_code,
            selection=self.selection(),
            config_version=self.config_version,
            effects=self.effects,
            pace=self.pace.pace() if self.pace else None,
            canary=self.canary.canary() if self.canary else None,
            reason=self.reason,
            webhook=self.webhook,
            report=self.report,
            key=key,
        )


class DetachedReplayRequest(ReplayBody):
    """A replay: what to replay, and into which route. With `plan_id`, no other field is needed."""

    plan_id: UUID | None = Field(
        default=None,
        description="Replay exactly the objects of this plan, or nothing. The fields that choose objects, or "
        "what processes them, follow from the plan: those that are sent, also the required ones, must be "
        "equal.",
    )

    @model_validator(mode="wrap")
    @classmethod
    def _of_plan(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, dict) or data.get("plan_id") is None:
            return handler(data)
        left_out = {name: value for name, value in _VALID.items() if name not in data}
        body = handler(left_out | data)
        body.__pydantic_fields_set__.difference_update(left_out)
        return body

    def request(self, *, require_code: bool = False, key: str | None = None) -> ReplayRequest:
        asked = super().request(require_code=require_code, key=key)
        if self.plan_id is None:
            return asked
        nothing = ReplayRequest.of_plan(self.plan_id)
        left_out = _VALID.keys() - self.model_fields_set
        return replace(asked, plan_id=self.plan_id, **{name: getattr(nothing, name) for name in left_out})


_VALID: Final = {"from_execution_id": str(UUID(int=0)), "from_stage": "-", "to_route": "-"}
"""Valid values for required fields that a request for a plan leaves out; `request` ignores them."""


class ReplayToPlan(ReplayBody):
    """A replay to plan. `pace` is used for the estimate of its time.

    `canary`, `reason`, `webhook` and `report` have no effect.
    """

    verify: bool = Field(default=False, description="Read every object and compare it with its record.")


class CancelReplay(Body):
    """How to cancel a replay."""

    withdraw: bool = Field(
        default=False,
        description="Also cancel published messages that no worker has started, in all routes. No attempt "
        "starts after the response.",
    )
