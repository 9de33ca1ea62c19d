"""Parsing PLAYHEAD_BROKER for RabbitMQ."""

from __future__ import annotations

from typing import Final, NamedTuple, Never
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from playhead.errors import CannotStart

_PORTS: Final = {"amqp": 5672, "amqps": 5671}
_HEARTBEAT_SECONDS: Final = 10
_OPTIONS: Final = frozenset(
    (
        "auth",
        "cadata",
        "cafile",
        "capath",
        "certfile",
        "heartbeat",
        "keyfile",
        "name",
        "no_verify_ssl",
        "timeout",
    )
)
"""The options that the client reads. It ignores all others."""


class Address(NamedTuple):
    """Where a cluster is.

    Attributes:
        urls: one for each node; they contain the password and are never shown.
        shown: hosts, ports and vhost.
        user: the name of the user.
    """

    urls: tuple[str, ...]
    shown: str
    user: str

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"  # without the password


def parse(url: str) -> Address:
    """Parse `amqp://user:password@host:port,host2/vhost?options`.

    The options are those of the client (`cafile`, `certfile`, `keyfile`, `heartbeat` …). There is always a
    heartbeat, because without one a machine that froze would hold its dispatches forever.

    Raises:
        CannotStart: `setup_invalid`; its text never contains the password.
    """
    try:
        parts = urlsplit(url)
        if "@" in url and "@" not in parts.netloc:
            raise ValueError("an unquoted password")  # it would be shown as a part of the vhost
        hosts = [urlsplit(f"//{host}") for host in parts.netloc.rpartition("@")[2].split(",")]
        port = _PORTS[parts.scheme]
        shown = [f"{host.hostname or 'localhost'}:{host.port or port}" for host in hosts]
    except (ValueError, KeyError):
        # Neither chained nor quoted: the URL may contain the password anywhere.
        raise CannotStart(
            "setup_invalid",
            "PLAYHEAD_BROKER is invalid. Write amqp://user:password@host:5672,host2:5672/vhost, and encode "
            "special characters of the password, or an @ after the hosts, as %xx",
        ) from None
    credentials = parts.netloc.rpartition("@")[0]
    query = parts.query
    options = parse_qs(query, keep_blank_values=True)
    if unknown := sorted(options.keys() - _OPTIONS):
        _refuse(f"has the unknown option {unknown[0]!r}; the options are {', '.join(sorted(_OPTIONS))}")
    if not all(value.isdecimal() for value in options.get("heartbeat", ())):
        _refuse("has a heartbeat that is not a whole number of seconds")
    if "heartbeat" not in options:
        query += f"{'&' if query else ''}heartbeat={_HEARTBEAT_SECONDS}"
    vhost = unquote(parts.path[1:])
    return Address(
        tuple(
            urlunsplit(
                (parts.scheme, f"{credentials}@{host}" if credentials else host, parts.path, query, "")
            )
            for host in shown
        ),
        ",".join(shown) + (f", vhost {vhost}" if vhost else ""),
        unquote(credentials.partition(":")[0]) or "guest",
    )


def _refuse(why: str) -> Never:
    raise CannotStart("setup_invalid", f"PLAYHEAD_BROKER {why}")
