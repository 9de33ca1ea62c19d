"""The audit: who changed what, which requests were refused, and who read what.

A change is recorded in its own transaction (`_sql_catalog/changes.py`). Refused requests are counted here and
written with the heartbeat, and so are lists of keys, exports, and content that was read. So a flood of them
costs few rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from time import time
from typing import Final, NamedTuple
from uuid import UUID

from playhead import ids
from playhead.acting import Acting, acting, current
from playhead.model import Page
from playhead.model.access import AuditEntry, AuditOutcome, Caller, HistoryEntry, ReadAction
from playhead.ports.catalog.access import AuditFilter, Audits
from playhead.reading.paging import decode_cursor, encode_cursor, list_of
from playhead.times import fixed_times

MOST_HISTORY: Final = 50
_MOST_ROWS: Final = 600
"""Rows that a process writes for each minute: of all refused requests, and of each caller's reads of a kind.

The rest is summed up in one more row.
"""
_MINUTE: Final = 60
_OTHERS: Final = Acting(Caller("local", "others", "others", frozenset()), "http")


class _Counted(NamedTuple):
    """What one row counts.

    Attributes:
        object: None: all that have no row of their own.
    """

    minute: int
    who: Acting
    action: str
    outcome: AuditOutcome
    object: str | None
    code: str | None


class AuditService:
    """Lists entries of the audit, and counts refused requests and reads.

    Args:
        reads: which reads are recorded.
        clock: seconds since the epoch.
    """

    def __init__(
        self, catalog: Audits, *, reads: Collection[ReadAction] = (), clock: Callable[[], float] = time
    ) -> None:
        self._catalog = catalog
        self._reads = reads
        self._clock = clock
        self._counted: Counter[_Counted] = Counter()
        self._rows: Counter[_Counted] = Counter()

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
        if after is not None:
            self.read("audit.export")
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

    # -- refused requests and reads ----------------------------------------------------------------

    def refused(self, who: Acting, operation: str, code: str) -> None:
        """Count a refused request.

        Args:
            who: the caller; of an unknown one, its address.
            operation: its method and path.
            code: why it was refused.
        """
        one = _Counted(self._minute(), _known(who), "request", "refused", operation, code)
        # Anyone can send requests that are refused, so the rest has no names.
        self._count(one, one._replace(who=_OTHERS, object=None, code=None))

    def read(self, action: ReadAction, about: str | None = None) -> None:
        """Count that who acts has read something, unless it is a process or such reads are not recorded.

        Args:
            about: key of the object, or id of the dead letter; None: all keys, or the audit.
        """
        who = current()
        if action not in self._reads or who.caller.kind == "process":
            return
        one = _Counted(self._minute(), _known(who), action, "done", about, None)
        self._count(one, one._replace(object=None))

    async def flush(self, *, last: bool = False) -> None:
        """Write the counts of the minutes that have passed, a row for each.

        Args:
            last: the minute that has not passed, too.
        """
        now = self._minute()
        for one in [key for key in self._counted if last or key.minute < now]:
            with acting(one.who):
                await self._catalog.record_audit(
                    one.action,
                    outcome=one.outcome,
                    error_code=one.code,
                    object=one.object,
                    detail={"count": self._counted[one]},
                )
            del self._counted[one]
        for key in [key for key in self._rows if last or key.minute < now]:
            del self._rows[key]

    def _count(self, one: _Counted, rest: _Counted) -> None:
        """Count in a row of its own, or with the rest if the minute has too many rows."""
        if one not in self._counted:
            if self._rows[rest] < _MOST_ROWS:
                self._rows[rest] += 1
            else:
                one = rest
        self._counted[one] += 1

    def _minute(self) -> int:
        return int(self._clock() // _MINUTE)


def _known(who: Acting) -> Acting:
    """Return what a row has of a caller. What else is known of it may differ between its requests."""
    caller = who.caller
    return Acting(Caller(caller.kind, caller.id, caller.name, frozenset()), who.via, who.address)
