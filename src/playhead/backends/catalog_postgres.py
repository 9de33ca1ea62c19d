"""The catalog in PostgreSQL: any number of processes on any number of machines."""

from __future__ import annotations

from playhead.backends._postgres import Postgres, PostgresTransactions
from playhead.backends._sql_catalog import SqlCatalog
from playhead.errors import catalog_unavailable
from playhead.liveness import Liveness


class PostgresCatalog(SqlCatalog):
    """The catalog in a PostgreSQL database.

    Args:
        db: a database, which is not closed with the catalog.
        heartbeat_seconds: the time between heartbeats; a process is dead after five missed ones.
    """

    name: str = "postgresql"

    def __init__(self, db: Postgres, *, heartbeat_seconds: float = 1.0) -> None:
        transactions = PostgresTransactions(db, "catalog", catalog_unavailable)
        super().__init__(transactions, Liveness(heartbeat_seconds))
        self.open = transactions.open
