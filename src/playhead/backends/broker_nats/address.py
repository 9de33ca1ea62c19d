"""Parsing PLAYHEAD_BROKER for NATS:
`nats://user:password@host:4222,host2:4222?credentials=/path&replicas=3`."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote

from playhead.backends._broker_url import refuse, split

_PORTS = {"nats": 4222, "tls": 4222}


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
    parts = split(url, _PORTS, ("ca", "credentials", "replicas"))
    if parts.path.strip("/"):
        refuse("has a path, which NATS does not have")
    replicas = parts.options.get("replicas", "1")
    if replicas not in ("1", "2", "3", "4", "5"):
        refuse(f"asks for {replicas!r} replicas; a stream has 1 to 5, preferably an odd number")
    user, colon, password = parts.login.partition(":")
    return Address(
        parts.servers,
        parts.scheme == "tls",
        unquote(user) if user else None,
        unquote(password) if colon else None,
        parts.options.get("credentials"),
        parts.options.get("ca"),
        int(replicas),
    )
