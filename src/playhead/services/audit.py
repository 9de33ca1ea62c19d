"""The audit: who changed what, and which requests were refused.

A change is recorded in its own transaction (`_sql_catalog/changes.py`). Refused requests are counted here and
written with the heartbeat, so a flood of them costs no more than `_MOST_ROWS` rows a minute.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from time import time
from typing import Final, NamedTuple
from uuid import UUID

from playhead import ids
from playhead.acting import Acting, acting
from playhead.model import Page
from playhead.model.access import AuditEntry, AuditOutcome, Caller, HistoryEntry
from playhead.ports.catalog.access import AuditFilter, Audits
from playhead.reading.paging import decode_cursor, encode_cursor, list_of
from playhead.times import fixed_times

MOST_HISTORY: Final = 50
_MOST_ROWS: Final = 600
_MINUTE: Final = 60
_REQUEST: Final = "request"
_OTHERS: Final = Acting(Caller("local", "others", "others", frozenset()), "http")


class _Refused(NamedTuple):
    """What one row counts."""

    minute: int
    who: Acting
    operation: str
    code: str


class AuditService:
    """Lists entries of the audit, and counts refused requests.

    Args:
        clock: seconds since the epoch.
    """

    def __init__(self, catalog: Audits, *, clock: Callable[[], float] = time) -> None:
        self._catalog = catalog
        self._clock = clock
        self._refused: Counter[_Refused] = Counter()
        self._others: Counter[int] = Counter()

    async def list(
        self,
        *,
        actor: str | None = None,
        action: str | None = None,
        outcome: AuditOutcome | None = None,
        execution_id: UUID | None = None,
        replay_batch_id: UUID | None = None,
        config: str | None = None,
        object: str | None = None,
        since: str | None = None,
        until: str | None = None,
        after: int | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[AuditEntry]:
        """Return entries that meet all given conditions, the newest first.

        Args:
            actor: public id or name of the caller.
            action: an action, or its beginning up to a dot: `replay` for `replay.start`.
            since: RFC 3339 with an offset, or the time before now, as in `-24h`.
            until: only entries before this time.
            after: only entries with larger numbers, the oldest first.

        Raises:
            BadRequest: `invalid_cursor`.
            ValueError: a time has another form.
        """
        conditions = (actor, action, outcome, execution_id, replay_batch_id, config, object)
        of = list_of("audit", *conditions, since, until, after)
        place = decode_cursor(cursor, int, of)
        times = fixed_times(ids.now(), since=since, until=until)
        seconds = {name: None if text is None else ids.seconds(text) for name, text in times.items()}
        where = AuditFilter(*conditions, seconds["since"], seconds["until"])
        if after is None:
            found = await self._catalog.audit(where, before=place, limit=limit + 1)
        else:
            found = await self._catalog.audit(where, after=after if place is None else place, limit=limit + 1)
        items = found[:limit]
        return Page(items, encode_cursor(items[-1].n if len(found) > limit else None, of))

    async def history(
        self, *, execution: UUID | None = None, replay: UUID | None = None, dataset: str | None = None
    ) -> Sequence[HistoryEntry]:
        """Return the newest changes of an execution, a replay or a dataset (`CONFIG/NAME`).

        It has no address: everyone who may read sees it.
        """
        where = AuditFilter(execution=execution, batch=replay, object=dataset)
        found = await self._catalog.audit(where, limit=MOST_HISTORY)
        return [
            HistoryEntry(
                at=one.at,
                actor_kind=one.actor_kind,
                actor_name=one.actor_name,
                action=one.action,
                outcome=one.outcome,
                reason=one.reason,
            )
            for one in found
        ]

    # -- refused requests --------------------------------------------------------------------------

    def refused(self, who: Acting, operation: str, code: str) -> None:
        """Count a refused request.

        Args:
            who: the caller; of an unknown one, its address.
            operation: its method and path.
            code: why it was refused.
        """
        minute = int(self._clock() // _MINUTE)
        one = _Refused(minute, Acting(who.caller, who.via, who.address), operation, code)
        if one in self._refused or sum(key.minute == minute for key in self._refused) < _MOST_ROWS:
            self._refused[one] += 1
        else:
            self._others[minute] += 1

    async def flush(self, *, last: bool = False) -> None:
        """Write the counts of the minutes that have passed: a row for each caller, operation and code.

        Args:
            last: the minute that has not passed, too.
        """
        now = self._clock() // _MINUTE
        for one in [key for key in self._refused if last or key.minute < now]:
            await self._write(one.who, self._refused[one], one.operation, one.code)
            del self._refused[one]
        for minute in [key for key in self._others if last or key < now]:
            await self._write(_OTHERS, self._others[minute], None, None)
            del self._others[minute]

    async def _write(self, who: Acting, count: int, operation: str | None, code: str | None) -> None:
        with acting(who):
            await self._catalog.record_audit(
                _REQUEST, outcome="refused", error_code=code, object=operation, detail={"count": count}
            )
