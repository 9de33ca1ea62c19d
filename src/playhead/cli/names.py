"""Names for shell completion, from the embedded catalog or a server. Other catalogs offer none.

The composition root and `settings` are not used: importing them takes 0.7 s, and Tab must answer within
0.15 s. Only the three settings that name a catalog or server are read here.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote, unquote, urlencode, urlsplit

from playhead import project

MOST: Final = 50
"""The most executions, tags or dead letters offered."""
_SERVER_SECONDS: Final = 1.0


class Names(Protocol):
    """See `playhead.backends.names_sqlite.SqliteNames`; each method may raise anything."""

    def configs(self) -> list[tuple[str, bool]]: ...
    def routes(self) -> list[tuple[str, str, str]]: ...
    def executions(self) -> list[tuple[str, str]]: ...
    def tags(self) -> list[str]: ...
    def stages(self, execution: str) -> list[str]: ...
    def dead_letters(self) -> list[tuple[str, str]]: ...
    def datasets(self) -> list[tuple[str, str]]: ...


def find_names(flags: Mapping[str, str | None]) -> Names | None:
    """Return a source of names, by flags, variables and `playhead.toml`; None if a query would take long."""
    server = None if any(flags.get(name) for name in ("home", "catalog")) else setting("server", flags)
    if server:
        return ServerNames(server)
    catalog = setting("catalog", flags)
    parts = urlsplit(catalog or "")
    if catalog and parts.scheme != "sqlite":
        return None
    from playhead.backends.names_sqlite import SqliteNames

    home = Path(setting("home", flags) or project.find() / project.HOME)
    return SqliteNames(Path(unquote(parts.path)) if catalog else home / "playhead.db", MOST)


def setting(name: str, flags: Mapping[str, str | None]) -> str | None:
    """Return a setting; None if it is not set."""
    given = flags.get(name) or os.environ.get(f"PLAYHEAD_{name.upper()}")  # noqa: TID251 - see above
    if given:
        return given
    try:
        folder = project.find()
        if project.is_foreign(file := folder / project.FILE):
            return None
        written = tomllib.loads(file.read_text(encoding="utf-8")).get(name)
    except FileNotFoundError:
        return None
    written = project.absolute(folder, name, written)
    return ",".join(written) if isinstance(written, list) else written


class ServerNames:
    """The names on a server: one connection per request, with a time-out of one second."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url.rstrip("/"))

    def configs(self) -> list[tuple[str, bool]]:
        return [(item["name"], item["active"]) for item in self._items("configs")]

    def routes(self) -> list[tuple[str, str, str]]:
        return [(item["config"], item["route"], item["queue"]) for item in self._items("routes")]

    def executions(self) -> list[tuple[str, str]]:
        return [
            (item["execution_id"], f"{item['kind']} {item['status']}, {item['config'] or ''}".rstrip(", "))
            for item in self._items("executions", MOST)
        ]

    def tags(self) -> list[str]:
        return list(dict.fromkeys(tag for item in self._items("executions", MOST) for tag in item["tags"]))

    def stages(self, execution: str) -> list[str]:
        if execution.startswith("tag:"):
            found = self._items("executions", 1, tag=execution[4:])[0]
        else:
            found = self._get(f"executions/{quote(execution)}")
        # Not from `/stages`: to count their objects, the server would read the whole listing.
        version = self._get(f"configs/{found['config']}/versions/{found['config_version']}")
        return list(version["stages"])

    def dead_letters(self) -> list[tuple[str, str]]:
        return [
            (item["correlation_id"], f"{item['error_code']}: {item['error']}")
            for item in self._items("dead-letters", MOST)
        ]

    def datasets(self) -> list[tuple[str, str]]:
        return [
            (item["name"], f"publication {item['current']}" if item["current"] else "nothing published")
            for item in self._get("datasets")["items"]
        ]

    def _items(self, path: str, limit: int = 1000, **query: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self._get(f"{path}?{urlencode({**query, 'limit': limit})}")["items"]
        return items

    def _get(self, path: str) -> Any:
        from http.client import HTTPConnection, HTTPSConnection

        kind = HTTPSConnection if self._url.scheme == "https" else HTTPConnection
        connection = kind(self._url.hostname or "", self._url.port, timeout=_SERVER_SECONDS)
        try:
            connection.request("GET", f"{self._url.path}/api/v1/{path}")
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()
