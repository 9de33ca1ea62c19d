"""Pruning: delete the objects of ended executions, and later their records.

A prune of an execution, or of one of its stages, has three steps. Each may be repeated, so any process may
continue what another one began:

1. `begin_prune` records the pruning. It decides under the exclusive lock of the execution. From this commit
   on, no replay of the stage can be opened, and no dead letter of the execution is resent. Until
   `end_prune`, no dead letter of a replay of the stage is resent either. So no message reads a part of the
   objects.
2. `prune_page` marks the outputs of a page as pruned, so that no listing shows them. Then the caller deletes
   their bytes, and passes the last key to the next call. If the process dies in between, the next caller gets
   the same page, and deletes the remaining objects.
3. `end_prune` records that nothing is left.

When all objects are deleted, the records may be deleted in the same three steps, with `delete_records` as the
second. The row of the execution stays, with its counts, and so does that of a replay. From `begin_prune` on,
the execution has `records_deleted_at`, so no reader takes the remaining records for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from playhead.errors import Conflict, NotFound
from playhead.model import Execution, Kept, PrunedStage, PruneFilter, Retention, StageTotal


class Candidate(NamedTuple):
    """An execution that a prune selects, and that has something to prune.

    Attributes:
        stages: what is to be pruned; empty: all stages.
        kept: why it is kept; None if it can be pruned.
        records: its records are to be deleted, and not its objects.
    """

    execution: UUID
    stages: tuple[str, ...]
    kept: Kept | None
    records: bool = False


class Pruning(NamedTuple):
    """A pruning that has begun.

    Attributes:
        n: its number; with `records`, that of the execution.
        stage: None for all stages.
        records: it deletes records.
    """

    n: int
    execution: UUID
    stage: str | None
    records: bool = False

    @property
    def prefix(self) -> str:
        """What the keys of its objects begin with, followed by a slash."""
        return f"{self.execution}/{self.stage}" if self.stage else str(self.execution)


class PrunePage(NamedTuple):
    """Objects that are marked as pruned.

    Attributes:
        last: the last key of the page.
        keys: the keys whose bytes are to be deleted, ascending. An object that a later execution refers to
            keeps its bytes. They are deleted with the last reference, so a key may be of another execution.
        objects: how many of these objects were not marked as pruned before.
        bytes: their size.
    """

    last: str
    keys: list[str]
    objects: int
    bytes: int


class RecordsPage(NamedTuple):
    """Records that are deleted.

    Attributes:
        last: where the next page begins.
        records: their number. Records that later executions need are kept, so it may be 0.
    """

    last: str
    records: int


class PrunedObject(NamedTuple):
    """The record of an object that was pruned. Times are in seconds since the epoch.

    Attributes:
        message: the message that stored it; None for an input.
        attempt: the attempt that stored it; None for an input.
    """

    content_type: str
    attributes: Mapping[str, Any]
    size: int
    sha256: bytes
    created_at: float
    pruned_at: float
    message: UUID | None
    attempt: int | None


class Prune(Protocol):
    async def pin(self, execution: UUID, pinned: bool) -> Execution | None:
        """Protect an execution from pruning, or end the protection. None if it does not exist.

        Raises `Conflict` (`execution_pruned`) if all of its objects are pruned already.
        """
        ...

    async def retentions(self) -> dict[str, Retention]:
        """Return the retention of the newest version of each config that has one, by config."""
        ...

    async def newest_tags(self, *, limit: int) -> list[str]:
        """Return the tags of executions, that of the newest execution first."""
        ...

    async def stage_names(self, config: str | None) -> list[str]:
        """Return the stages of all versions of a config, or of all configs; in order, without `input`."""
        ...

    async def prune_candidates(
        self, where: PruneFilter, *, after: int = 0, limit: int = 100
    ) -> tuple[list[Candidate], int | None]:
        """Return executions that a prune selects, oldest first, and the `after` of the next page.

        Reads up to `limit` executions, so a page may be empty although another one follows. These are left
        out: executions whose objects are all pruned, those without any of the stages, and adopted ones unless
        `where` names them.
        """
        ...

    async def count_prunable(self, candidate: Candidate) -> list[StageTotal]:
        """Return number and bytes of the objects of each stage that a prune of this candidate deletes.

        Outputs of attempts that failed are included. Objects that another execution refers to are not.
        """
        ...

    async def count_protected(self, candidate: Candidate) -> int:
        """Return the bytes of the objects that a prune of this candidate leaves because publications name
        them."""
        ...

    async def count_records(self, candidate: Candidate) -> int:
        """Return the number of messages and outputs, also of failed attempts, of an execution."""
        ...

    async def begin_prune(self, candidates: Sequence[Candidate]) -> list[Pruning]:
        """Record that the objects, or the records, of these candidates are deleted. Returns the new prunings.

        Under the exclusive locks of the executions, each is examined again: what has become protected, or
        was pruned meanwhile, is left out.
        """
        ...

    async def open_prunings(self, *, older_than: float = 0.0) -> list[Pruning]:
        """Return prunings that have not ended and began at least this number of seconds ago.

        A pruning that began before the clock was set back is returned at any age.
        """
        ...

    async def prune_page(
        self, pruning: Pruning, *, deleted: str | None = None, limit: int
    ) -> PrunePage | None:
        """Mark the next page of objects as pruned, and return it. None if nothing is left, or it has ended.

        Args:
            deleted: `last` of the previous page, whose bytes the caller has deleted.

        The bytes of an object are deleted only if this method returns its key: it alone decides that no
        process needs them any more.
        """
        ...

    async def delete_records(self, pruning: Pruning, *, after: str = "", limit: int) -> RecordsPage | None:
        """Delete up to `limit` records in one transaction; None if nothing is left, except for `end_prune`.

        Args:
            after: `last` of the previous page. Without it, nothing is left out either.

        An output to which another one refers is kept, without its message, until the last of these is
        deleted.
        """
        ...

    async def late_among(self, keys: Sequence[str]) -> set[str]:
        """Return those of these keys that no process needs: not stored, or pruned, and not referred to."""
        ...

    async def pruned_object(self, key: str) -> PrunedObject | None:
        """Return the record of a stored object that was pruned; None for any other key."""
        ...

    async def end_prune(self, pruning: Pruning) -> None:
        """Record that all objects or records of a pruning are deleted. Repeating the call changes nothing.

        Of records, also deletes the reports and the webhooks of the execution.
        """
        ...


def check_unpruned(execution: UUID, stage: str, pruned: Sequence[PrunedStage]) -> None:
    """Check that no object of a stage was pruned.

    Raises:
        Conflict: `stage_pruned`.
    """
    for one in pruned:
        if one.overlaps(stage):
            what = "all objects" if one.stage is None else f"the objects of stage {one.stage!r}"
            raise Conflict(
                "stage_pruned",
                f"cannot replay stage {stage!r} of execution {execution}: {what} were pruned on "
                f"{one.pruned_at}. Replay a stage that is still stored, or run the inputs again",
            )


def check_not_all_pruned(execution: UUID, pruned: Sequence[PrunedStage]) -> None:
    """Check that results of a run can be taken over: not all of its objects were pruned.

    Raises:
        Conflict: `execution_pruned`.
    """
    for one in pruned:
        if one.stage is None:
            raise Conflict(
                "execution_pruned",
                f"cannot take over results of execution {execution}: its objects were pruned on "
                f"{one.pruned_at}. Name another run, or run without --changed-since",
            )


def check_replays_recorded(execution: UUID, deleted: Mapping[UUID, str]) -> None:
    """Check that it is known what replays of a run did whose results are taken over.

    Args:
        deleted: when the records of replays of the run were deleted.

    Raises:
        NotFound: `records_deleted`.
    """
    for replay, when in deleted.items():
        raise NotFound(
            "records_deleted",
            f"cannot take over results of execution {execution}: the records of {replay}, a replay of it, "
            f"were deleted on {when}, and what it did would be repeated. Name another run, or run without "
            "--changed-since",
        )
