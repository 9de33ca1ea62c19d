"""Bodies of requests about datasets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from playhead.api.schemas import Body, ExecutionName
from playhead.api.schemas.derived import body_of
from playhead.model import MAX_NUMBER, PublishRequest
from playhead.model.datasets import MOST_PARTS, NOT_IN_BODY

_NAMED: Final = "ids or their last digits, `latest`, `latest:replay`, `tag:NAME`."
_Names = Annotated[list[UUID | ExecutionName], Field(max_length=MOST_PARTS)]
_Fields: Any = body_of("Fields", PublishRequest, leave_out=("executions", "base", "add", *NOT_IN_BODY))


class Publish(_Fields):  # type: ignore[misc]  # its fields are those of the model
    """What to publish: settled executions, and what is not refused."""

    executions: _Names = Field(
        default_factory=list,
        description=f"Settled executions: {_NAMED} A run is the base, which defines the inputs; replays, "
        "and runs of a dataset with `runs: partial`, are layers on it.",
    )
    base: UUID | ExecutionName | None = Field(
        default=None, description="Run that is the base, if there are several."
    )
    add: _Names = Field(
        default_factory=list,
        description="Runs that are layers, although each run of the dataset has all inputs.",
    )
    dry_run: bool = Field(default=False, description="Count what would change, and store nothing.")

    @model_validator(mode="after")
    def _has_parts(self) -> Self:
        if not (self.executions or self.base or self.add):
            raise PydanticCustomError("no_executions", "name at least one execution in `executions`")
        return self

    async def request(self, resolve: Callable[[str], Awaitable[UUID]]) -> PublishRequest:
        """Return the value that the services get. `resolve` returns the id of an execution by its name."""
        given = self.model_dump(exclude={"executions", "base", "add", "dry_run"})
        return PublishRequest(
            executions=[await resolve(str(one)) for one in self.executions],
            base=await resolve(str(self.base)) if self.base else None,
            add=[await resolve(str(one)) for one in self.add],
            **given,
        )


class IndexCheck(Body):
    """Which indexes and tables to compare."""

    route: Annotated[str, Field(max_length=63)] | None = Field(
        default=None, description="Route of one of them; null: all."
    )
    repair: bool = Field(
        default=False,
        description="Rebuild what differs, and write lost rows again by a replay, which is then published.",
    )


class Forget(Body):
    """Which declarations to undo."""

    route: Annotated[str, Field(max_length=63, description="Route whose results were declared valid.")]


class Rollback(Body):
    """What to go back to."""

    to: Annotated[int, Field(ge=1, le=MAX_NUMBER)] | None = Field(
        default=None, description="Number of a publication; null: the one that was current before."
    )
    expect_seq: Annotated[int, Field(ge=0, le=MAX_NUMBER)] | None = Field(
        default=None, description="Refuse unless this is the number of the newest switch."
    )
    reason: Annotated[str, StringConstraints(max_length=1_000, pattern=r"^[^\x00]*$")] | None = Field(
        default=None, description="Why."
    )
