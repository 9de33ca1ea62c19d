"""The embedded broker: a table of dispatches in a SQLite file, for any number of processes of one machine.

Receivers of a process share one poll of `PRAGMA data_version`: the version changes with every commit of any
process, and reading it costs one look into shared memory.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from playhead.backends._sql_broker import Queue, SqlBroker, Tags
from playhead.backends._sqlite import Database, SqliteSession, SqliteTransactions, at_once
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL, Statement
from playhead.errors import broker_unavailable

_POLL_SECONDS = 0.01
_EXPIRY_LOOK_SECONDS = 0.25
_LOOKING_SHARE = 0.2
"""The largest share of the event loop's time that is spent looking for ready dispatches."""


class SqliteBroker(SqlBroker):
    """Queues in a SQLite file.

    Args:
        db: an open database; the broker does not close it. Its clock is the broker's.
        visibility: seconds for which a received dispatch is hidden from other receivers.
    """

    name: str = "sqlite"
    finds_at_once: ClassVar[bool] = True

    def __init__(self, db: Database, *, visibility: float = 30.0) -> None:
        super().__init__(SqliteTransactions(db, "broker", broker_unavailable), visibility=visibility)
        self._file = db

    async def maintain(self) -> None:
        """Checkpoint the file. Only for a file that is not the catalog's, by one process at a time."""
        await self._db.maintain()

    async def _hide(
        self, db: Session, *, queue: Queue, first: Mapping[int, int], limit: int, owed: int, tag: int
    ) -> list[Any]:
        rows: list[Any] = []
        for level, most in ((queue.bulk, owed), (queue.normal, limit), (queue.bulk, limit)):
            if (rest := min(most, limit - len(rows))) > 0:
                rows += await db.rows(
                    SQL.receive,
                    queue=level,
                    limit=rest,
                    visibility=self._visibility,
                    longest=self._longest_hidden,
                    tag=tag,
                )
        return rows

    async def _change_tagged(self, db: Session, statement: Statement, tags: Tags, values: Any) -> None:
        of_receive: dict[int, list[int]] = {}
        for _, n, tag in tags:
            of_receive.setdefault(tag, []).append(n)
        for tag, numbers in of_receive.items():
            await db.run(statement, tag=tag, numbers=numbers, **values)

    async def watch(self) -> None:
        con = self._file.connect(read_only=True)
        db = SqliteSession(con)
        try:
            seen, took = None, 0.0
            newest: set[str] = set()
            while True:
                await asyncio.sleep(max(_POLL_SECONDS, took / _LOOKING_SHARE))
                queues = set(self._waiting)
                now = time.monotonic()
                (version,) = con.execute("PRAGMA data_version").fetchone()
                is_due = version != seen or now - self._watched_at >= _EXPIRY_LOOK_SECONDS
                if not queues or not (is_due or queues - newest):
                    continue
                seen, newest, self._watched_at = version, queues, now
                self._wake(*at_once(self._ready(db, queues=list(queues))))
                took = time.monotonic() - now
        except sqlite3.Error:
            self._wake(*self._waiting)
        finally:
            con.close()
