"""The address of PostgreSQL: the URL for asyncpg, a readable text, and the options of Playhead."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from playhead.errors import CannotStart

_OURS: Final = ("statement_cache_size", "pool_size")


class Address(NamedTuple):
    """A parsed URL.

    Attributes:
        dsn: the URL for asyncpg, with its password.
        shown: host, port, database and schema, as text.
        options: the options of Playhead, by name.
    """

    dsn: str
    shown: str
    options: dict[str, int]

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"  # without the password


def taken_apart(url: str) -> Address:
    """Parse a URL.

    Raises:
        CannotStart: `setup_invalid`.
    """
    ours: dict[str, int] = {}
    rest = []
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True)
        hosts, names = parts.netloc.rpartition("@")[2], dict(query)
        # An unquoted `/`, `?` or `#` in a password ends the host part, and the rest looks like the database.
        if "@" in parts.path or not all(_is_host(host) for host in hosts.split(",")):
            raise ValueError("an unquoted password")
    except ValueError:
        # Neither chained nor quoted: an invalid URL may contain a password anywhere.
        raise CannotStart(
            "setup_invalid",
            "a postgresql:// URL is invalid. Check its brackets and ports, and write special characters in "
            "the password or the database name as %xx",
        ) from None
    address = f"{hosts or names.get('host', 'localhost')}{parts.path}"
    for name, value in query:
        if name not in _OURS:
            rest.append((name, value))
        elif value.isdecimal():
            ours[name] = int(value)
        else:
            raise CannotStart("setup_invalid", f"postgresql://{address}?{name}=… must be a whole number")
    if schema := names.get("search_path"):
        address += f" (schema {schema})"
    return Address(urlunsplit(parts._replace(query=urlencode(rest))), address, ours)


def _is_host(host: str) -> bool:
    """Whether it is `name`, `name:5432`, `[::1]` or `[::1]:5432`."""
    port = host.rpartition("]")[2].partition(":")[2]
    return not port or port.isdecimal()
