"""Operator actions: cancel an execution, resend dead letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from playhead import events
from playhead.errors import BadRequest, Conflict, NotFound
from playhead.ids import now
from playhead.model import MOST_COUNTED, DeadLetter, Execution, Lineage, Priority, ResendPlan, ResendRoute
from playhead.ports.catalog.browse import EVERY_DEAD_LETTER, DeadLetterFilter, Reference
from playhead.ports.catalog.configs import Loaded
from playhead.ports.catalog.jobs import MOST_NORMAL
from playhead.ports.store import Store
from playhead.reading.listing import Listing
from playhead.reading.lookup import check_records
from playhead.replay import effects
from playhead.times import fixed_time
from playhead.work import ending

_PAGE: Final = 1_000
_EPOCH: Final = datetime.fromtimestamp(0, UTC)


class Recovery(Protocol):
    """The part of the catalog that `RecoverService` needs."""

    async def open_executions(self) -> list[UUID]: ...

    async def cancel(self, execution: UUID) -> Execution | None: ...

    async def resend(
        self,
        *,
        ids: Sequence[UUID] = (),
        where: DeadLetterFilter = EVERY_DEAD_LETTER,
        bulk: bool = False,
    ) -> list[UUID]: ...

    async def execution(self, execution: UUID) -> Execution | None: ...

    async def lineage(self, correlation_id: UUID) -> Lineage | None: ...

    async def config(self, name: str, version: int | None = None) -> Loaded | None: ...

    async def dead_letters(
        self, where: DeadLetterFilter = EVERY_DEAD_LETTER, *, before: int | None = None, limit: int = 100
    ) -> tuple[list[DeadLetter], int | None]: ...

    async def unstored(self, keys: Sequence[str]) -> set[str]: ...

    async def references(self, prefix: str, *, after: str = "", limit: int) -> list[Reference]: ...


class RecoverService:
    """Cancels executions and resends dead letters.

    Args:
        catalog: holds the executions and the dead letters.
        store: tells an unknown execution id from an execution whose objects another program stored. The
            latter has no messages, so it can neither be cancelled nor have dead letters.
    """

    def __init__(self, catalog: Recovery, store: Store) -> None:
        self._catalog = catalog
        self._listing = Listing(catalog, store)

    async def cancel(self, execution: UUID) -> Execution:
        """Cancel an execution. Idempotent.

        When this returns, no attempt of the execution starts any more.

        Raises:
            NotFound: `execution_not_found`.
            Conflict: `execution_ended`; the execution is completed or failed.
        """
        # Reading the execution would also count its messages, which may take too long for a large one.
        runs = execution in await self._catalog.open_executions()
        cancelled = await self._catalog.cancel(execution)
        if cancelled is None:
            await self._check_adoptable(execution)
            raise Conflict(
                "execution_ended",
                f"execution {execution} cannot be cancelled: its objects were stored by another program, and "
                "Playhead does not run it",
            )
        if runs:
            ending.log_end(cancelled)
        return cancelled

    async def resend(
        self,
        ids: Sequence[UUID] | None = None,
        where: DeadLetterFilter = EVERY_DEAD_LETTER,
        *,
        failed_before: str | None = None,
        priority: Priority | None = None,
    ) -> list[UUID]:
        """Resend dead letters: those in `ids`, or all that meet the conditions of `where`.

        Messages that are not dead are not changed. Unknown ids are ignored, except a single one.

        Messages are resent in steps. If the process is killed between two steps, the others stay dead. A
        repeated call with the same `failed_before` resends these, but not those that have failed again.

        Args:
            failed_before: RFC 3339 with an offset, or the time before now, such as `-1h`. Dead letters that
                failed later stay dead; milliseconds count, as in `failed_at`.
            priority: level of the messages in their queues; None: normal for up to 1,000 `ids`, else bulk.

        Returns:
            The ids of the messages that were resent.

        Raises:
            BadRequest: `selection_empty`; nothing but `failed_before` was given, or `ids` is empty.
            NotFound: `dead_letter_not_found`, `execution_not_found`, `records_deleted`.
            Conflict: `execution_ended`; one of the executions is cancelled.
            ValueError: `failed_before` is not a time.
        """
        # An empty list is a selection of nothing, for example from a search without results. It must not
        # select all dead letters of the execution.
        if ids is not None and not ids:
            raise BadRequest(
                "selection_empty", "no dead letters selected: the list of correlation ids is empty"
            )
        if ids is None and where == EVERY_DEAD_LETTER:
            raise _nothing_selected()
        if where.execution is not None:
            found = await self._catalog.execution(where.execution)
            if found is None:
                await self._check_adoptable(where.execution)
            else:
                check_records(found)
        ids = list(dict.fromkeys(ids or ()))
        sent = await self._catalog.resend(
            ids=ids,
            where=where._replace(failed_before=None if failed_before is None else _end_of(failed_before)),
            bulk=priority == "bulk" or (priority is None and (not ids or len(ids) > MOST_NORMAL)),
        )
        if not sent and len(ids) == 1 and await self._catalog.lineage(ids[0]) is None:
            raise NotFound("dead_letter_not_found", f"there is no dead letter {ids[0]}")
        if sent:
            events.emit(
                events.RESENT,
                count=len(sent),
                correlation_id=str(sent[0]) if len(sent) == 1 else None,
                execution_id=str(where.execution) if where.execution else None,
                route=where.route,
                code=where.code,
                group=where.group,
            )
        return sent

    async def plan(self, where: DeadLetterFilter, *, failed_before: str | None = None) -> ResendPlan:
        """Return what a resend of the dead letters that meet the conditions of `where` would repeat.

        Raises:
            BadRequest: `selection_empty`; no condition was given.
            ValueError: `failed_before` is not a time.
        """
        if where == EVERY_DEAD_LETTER:
            raise _nothing_selected()
        where = where._replace(failed_before=None if failed_before is None else _end_of(failed_before))
        letters: Counter[tuple[str, str]] = Counter()
        objects: set[tuple[str, str]] = set()
        before: int | None = None
        while letters.total() < MOST_COUNTED:
            found, before = await self._catalog.dead_letters(where, before=before, limit=_PAGE)
            letters.update((one.config, one.route) for one in found)
            objects.update((one.config, one.input_key.partition("/")[2]) for one in found)
            if before is None:
                break
        routes = [
            ResendRoute(config, route, count, await self._external(config, route))
            for (config, route), count in letters.most_common()
        ]
        return ResendPlan(min(letters.total(), MOST_COUNTED), len(objects), routes)

    async def _external(self, config: str, route: str) -> list[str]:
        """Return the routes with external effects that a message of a route reaches in the newest version."""
        loaded = await self._catalog.config(config)
        if loaded is None or route not in loaded.config.routes:
            return []
        routes = loaded.config.routes
        return [one for one in effects.reached(loaded.config, route, {}) if routes[one].effects == "external"]

    async def _check_adoptable(self, execution: UUID) -> None:
        """Raise `NotFound` unless the store holds objects of the execution; a replay could adopt it."""
        if await self._listing.adoptable(execution) is None:
            raise NotFound("execution_not_found", f"there is no execution {execution}")


def _end_of(time: str) -> float:
    """Return the end of a time's millisecond, in seconds since the epoch: `failed_at` is rounded down."""
    micros = (datetime.fromisoformat(fixed_time(time, now())) - _EPOCH) // timedelta(microseconds=1)
    return (micros // 1000 + 1) / 1000


def _nothing_selected() -> BadRequest:
    return BadRequest(
        "selection_empty",
        "no dead letters selected: name correlation ids, an execution, a route, an error code or a group",
    )
