"""One SQLite file, shared by the embedded catalog and the embedded broker."""

from __future__ import annotations

import sqlite3

from playhead.backends._sqlite.database import Database
from playhead.backends._sqlite.diagnosis import examine
from playhead.backends._sqlite.file import Connection, add_functions, refuse_network
from playhead.backends._sqlite.statements import among, insert, statements

Error = sqlite3.Error
VERSION = sqlite3.sqlite_version

__all__ = [
    "VERSION",
    "Connection",
    "Database",
    "Error",
    "add_functions",
    "among",
    "examine",
    "insert",
    "refuse_network",
    "statements",
]
