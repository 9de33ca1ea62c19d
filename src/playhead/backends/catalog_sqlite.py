"""The embedded catalog: SQLite in WAL mode, every commit durable, for the processes of one machine."""

from __future__ import annotations

from playhead.backends._sql_catalog import SqlCatalog
from playhead.backends._sqlite import Database, SqliteTransactions
from playhead.errors import CatalogDamaged, Unavailable, catalog_unavailable
from playhead.liveness import Liveness


class SqliteCatalog(SqlCatalog):
    """The catalog in a SQLite file.

    Args:
        db: an open database, which is not closed with the catalog. Its clock is the catalog's.
        heartbeat_seconds: the time between heartbeats; a process is dead after five missed ones.
    """

    name: str = "sqlite"

    def __init__(self, db: Database, *, heartbeat_seconds: float = 1.0) -> None:
        def unavailable(detail: str) -> Unavailable:
            return CatalogDamaged(detail) if db.damage else catalog_unavailable(detail)

        super().__init__(SqliteTransactions(db, "catalog", unavailable), Liveness(heartbeat_seconds))
        self._file = db

    async def check(self) -> str:
        if self._file.damage:
            raise CatalogDamaged(f"the catalog {self._file.path} is damaged: {self._file.damage}")
        return await super().check()
