"""The names in an embedded catalog, for shell completion: read at once, with nothing of Playhead loaded.

Every Tab is a separate process, and importing the catalog takes longer than all that is done here.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

_BUSY_SECONDS: Final = 0.1
_DEAD: Final = 5


class SqliteNames:
    """Reads names. Each method raises `sqlite3.Error` if the file does not exist or has another schema.

    Args:
        path: the file. It is only read, and never created.
        most: the largest number of names of a kind that grows with use; the newest ones.
    """

    def __init__(self, path: Path, most: int) -> None:
        self._path = path
        self._most = most

    def configs(self) -> list[tuple[str, bool]]:
        """Return names, the last applied first, and whether each is active."""
        return [
            (name, bool(active))
            for name, active in self._rows("SELECT name, active FROM configs ORDER BY rowid DESC")
        ]

    def routes(self) -> list[tuple[str, str, str]]:
        """Return (config, route, queue) of all active configs."""
        return self._rows(
            "SELECT v.name, l.route, l.queue FROM lanes l JOIN config_versions v ON v.id = l.config_version "
            "JOIN configs c ON c.name = v.name WHERE c.active AND v.version = "
            "(SELECT max(n.version) FROM config_versions n WHERE n.name = v.name) ORDER BY c.rowid DESC, l.id"
        )

    def executions(self) -> list[tuple[str, str]]:
        """Return the newest ids, and what each is in a few words."""
        return [
            (str(UUID(bytes=identity)), f"{kind} {status}" + (f", {config}" if config else ""))
            for identity, kind, status, config in self._rows(
                "SELECT e.id, e.kind, e.status, v.name FROM executions e "
                "LEFT JOIN config_versions v ON v.id = e.config_version WHERE e.kind <> 'publication' "
                "ORDER BY e.n DESC LIMIT ?",
                self._most,
            )
        ]

    def datasets(self) -> list[tuple[str, str]]:
        """Return names, and what readers see, in a few words."""
        rows = self._rows("SELECT name, current FROM datasets ORDER BY name")
        return [(name, f"publication {n}" if n else "nothing published") for name, n in rows]

    def tags(self) -> list[str]:
        """Return the tags of the newest executions that have any."""
        return [
            tag
            for (tag,) in self._rows(
                "SELECT tag FROM tags GROUP BY tag ORDER BY max(execution) DESC LIMIT ?", self._most
            )
        ]

    def stages(self, execution: str) -> list[str]:
        """Return the stages in the config of an execution, which `services.resolve` describes how to name."""
        word, _, name = execution.partition(":")
        kind = "replay" if execution == "latest:replay" else "run"
        config = name if word == "latest" and name not in ("", "run", "replay") else None
        return [
            stage
            for (stage,) in self._rows(
                "SELECT stage FROM lanes WHERE stage IS NOT NULL AND config_version = ("
                "SELECT config_version FROM executions e WHERE CASE ?1 "
                "WHEN 'latest' THEN kind = ?3 AND (?4 IS NULL OR config_version IN "
                "(SELECT v.id FROM config_versions v WHERE v.name = ?4)) "
                "WHEN 'current' THEN n IN (SELECT p.execution FROM publications p JOIN datasets d "
                "ON d.n = p.dataset AND d.current = p.n WHERE d.name = ?2) "
                "WHEN 'tag' THEN n IN (SELECT t.execution FROM tags t WHERE t.tag = ?2) "
                "ELSE lower(hex(id)) LIKE '%' || replace(lower(?1), '-', '') END ORDER BY n DESC LIMIT 1) "
                "ORDER BY id",
                *(word, name.partition("@")[0], kind, config),
            )
        ]

    def dead_letters(self) -> list[tuple[str, str]]:
        """Return the newest correlation ids, and why each is dead."""
        return [
            (str(UUID(bytes=identity)), f"{code}: {error or ''}")
            for identity, code, error in self._rows(
                "SELECT id, error_code, error FROM messages WHERE state = ? ORDER BY n DESC LIMIT ?",
                *(_DEAD, self._most),
            )
        ]

    def _rows(self, sql: str, *values: object) -> list[Any]:
        name = f"file:{quote(str(self._path))}?mode=ro"
        with closing(sqlite3.connect(name, uri=True, timeout=_BUSY_SECONDS)) as con:
            return con.execute(sql, values).fetchall()
