"""Parsing PLAYHEAD_BROKER for RabbitMQ."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import unquote, urlencode

from playhead.backends._broker_url import refuse, split

_PORTS: Final = {"amqp": 5672, "amqps": 5671}
_HEARTBEAT_SECONDS: Final = "10"
_OPTIONS: Final = ("cafile", "certfile", "keyfile", "heartbeat")


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

    There is always a heartbeat, because without one a machine that froze would hold its dispatches forever.

    Raises:
        CannotStart: `setup_invalid`; its text never contains the password.
    """
    parts = split(url, _PORTS, _OPTIONS)
    options = {"heartbeat": _HEARTBEAT_SECONDS} | parts.options
    if not options["heartbeat"].isdecimal() or not int(options["heartbeat"]):
        refuse("has a heartbeat that is not a whole number of seconds, at least 1")
    login = f"{parts.login}@" if parts.login else ""
    vhost = unquote(parts.path[1:])
    return Address(
        tuple(
            f"{parts.scheme}://{login}{server}{parts.path}?{urlencode(options)}" for server in parts.servers
        ),
        ",".join(parts.servers) + (f", vhost {vhost}" if vhost else ""),
        unquote(parts.login.partition(":")[0]) or "guest",
    )
