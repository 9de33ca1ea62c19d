"""One PostgreSQL database, as the catalog and the broker use it: connections, transactions, migrations.

No code relies on session state: each transaction sets its own parameters. So PgBouncer may use another
connection for each transaction (`?statement_cache_size=0`); only `LISTEN` needs a dedicated connection. Every
wait has a time limit: for a connection, a lock, a statement, and a whole transaction. If a process is
suspended within a transaction, the server terminates the transaction before other processes stop waiting for
its locks.

Errors are raised as `Unreachable`, with a text for the operator. Catalog and broker translate them.
"""

from __future__ import annotations

from playhead.backends._postgres.database import Postgres
from playhead.backends._postgres.session import FAULTS, Connection, Unreachable
from playhead.backends._postgres.transactions import PostgresTransactions

__all__ = ["FAULTS", "Connection", "Postgres", "PostgresTransactions", "Unreachable"]
