"""Parsing PLAYHEAD_BROKER for NATS:
`nats://user:password@host:4222,host2:4222?credentials=/path&replicas=3`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Never
from urllib.parse import parse_qsl, unquote, urlsplit

from playhead.errors import CannotStart

_OPTIONS = ("ca", "credentials", "replicas")
_PORT = 4222


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of PLAYHEAD_BROKER.

    Attributes:
        servers: `host:port` of each server; all are equivalent.
        encrypted: `tls://`; no credentials are sent to a server without TLS.
        user, password: decoded; a user without a password is a token.
        credentials: a `.creds` file (JWT and key), instead of user and password.
        ca: a file of trusted certificates, instead of the system's.
        replicas: the number of servers that keep each new stream.
    """

    servers: tuple[str, ...]
    encrypted: bool = False
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    credentials: str | None = None
    ca: str | None = None
    replicas: int = 1

    def __str__(self) -> str:
        """The servers, without secrets."""
        return ",".join(self.servers)


def parse(url: str) -> Address:
    """Parse a URL.

    Raises:
        CannotStart: `setup_invalid`; its text names the fault, never the password.
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
        _refuse("has a path, which NATS does not have")
    if unknown := sorted(set(options) - set(_OPTIONS)):
        _refuse(f"has the unknown option {unknown[0]!r}; the options are {', '.join(_OPTIONS)}")
    user, colon, password = login.partition(":")
    replicas = options.get("replicas", "1")
    if replicas not in ("1", "2", "3", "4", "5"):
        _refuse(f"asks for {replicas!r} replicas; a stream has 1 to 5, preferably an odd number")
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
        "setup_invalid", f"PLAYHEAD_BROKER {why}. Write nats://user:password@host:4222,host2:4222"
    ) from None


def _refuse_unread() -> Never:
    # Not quoted, because the URL may contain the password anywhere.
    _refuse("is invalid: encode special characters of the password, or an @ after the servers, as %xx")
