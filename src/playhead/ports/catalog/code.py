"""Which code ran, and which code processes have loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from playhead.model import AdapterCode, RouteCode, Worker


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

    async def worker_code(self) -> list[Worker]:
        """Return the live processes with the code that they have loaded, oldest first.

        Of the notes of an adapter, only `changed` is set.
        """
        ...
