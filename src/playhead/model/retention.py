"""How long objects and records are kept: the policy of a config, what a prune selects, what was pruned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal
from uuid import UUID

from annotated_types import Interval, Len

from playhead.ids import moment
from playhead.limits import InvalidValue, Limited, NoNul, check

DAY: Final = 86_400.0

Kept = Literal["running", "pinned", "in_draft", "replayed", "adopted", "stored", "reported", "published"]
KEPT: Final[dict[Kept, str]] = {
    "running": "It is running, or a message of it is open.",
    "pinned": "It is pinned.",
    "in_draft": "A publication that is being prepared takes results from it.",
    "replayed": "A replay of it, or a run that takes over its results, is running.",
    "adopted": "Another program stored its objects; delete them with that program.",
    "stored": "Its objects are not deleted: prune it first.",
    "reported": "A report or a webhook of it is due.",
    "published": "A kept publication has results of it.",
}
"""Why the objects or the records of an execution are kept although a prune selects it."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long the objects and the records of a config's executions are kept.

    Attributes:
        keep_days: days after the end of an execution.
        keep_last: number of newest runs and replays, and of newest completed ones, that are kept longer.
        stages: the stages that are pruned; empty: all, and the inputs.
        records_days: days after the end of an execution whose objects are all pruned, after which its records
            are deleted; None: they are kept. Not with `stages`.
    """

    keep_days: float
    keep_last: int = 0
    stages: tuple[str, ...] = ()
    records_days: float | None = None


@dataclass(frozen=True, slots=True)
class PruneFilter(Limited):
    """The executions whose objects, or records, are deleted.

    They meet all conditions; at least one is needed. A condition without a value is refused: it would select
    more than the client meant.

    Attributes:
        execution_ids: only these.
        config: only executions of this config.
        tag: only runs with this tag.
        older_than_seconds: only executions that ended at least this number of seconds ago.
        keep_last: number of newest runs and replays of each config, and of newest completed ones, that are
            left out. With a tag, only those with the tag are counted; pruned ones are not.
        stages: delete only the objects of these stages; without it, all objects.
        records: delete the records of executions whose objects are all deleted, instead of objects; not with
            `stages` or `keep_last`.
        is_retention: whether this is the retention of `config`. Executions in which it has nothing left to
            prune are read once, and then left out.
    """

    execution_ids: Annotated[list[UUID], Len(0, 10_000)] | None = None
    config: Annotated[str, Len(1, 1024), NoNul] | None = None
    tag: Annotated[str, Len(1, 1024), NoNul] | None = None
    older_than_seconds: Annotated[float, Interval(ge=0, le=1e10)] | None = None
    keep_last: Annotated[int, Interval(ge=0, le=1_000_000)] = 0
    stages: Annotated[list[Annotated[str, Len(0, 1024), NoNul]], Len(1, 1_000)] | None = None
    records: bool = False
    is_retention: bool = False

    def __post_init__(self) -> None:
        check(self)
        if self.records and (self.stages or self.keep_last):
            raise InvalidValue("records", "are deleted for whole executions; leave out stages and keep_last")


@dataclass(frozen=True, slots=True)
class PrunedStage:
    """A stage whose objects were deleted. Their records are kept.

    Attributes:
        stage: the stage; None: all stages, and the inputs.
        pruned_at: time from which the objects could not be read or replayed; RFC 3339 in UTC.
        deleted_at: time at which the last object was deleted; RFC 3339 in UTC; None while deletion goes on.
    """

    stage: str | None
    pruned_at: str
    deleted_at: str | None

    def overlaps(self, stage: str) -> bool:
        """Whether a stage, or a part of it, was pruned."""
        if self.stage is None or self.stage == stage:
            return True
        return stage.startswith(self.stage + "/") or self.stage.startswith(stage + "/")


def replayable_until(
    retention: Retention | None, ended_at: float | None, pruned: Sequence[PrunedStage], *, pinned: bool
) -> str | None:
    """Return the time until which retention keeps the objects of an execution; None: it does not delete them.

    `keep_last` may keep them longer. Returns None if they are pruned already.
    """
    if retention is None or ended_at is None or pinned:
        return None
    gone = {one.stage for one in pruned}
    if None in gone or (retention.stages and gone.issuperset(retention.stages)):
        return None
    return moment(ended_at + retention.keep_days * DAY)
