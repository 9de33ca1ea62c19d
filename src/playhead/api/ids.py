"""Parameters that name an execution, a replay batch, a message or an object; see `services.resolve`.

The body of a replay is not among them: the replay contract allows only whole ids.
"""

from __future__ import annotations

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Path, Query

from playhead.api.asking import Asked
from playhead.api.schemas import ExecutionName, ShortId

SHORT: Final = "its last 4 or more digits"
NAMES: Final = (
    f"its id, {SHORT}, `latest` (the newest run), `latest:CONFIG`, `latest:replay`, `tag:NAME`, or "
    "`current:DATASET` (what its readers see), `current:DATASET@N` (publication N)"
)
NO_DATASET: Final = ("dataset_ambiguous", "dataset_not_found")
NO_PUBLICATION: Final = (*NO_DATASET, "publication_not_found", "nothing_published", "publication_dropped")
NO_EXECUTION: Final = ("id_ambiguous", "execution_not_found", *NO_PUBLICATION)
"""The error codes of an operation with a parameter that names an execution."""


async def _execution(
    asked: Asked,
    execution_id: Annotated[UUID | ExecutionName, Path(description=f"The execution: {NAMES}.")],
) -> UUID:
    return await asked.resolve.execution(str(execution_id))


async def _other_execution(
    asked: Asked,
    other_execution_id: Annotated[UUID | ExecutionName, Path(description=f"The second execution: {NAMES}.")],
) -> UUID:
    return await asked.resolve.execution(str(other_execution_id))


async def _batch(
    asked: Asked,
    replay_batch_id: Annotated[UUID | ShortId, Path(description=f"Id of the replay batch, or {SHORT}.")],
) -> UUID:
    return await asked.resolve.batch(str(replay_batch_id))


def execution_query(name: str, what: str, *, required: bool = False) -> Any:
    """Return the dependency for a query parameter that names an execution.

    Args:
        name: name of the parameter.
        what: its description.
        required: the parameter must be given.
    """
    # As default values, because annotations are read outside this function.
    given_one: Any = Query(alias=name, description=f"{what}: {NAMES}.")
    given_or_not: Any = Query(None, alias=name, description=f"{what}: {NAMES}.")

    async def resolve(asked: Asked, given: UUID | ExecutionName = given_one) -> UUID:
        return await asked.resolve.execution(str(given))

    async def resolve_if_given(
        asked: Asked, given: UUID | ExecutionName | None = given_or_not
    ) -> UUID | None:
        return None if given is None else await asked.resolve.execution(str(given))

    return Depends(resolve if required else resolve_if_given)


def key_query(name: str) -> Any:
    """Return the dependency for a query parameter that is the key of an object."""
    key: Any = Query(
        alias=name,
        description="`{execution_id}/{stage}/{path}`; another name of the execution, such as `latest`, may "
        "replace its id.",
    )

    async def resolve(asked: Asked, given: str = key) -> str:
        return await asked.resolve.key(given)

    return Depends(resolve)


_ItsExecution = Annotated[
    UUID | None,
    execution_query("execution_id", "The execution of a message of which only the end of the id is given"),
]


async def _message(
    asked: Asked,
    correlation_id: Annotated[
        UUID | ShortId,
        Path(
            description=f"Correlation id of the message, or {SHORT} if it is a dead letter or `execution_id` "
            "is given."
        ),
    ],
    execution: _ItsExecution,
) -> UUID:
    return await asked.resolve.message(str(correlation_id), execution)


async def find_dead_letter(
    asked: Asked,
    correlation_id: Annotated[
        UUID | ShortId, Path(description=f"Correlation id of the message, or {SHORT}.")
    ],
) -> UUID:
    """Return the correlation id of a dead letter. Raises `NotFound` (`dead_letter_not_found`)."""
    return await asked.resolve.dead_letter(str(correlation_id))


ExecutionId = Annotated[UUID, Depends(_execution)]
OtherExecutionId = Annotated[UUID, Depends(_other_execution)]
BatchId = Annotated[UUID, Depends(_batch)]
MessageId = Annotated[UUID, Depends(_message)]
DeliveryId = Annotated[UUID, Path(description="Id of the delivery.")]
DeadLetterId = Annotated[UUID, Depends(find_dead_letter)]
OfExecution = Annotated[UUID | None, execution_query("execution_id", "List only those of this execution")]
