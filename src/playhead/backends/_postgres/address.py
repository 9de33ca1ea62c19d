"""Where PostgreSQL is: what the URL says to asyncpg, to people, and to us."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from playhead.errors import CannotStart

_OURS: Final = ("statement_cache_size", "pool_size")


class Address(NamedTuple):
    """A URL, taken apart.

    Attributes:
        dsn: the URL for asyncpg, with its password.
        shown: host, port, database and schema, for people.
        options: what is ours, by name.
    """

    dsn: str
    shown: str
    options: dict[str, int]

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"  # whatever prints it, without the password


def taken_apart(url: str) -> Address:
    """Read a URL.

    Raises:
        CannotStart: `setup_invalid`.
    """
    ours: dict[str, int] = {}
    rest = []
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True)
        hosts, names = parts.netloc.rpartition("@")[2], dict(query)
        # A `/`, `?` or `#` in a password ends the host for a URL, and the rest would pass for the database.
        if "@" in parts.path or not all(_is_host(host) for host in hosts.split(",")):
            raise ValueError("an unquoted password")
    except ValueError:
        # Not chained, nor quoted: what can't be read may hold a password anywhere.
        raise CannotStart(
            "setup_invalid",
            "a postgresql:// URL can't be read: check its brackets and ports; what is special in a password, "
            "or an @ in a database's name, is written as %xx",
        ) from None
    address = f"{hosts or names.get('host', 'localhost')}{parts.path}"
    for name, value in query:
        if name not in _OURS:
            rest.append((name, value))
        elif value.isdecimal():
            ours[name] = int(value)
        else:
            raise CannotStart("setup_invalid", f"postgresql://{address}?{name}=…: give a whole number")
    if schema := names.get("search_path"):
        address += f" (schema {schema})"
    return Address(urlunsplit(parts._replace(query=urlencode(rest))), address, ours)


def _is_host(host: str) -> bool:
    """Whether it is `name`, `name:5432`, `[::1]` or `[::1]:5432`."""
    port = host.rpartition("]")[2].partition(":")[2]
    return not port or port.isdecimal()
