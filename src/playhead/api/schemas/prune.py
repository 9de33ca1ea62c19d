"""The body of a request to prune."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from playhead.api.schemas import ExecutionName
from playhead.api.schemas.derived import body_of, unless_null
from playhead.limits import InvalidValue
from playhead.model import PruneFilter

_NULL: Final = "null would select every execution; leave the field out"
_Fields: Any = body_of("Fields", PruneFilter, leave_out=("execution_ids", "is_retention"), no_null=_NULL)
_named: Any = unless_null(
    Annotated[list[UUID | ExecutionName], Field(max_length=10_000)],
    "Only these: ids or their last digits, `latest`, `tag:NAME`.",
    _NULL,
)


class PruneRequest(_Fields):  # type: ignore[misc]  # its fields are those of the model
    """The executions whose objects, or records, are deleted.

    They meet all conditions; at least one is needed. A condition without a value is refused: it would select
    more than the client meant.
    """

    execution_ids: _named[0] = _named[1]
    dry_run: bool = Field(default=False, description="Only count what would be deleted.")

    @model_validator(mode="after")
    def _meets_limits(self) -> Self:
        given = self.model_dump(exclude_unset=True, exclude={"execution_ids", "dry_run"})
        try:
            PruneFilter(**given)
        except InvalidValue as exc:
            raise PydanticCustomError("invalid_value", "{why}", {"why": str(exc)}) from None
        return self
