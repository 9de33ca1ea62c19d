"""Where NATS is: `nats://user:password@host:4222,host2:4222?credentials=/path&replicas=3`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Never
from urllib.parse import parse_qsl, unquote, urlsplit

from playhead.errors import CannotStart

_OPTIONS = ("ca", "credentials", "replicas")
_PORT = 4222


@dataclass(frozen=True, slots=True)
class Address:
    """What PLAYHEAD_BROKER says, taken apart.

    Attributes:
        servers: `host:port` each; any of them is as good as another.
        encrypted: `tls://`: nothing is said to a server that offers no TLS.
        user, password: as written, unquoted; a user alone is a token.
        credentials: a `.creds` file (JWT and key), in place of user and password.
        ca: a file of certificates to trust instead of the system's.
        replicas: how many servers keep each stream that is made.
    """

    servers: tuple[str, ...]
    encrypted: bool = False
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    credentials: str | None = None
    ca: str | None = None
    replicas: int = 1

    def __str__(self) -> str:
        """The servers, without anything that is secret."""
        return ",".join(self.servers)


def parse(url: str) -> Address:
    """Take a URL apart.

    Raises:
        CannotStart: `setup_invalid`; the words name what is wrong, never the password.
    """
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        _refuse_unread()
    login, _, hosts = parts.netloc.rpartition("@")
    if not login and "@" in url:
        _refuse_unread()
    if parts.scheme not in ("nats", "tls"):
        _refuse(f"has the scheme {parts.scheme!r}; it is nats:// or tls://")
    if parts.path.strip("/"):
        _refuse("has a path; NATS knows none")
    if unknown := sorted(set(options) - set(_OPTIONS)):
        _refuse(f"has the option {unknown[0]!r}; there are {', '.join(_OPTIONS)}")
    user, colon, password = login.partition(":")
    replicas = options.get("replicas", "1")
    if replicas not in ("1", "2", "3", "4", "5"):
        _refuse(f"asks for {replicas!r} replicas; a stream has 1 to 5, best an odd number")
    return Address(
        tuple(_server(host) for host in hosts.split(",")),
        parts.scheme == "tls",
        unquote(user) if user else None,
        unquote(password) if colon else None,
        options.get("credentials"),
        options.get("ca"),
        int(replicas),
    )


def _server(host: str) -> str:
    try:
        parts = urlsplit(f"nats://{host}")
        name, port = parts.hostname, parts.port
    except ValueError:
        _refuse_unread()
    if not name:
        _refuse("names no host")
    return f"{f'[{name}]' if ':' in name else name}:{port or _PORT}"


def _refuse(why: str) -> Never:
    raise CannotStart(
        "setup_invalid", f"PLAYHEAD_BROKER {why}; it looks like nats://user:password@host:4222,host2:4222"
    ) from None


def _refuse_unread() -> Never:
    # Not quoted: what can't be read may hold a password anywhere.
    _refuse("can't be read: what is special in a password, or an @ after the servers, is written as %xx")
