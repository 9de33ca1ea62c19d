"""Dead letters sent again, in PostgreSQL: a few that are named at once, all of an execution or a route in steps.

A step has the executions of its rows to itself, so it is short: there may be a million dead letters, and who
works on those executions waits for it. Between two steps an execution may end, or be cancelled, as it may
between two calls: each step wakes what it sends, or finds out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple
from uuid import UUID

from playhead.backends._postgres import Connection, Row
from playhead.backends._sql_catalog.rows import DEAD, PENDING
from playhead.backends._sql_catalog.upkeep import has_bad_key, is_cancelled
from playhead.backends.catalog_postgres.rows import Part, of_route

_STEP = 2_000
"""Rows sent again by one transaction."""

_OF_EXECUTION = (
    "SELECT d.n, d.execution FROM executions e JOIN lanes l ON l.config_version = e.config_version "
    "CROSS JOIN LATERAL (SELECT m.n, m.execution FROM messages m WHERE m.execution = e.n "
    f"AND m.state = {DEAD} AND m.lane = l.id AND -m.n < -$1::bigint ORDER BY -m.n DESC LIMIT $3) d "
    f"WHERE e.id = $4 AND d.n <= $2 AND {of_route(5)} ORDER BY d.n LIMIT $3"
)
_OF_ROUTE = (
    "SELECT d.n, d.execution FROM lanes l CROSS JOIN LATERAL (SELECT m.n, m.execution FROM messages m "
    f"WHERE m.state = {DEAD} AND m.lane = l.id AND -m.n < -$1::bigint ORDER BY -m.n DESC LIMIT $3) d "
    f"WHERE {of_route(4)} AND d.n <= $2 ORDER BY d.n LIMIT $3"
)


class _Refuses(NamedTuple):
    """What is an error, rather than left out."""

    cancelled: bool
    bad_keys: bool


class ResendPart(Part):
    async def resend(
        self, *, ids: Sequence[UUID] = (), execution: UUID | None = None, route: str | None = None
    ) -> list[UUID]:
        sent: dict[int, UUID] = {}
        if ids:
            sent |= await self._write(lambda con: self._send_named(con, ids))
        if execution is not None or route is not None:
            refuses = _Refuses(cancelled=bool(ids) or execution is not None, bad_keys=bool(ids))
            # What dies from here on, of its children too, is not sent again: it would never end.
            last = await self._read(lambda con: con.fetchval("SELECT coalesce(max(n), 0) FROM messages"))
            after = 0
            while after < last:
                step = (after, last, _STEP)
                found, after = await self._write(
                    partial(self._send_some, step=step, execution=execution, route=route, refuses=refuses)
                )
                sent |= found
        return [sent[n] for n in sorted(sent)]

    async def _send_named(self, con: Connection, ids: Sequence[UUID]) -> dict[int, UUID]:
        # Found by their ids alone, whatever the planner thinks of other conditions.
        found = await con.fetch("SELECT n, execution FROM messages WHERE id = ANY($1::uuid[])", list(ids))
        return await self._send(con, found, _Refuses(cancelled=True, bad_keys=True))

    async def _send_some(
        self,
        con: Connection,
        *,
        step: tuple[int, int, int],
        execution: UUID | None,
        route: str | None,
        refuses: _Refuses,
    ) -> tuple[dict[int, UUID], int]:
        """One step: `step` is (rows above this number, up to this one, at most so many).

        Returns what was sent, by number, and the number above which to go on.
        """
        _, last, most = step
        if execution is not None:
            found = await con.fetch(_OF_EXECUTION, *step, execution, route)
        else:
            found = await con.fetch(_OF_ROUTE, *step, route)
        return await self._send(con, found, refuses), found[-1][0] if len(found) == most else last

    async def _send(self, con: Connection, found: Sequence[Row], refuses: _Refuses) -> dict[int, UUID]:
        """Send those of the rows (their number and their execution's) that are dead; returns them by number."""
        # From here on nobody ends, cancels or works these executions; what their rows are is looked at after.
        statuses = await self._exclude(con, {execution for _, execution in found})
        rows = await con.fetch(
            "SELECT m.n, m.id, e.n, e.id, m.error_code, m.state FROM messages m "
            "JOIN executions e ON e.n = m.execution WHERE m.n = ANY($1::bigint[]) ORDER BY m.n",
            [n for n, _ in found],
        )
        sent: dict[int, UUID] = {}
        woken: set[int] = set()
        for n, cid, execution_n, execution, code, state in rows:
            if state != DEAD:
                continue
            if statuses[execution_n] == "cancelled":
                if refuses.cancelled:
                    raise is_cancelled(execution)
            elif code == "invalid_key":
                if refuses.bad_keys:
                    raise has_bad_key(cid)
            else:
                sent[n] = cid
                woken.add(execution_n)
        await con.execute(
            f"UPDATE messages SET state = {PENDING}, generation = generation + 1, uncounted_attempts = attempt, "
            "consecutive_crashes = 0, published = 0, publisher = NULL, not_before = NULL, ended_at = NULL, "
            "error_code = NULL, error = NULL, traceback = NULL WHERE n = ANY($1::bigint[])",
            list(sent),
        )
        await con.execute(
            "UPDATE executions SET status = 'running', settled = false, ended_at = NULL, counts = NULL "
            "WHERE n = ANY($1::bigint[])",
            list(woken),
        )
        for execution_n in woken:
            self._counts.forget(execution_n)
        return sent
