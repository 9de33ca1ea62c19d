"""Which code ran, and which code processes have loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from playhead.model import AdapterCode, AffectedRoute, MadeByCondition, RouteCode, Worker


class Code(Protocol):
    async def record_code(self, adapters: Sequence[AdapterCode]) -> int:
        """Record the code of the adapters of a chain; return its number, for `Done.ran` and `Failed.ran`.

        Equal lists have the same number, in every process. Repeating the call changes nothing.
        """
        ...

    async def recorded_code(self, types: Sequence[str]) -> set[AdapterCode]:
        """Return the adapters of these types as they were recorded, each with its version and code."""
        ...

    async def code_of(self, execution: UUID) -> list[RouteCode]:
        """Return the code that ran in an execution, by route, in the order of the config.

        Only routes of which a message has ended. Reads all messages of the execution.
        """
        ...

    async def made_in(
        self,
        by: MadeByCondition,
        *,
        since: float | None = None,
        execution: UUID | None = None,
        before: int | None = None,
        limit: int,
    ) -> tuple[list[tuple[int, AffectedRoute]], int | None]:
        """Return the routes with results that code or a worker has made, the newest execution first.

        Each comes with the number of its execution. Reads all messages of up to `limit` executions before the
        number `before`; the second value is the next `before`, or None at the end. So a page may be empty
        before the end.

        Args:
            by: a condition on code, without `newest`, or on the worker.
            since: only executions that were created at this time or later, in seconds since 1970.
            execution: only this one.
        """
        ...

    async def received_from(
        self, execution: UUID, config_route: tuple[str, str], stage: str, by: MadeByCondition, *, limit: int
    ) -> list[str]:
        """Return the keys of up to `limit` objects of a stage for which a route has a result of `by`."""
        ...

    async def worker_code(self) -> list[Worker]:
        """Return the live processes with the code that they have loaded, oldest first.

        Of the notes of an adapter, only `changed` is set.
        """
        ...
