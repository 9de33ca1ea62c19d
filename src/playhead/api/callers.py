"""Who may ask: under which names this server answers, that no page of another site changes anything, and that
no more connections are served than the operator said.

The first two are about browsers. One on this machine reaches a server that listens on loopback, whatever page
it shows: a page whose name was made to lead here (DNS rebinding) is known by `Host`, a page of another site
that sends a form by `Origin` and `Sec-Fetch-Site`. Programs send neither of the latter two.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from playhead.api.answers import answer
from playhead.errors import PlayheadError

_AUTHORITY: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::([0-9]{0,5}))?", re.ASCII)
"""In lower case. Neither a user nor anything else that a browser would not send."""
_ORIGIN: Final = re.compile(r"(https?)://(.+)")
_PORTS: Final = {"http": "80", "https": "443"}
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by what watches over the server."""
_NEVER_CROWDED: Final = frozenset({"/healthz", "/metrics"})
"""A server that has no room is not dead, so nobody should restart it, and its figures say what it refuses."""
CROWDED: Final = "crowded"
"""In the state of a request whose connection is beyond the limit: how many are served."""
CLOSE: Final = {"Connection": "close"}
_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Hosts:
    """The names that a server answers to.

    Attributes:
        loopback: it listens on this machine alone: then the names of loopback are its own.
        named: further names, in lower case, each for all ports or for one: `playhead.example.com`,
            `[fd00::1]:8080`. Where there are none and it does not listen on loopback, any name will do: it is
            for whatever stands before it to know its names.
    """

    loopback: bool
    named: frozenset[str] = frozenset()

    def allow(self, host: str | None, path: str, scheme: str = "http") -> bool:
        """Whether a request to `path` may say `host`; None: it says none, or more than one. Where it says no
        port, that of its scheme is meant.

        Where it is not on loopback, those who look after it ask by address, or by none: no name that leads to
        an address of an attacker's choice is an address itself.
        """
        if not (self.loopback or self.named):
            return True
        if host is None or (parts := _split(host, scheme)) is None:
            return host is None and self._probed(path)
        name, _ = parts
        if self.names(parts) or (self.loopback and _is_loopback(name)):
            return True
        return self._probed(path) and _address(name) is not None

    def names(self, authority: tuple[str, str]) -> bool:
        """Whether the operator named that host, or that host and port."""
        name, port = authority
        return name in self.named or f"{name}:{port}" in self.named

    def _probed(self, path: str) -> bool:
        return not self.loopback and path in PROBES


class Callers:
    """Refuses requests under a name that is not the server's, writes of other sites' pages, and what comes
    over a connection beyond the limit."""

    def __init__(self, app: ASGIApp, *, hosts: Hosts) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (error := self._refusal(scope)):
            close = CLOSE if error.code == "too_many_connections" else None
            await answer(scope, error, close)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> PlayheadError | None:
        if (most := scope["state"].get(CROWDED)) and scope["path"] not in _NEVER_CROWDED:
            detail = f"{most} connections are open (PLAYHEAD_MAX_CONNECTIONS); try again in a moment"
            return PlayheadError("too_many_connections", detail)
        headers = Headers(scope=scope)
        given = headers.getlist("host")
        host = given[0].lower() if len(given) == 1 else None
        if not self._hosts.allow(host, scope["path"], scope["scheme"]):
            return _unknown_host(given)
        if scope["method"] in _READS:
            return None
        origins = headers.getlist("origin")
        if not origins:
            site = headers.get("sec-fetch-site", "none").lower()
            return None if site in ("same-origin", "none") else _cross_origin(f"a {site[:_SHOWN]} page")
        origin = origins[0].lower()
        if len(origins) == 1 and self._is_own(origin, scope["scheme"], host):
            return None
        return _cross_origin(f"a page of {', '.join(origins)[:_SHOWN]!r}", origin)

    def _is_own(self, origin: str, scheme: str, host: str | None) -> bool:
        """Whether an origin is where the request went to, or one that the operator named."""
        if (theirs := _taken_apart(origin)) is None:
            return False
        if self._hosts.names(theirs[1]):
            return True
        return host is not None and theirs == (scheme, _split(host, scheme))


def _taken_apart(origin: str) -> tuple[str, tuple[str, str]] | None:
    """The scheme of an origin, and its host and port."""
    parts = _ORIGIN.fullmatch(origin)
    authority = _split(parts[2], parts[1]) if parts else None
    return (parts[1], authority) if parts and authority else None


def _split(authority: str, scheme: str = "http") -> tuple[str, str] | None:
    """The name and the port of `name[:port]`, an address in the one form that it has; None: it is no such."""
    if (parts := _AUTHORITY.fullmatch(authority)) is None:
        return None
    name, port = parts[1], parts[2] or _PORTS.get(scheme, "")
    if name.startswith("["):
        address = _address(name)
        return (f"[{address}]", port) if address else None
    return name, port


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.IPv6Address(name[1:-1]) if name.startswith("[") else ipaddress.IPv4Address(name)
    except ValueError:
        return None


def _is_loopback(name: str) -> bool:
    address = _address(name)
    return name == "localhost" or (address is not None and address.is_loopback)


def _unknown_host(given: list[str]) -> PlayheadError:
    if len(given) != 1:
        said = "no Host" if not given else "more than one Host"
        return PlayheadError("host_not_allowed", f"the request says {said}; it must say one, and only one")
    parts = _split(given[0].lower())
    return PlayheadError(
        "host_not_allowed",
        f"this server does not answer to the name {given[0][:_SHOWN]!r}; if that is how you or a proxy reach "
        f"it, it has to be started with PLAYHEAD_ALLOWED_HOSTS={parts[0] if parts else 'NAME'}; on its own "
        "machine, ask 127.0.0.1 or localhost",
    )


def _cross_origin(who: str, origin: str = "") -> PlayheadError:
    parts = _taken_apart(origin)
    return PlayheadError(
        "cross_origin",
        f"{who} may change nothing here, as it is another site's; if a proxy shows this server under that "
        f"name, start the server with PLAYHEAD_ALLOWED_HOSTS={parts[1][0] if parts else 'NAME'}",
    )
