"""One SQLite file, shared by the embedded catalog and the embedded broker."""

from __future__ import annotations

from playhead.backends._sqlite.database import Database
from playhead.backends._sqlite.file import Connection, File, add_functions, refuse_network, statements
from playhead.backends._sqlite.transactions import SqliteSession, SqliteTransactions, at_once

__all__ = [
    "Connection",
    "Database",
    "File",
    "SqliteSession",
    "SqliteTransactions",
    "add_functions",
    "at_once",
    "refuse_network",
    "statements",
]
