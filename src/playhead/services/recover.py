"""Setting things right by hand: cancel an execution, send dead letters again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from playhead import events
from playhead.engine import ending
from playhead.engine.listing import Listing
from playhead.errors import BadRequest, Conflict, NotFound
from playhead.model import Execution, Lineage
from playhead.ports.catalog.configs import Loaded
from playhead.ports.store import Store


class Recovery(Protocol):
    """What recovering needs of the catalog."""

    async def open_executions(self) -> list[UUID]: ...

    async def cancel(self, execution: UUID) -> Execution | None: ...

    async def resend(
        self, *, ids: Sequence[UUID] = (), execution: UUID | None = None, route: str | None = None
    ) -> list[UUID]: ...

    async def execution(self, execution: UUID) -> Execution | None: ...

    async def lineage(self, correlation_id: UUID) -> Lineage | None: ...

    async def config(self, name: str, version: int | None = None) -> Loaded | None: ...

    async def unstored(self, keys: Sequence[str]) -> set[str]: ...


class RecoverService:
    """
    Args:
        catalog: holds what can be cancelled and sent again.
        store: may hold executions that the catalog has not met; nothing of them runs or is dead.
    """

    def __init__(self, catalog: Recovery, store: Store) -> None:
        self._catalog = catalog
        self._listing = Listing(catalog, store)

    async def cancel(self, execution: UUID) -> Execution:
        """Cancel an execution: when this returns, no work starts in it any more. Idempotent.

        Raises:
            NotFound: `execution_not_found`.
            Conflict: `execution_ended`; it is completed or failed.
        """
        # Only whether it runs: to count a large one takes long, and may take too long.
        runs = execution in await self._catalog.open_executions()
        cancelled = await self._catalog.cancel(execution)
        if cancelled is None:
            await self._check_adoptable(execution)
            raise Conflict("execution_ended", f"execution {execution} is not run by Playhead, and has ended")
        if runs:
            ending.tell_end(cancelled)
        return cancelled

    async def resend(
        self, ids: Sequence[UUID] | None = None, execution: UUID | None = None, route: str | None = None
    ) -> list[UUID]:
        """Send dead letters again: those named by `ids`, or all of an execution, of a route (a name, or
        `config/route`), or of both; returns those that were dead.

        Of several ids, unknown ones are left out; one alone has to exist. A message that is not dead
        (any more) is left as it is.

        Raises:
            BadRequest: `selection_empty`; nothing was named, which never means all.
            NotFound: `dead_letter_not_found`, `execution_not_found`.
            Conflict: `execution_ended`; an execution among them is cancelled.
        """
        # No ids is a selection, too: what a search found nothing for must not become all of the execution.
        if ids is not None and not ids:
            raise BadRequest(
                "selection_empty", "the list of correlation ids is empty; nothing was sent again"
            )
        if ids is None and execution is None and route is None:
            raise BadRequest("selection_empty", "name dead letters: by correlation ids, execution or route")
        if execution is not None and await self._catalog.execution(execution) is None:
            await self._check_adoptable(execution)
        ids = list(dict.fromkeys(ids or ()))
        sent = await self._catalog.resend(ids=ids, execution=execution, route=route)
        if not sent and len(ids) == 1 and await self._catalog.lineage(ids[0]) is None:
            raise NotFound("dead_letter_not_found", f"there is no dead letter {ids[0]}")
        if sent:
            events.emit(
                events.RESENT,
                count=len(sent),
                correlation_id=str(sent[0]) if len(sent) == 1 else None,
                execution_id=str(execution) if execution else None,
                route=route,
            )
        return sent

    async def _check_adoptable(self, execution: UUID) -> None:
        """Let pass what another program made; a replay would adopt it."""
        if await self._listing.adoptable(execution) is None:
            raise NotFound("execution_not_found", f"there is no execution {execution}")
