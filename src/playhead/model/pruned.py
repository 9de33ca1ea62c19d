"""What a prune deletes, or would delete, and what it keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from playhead.model.retention import Kept
from playhead.model.views import StageTotal


@dataclass(frozen=True, slots=True)
class KeptExecution:
    """An execution that a prune selects and does not change.

    Attributes:
        execution_id: the execution.
        reason: `running`: it has not ended, or a message of it is open; `pinned`; `in_draft`: a publication
            that is being prepared takes results from it; `replayed`: a replay of it, or a run that takes over
            its results, runs; `adopted`: another program stored its objects. Of records: `stored`: its
            objects are not deleted; `reported`: a report or a webhook of it is due; `published`: a kept
            publication has results of it.
    """

    execution_id: UUID
    reason: Kept


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune deletes, or would delete.

    Attributes:
        dry_run: nothing was changed.
        executions: number of executions whose objects, or whose records, are deleted.
        objects: number of these objects, without their sidecars. It counts records. A process that was killed
            may have recorded objects that it did not store.
        bytes: total size of these objects, without their sidecars.
        execution_ids: the first 10,000 of these executions, oldest first.
        kept: the first 100 executions that are selected and kept, oldest first.
        kept_executions: number of executions that are selected and kept.
        is_deleted: whether all of it is deleted. Otherwise a process of the deployment deletes it.
        records: number of records that are deleted: messages, and outputs of all attempts. 0 if objects are.
        bytes_protected: total size of objects of these executions that stay, because publications name them.
        stages: these objects by stage, in the order of the names; empty for records.
    """

    dry_run: bool
    executions: int = 0
    objects: int = 0
    bytes: int = 0
    execution_ids: list[UUID] = field(default_factory=list)
    kept: list[KeptExecution] = field(default_factory=list)
    kept_executions: int = 0
    is_deleted: bool = False
    records: int = 0
    bytes_protected: int = 0
    stages: list[StageTotal] = field(default_factory=list)
