"""Parsing PLAYHEAD_BROKER for servers that form a cluster: NATS and RabbitMQ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Never
from urllib.parse import parse_qsl, urlsplit

from playhead.errors import CannotStart


class BrokerUrl(NamedTuple):
    """The parts of a URL.

    Attributes:
        login: user and password, as they are encoded in the URL; may be empty.
        servers: `host:port` of each server.
        options: of the query.
    """

    scheme: str
    login: str
    servers: tuple[str, ...]
    path: str
    options: dict[str, str]


def split(url: str, ports: Mapping[str, int], options: Sequence[str]) -> BrokerUrl:
    """Split `scheme://user:password@host:port,host2/path?options`.

    Args:
        ports: the port of each scheme, for hosts without one.
        options: the allowed options.

    Raises:
        CannotStart: `setup_invalid`; its text names the fault, never the password.
    """
    try:
        parts = urlsplit(url)
        port = ports[parts.scheme]
        login, _, hosts = parts.netloc.rpartition("@")
        if "@" in url and not login:
            raise ValueError("an unquoted password")  # it would be shown as part of the path
        found = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        servers = tuple(_server(host, port) for host in hosts.split(","))
    except (ValueError, KeyError):
        # Neither chained nor quoted: the URL may contain the password anywhere.
        schemes = " or ".join(f"{scheme}://user:password@host1,host2" for scheme in ports)
        refuse(
            f"is invalid. Write {schemes}, and encode special characters of the password, or an @ after the "
            "hosts, as %xx"
        )
    if unknown := sorted(found.keys() - set(options)):
        refuse(f"has the unknown option {unknown[0]!r}; the options are {', '.join(options)}")
    return BrokerUrl(parts.scheme, login, servers, parts.path, found)


def refuse(why: str) -> Never:
    """Raise the error for an invalid PLAYHEAD_BROKER."""
    raise CannotStart("setup_invalid", f"PLAYHEAD_BROKER {why}") from None


def _server(host: str, port: int) -> str:
    parts = urlsplit(f"//{host}")
    if not parts.hostname:
        raise ValueError("no host")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{name}:{parts.port or port}"
