"""Look up what a request names, or raise the error that a client gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from playhead import keys
from playhead.errors import BadRequest, NotFound
from playhead.ids import moment
from playhead.model import Execution, Replay
from playhead.ports.catalog.prune import PrunedObject
from playhead.reading.listing import Listing


class Executions(Protocol):
    """The part of the catalog that looking up an execution needs."""

    async def execution(self, execution: UUID) -> Execution | None: ...


class Replays(Protocol):
    """The part of the catalog that looking up a replay batch needs."""

    async def replay(self, batch: UUID) -> Replay | None: ...


class DeletedRecords(Protocol):
    """The part of the catalog that knows which executions have no records any more."""

    async def records_deleted(self, executions: Sequence[UUID]) -> Mapping[UUID, str]: ...


class PrunedObjects(DeletedRecords, Protocol):
    """The part of the catalog that knows pruned objects."""

    async def pruned_object(self, key: str) -> PrunedObject | None: ...


async def find_execution(catalog: Executions, listing: Listing, execution: UUID) -> Execution:
    """Return an execution. If it exists only in the store, return it as adopted, and store nothing.

    Raises:
        NotFound: `execution_not_found`.
    """
    found = await catalog.execution(execution) or await listing.adoptable(execution)
    if found is None:
        raise NotFound(
            "execution_not_found",
            f"execution {execution} is neither in the catalog nor in the store. Run: playhead executions",
        )
    return found


async def find_replay(catalog: Replays, batch: UUID) -> Replay:
    """Return a replay batch.

    Raises:
        NotFound: `replay_not_found`.
    """
    found = await catalog.replay(batch)
    if found is None:
        raise NotFound("replay_not_found", f"there is no replay batch {batch}")
    return found


def check_key(key: str) -> None:
    """Check that a key has the form `{execution_id}/{stage}/{path}`.

    Raises:
        BadRequest: `invalid_path`.
    """
    if keys.parse_key(key) is None:
        why = keys.problem(key) or "is not {execution_id}/{stage}/{path}"
        raise BadRequest("invalid_path", f"key {key!r} {why}")


def check_records(of: Execution | Replay) -> None:
    """Check that an execution, or that of a replay, has its records.

    Raises:
        NotFound: `records_deleted`.
    """
    if of.records_deleted_at:
        raise no_records(of.execution_id, of.records_deleted_at)


def no_records(execution: UUID, when: str) -> NotFound:
    return NotFound(
        "records_deleted",
        f"the records of execution {execution} were deleted on {when}: its messages, outputs and reports. "
        f"Its counts remain: playhead show {execution}",
    )


async def check_recorded(catalog: DeletedRecords, executions: Sequence[UUID]) -> None:
    """Check that executions have their records. Call it after reading these: some may be deleted meanwhile.

    Raises:
        NotFound: `records_deleted`.
    """
    for execution, when in (await catalog.records_deleted(executions)).items():
        raise no_records(execution, when)


async def missing_object(catalog: PrunedObjects, key: str) -> NotFound:
    """Return the error for an object that cannot be read.

    It is `object_pruned`, `records_deleted` or `object_not_found`.
    """
    found = await catalog.pruned_object(key)
    if found is None:
        owner = keys.owner_of(key)
        when = (await catalog.records_deleted([owner])).get(owner)
        return no_records(owner, when) if when else no_object(key)
    return NotFound(
        "object_pruned",
        f"the object {key!r} was pruned on {moment(found.pruned_at)}; it had {found.size} bytes of "
        f"{found.content_type} with the sha256 {found.sha256.hex()}",
    )


def no_object(key: str) -> NotFound:
    return NotFound("object_not_found", f"there is no stored object {key!r}")
