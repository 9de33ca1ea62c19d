"""One PostgreSQL database, as the catalog and the broker use it: connections, transactions, migrations.

Nothing relies on a session: what a transaction needs is set within it, so PgBouncer may hand out another
connection for each (`?statement_cache_size=0`; only `LISTEN` needs a connection of its own). Every wait has
an end: for a connection, for a lock, for a statement, for the whole. A process that is stopped in the middle
of a transaction is thrown out by the server before those who wait for its locks give up.

What goes wrong is an `Unreachable` with words for the operator; catalog and broker make it theirs.
"""

from __future__ import annotations

from playhead.backends._postgres.database import Postgres
from playhead.backends._postgres.diagnosis import check_notify, examine
from playhead.backends._postgres.session import FAULTS, Connection, Job, Row, Unreachable

__all__ = ["FAULTS", "Connection", "Job", "Postgres", "Row", "Unreachable", "check_notify", "examine"]
