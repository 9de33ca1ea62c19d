"""Access checks: accepted host names, no changes by pages of other origins, and the connection limit.

The first two checks are about browsers. A browser on the same machine can reach a server on the loopback
interface from any web page. `Host` reveals a page whose name was made to resolve to the server (DNS
rebinding). `Origin` and `Sec-Fetch-Site` reveal a page of another origin that sends a form. Other programs
do not send these two headers.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from playhead.api.answers import answer
from playhead.errors import BadRequest, PlayheadError

_AUTHORITY: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::([0-9]{0,5}))?", re.ASCII)
"""In lower case, without a user name or anything else that browsers do not send."""
_ORIGIN: Final = re.compile(r"(https?)://(.+)")
_PORTS: Final = {"http": "80", "https": "443"}
READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""URLs that monitoring requests every few seconds."""
_NEVER_CROWDED: Final = frozenset({"/healthz", "/metrics"})
"""A server at its connection limit must not be restarted, and its metrics count the refused requests."""
CROWDED: Final = "crowded"
"""Key in the state of a request on a connection beyond the limit. The value is the limit."""
CLOSE: Final = {"Connection": "close"}
_CLOSED: Final = frozenset({"too_many_connections", "invalid_request"})
"""Codes of refusals after which the connection is closed."""
_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Hosts:
    """The host names that a server accepts.

    Attributes:
        loopback: the server listens on the loopback interface only, so the names of that interface are
            accepted.
        named: further names in lower case, each with or without a port: `playhead.example.com`,
            `[fd00::1]:8080`. Without any, a server that does not listen on loopback accepts all names: the
            proxy in front of it must check them.
    """

    loopback: bool
    named: frozenset[str] = frozenset()

    def allow(self, host: str | None, path: str, scheme: str = "http") -> bool:
        """Whether a request to `path` may have this `Host`. None: the request has no `Host`, or several.

        Without a port, the default port of the scheme applies. A server that does not listen on loopback also
        accepts probes by IP address or without a name. This is safe: DNS rebinding needs a name.
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
        """Whether the operator configured this host, or this host and port."""
        name, port = authority
        return name in self.named or f"{name}:{port}" in self.named

    def _probed(self, path: str) -> bool:
        return not self.loopback and path in PROBES


class Callers:
    """Refuses ambiguous requests, unknown hosts, cross-origin writes, and connections beyond the limit."""

    def __init__(self, app: ASGIApp, *, hosts: Hosts) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (error := self._refusal(scope)):
            await answer(scope, error, CLOSE if error.code in _CLOSED else None)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> PlayheadError | None:
        if (most := scope["state"].get(CROWDED)) and scope["path"] not in _NEVER_CROWDED:
            detail = (
                f"the limit of {most} open connections is reached (PLAYHEAD_MAX_CONNECTIONS); try again later"
            )
            return PlayheadError("too_many_connections", detail)
        headers = Headers(scope=scope)
        if "content-length" in headers and "transfer-encoding" in headers:
            # RFC 9112, section 6.1: two servers that read such a request differently can be made to disagree
            # on where it ends. So what follows it on this connection is not read.
            return BadRequest("invalid_request", "the request has both Content-Length and Transfer-Encoding")
        given = headers.getlist("host")
        host = given[0].lower() if len(given) == 1 else None
        if not self._hosts.allow(host, scope["path"], scope["scheme"]):
            return _unknown_host(given)
        if scope["method"] in READS:
            return None
        # The operator allows names, and each port of a name is another origin. Browsers call such ports the
        # same site, and send the session to all of them.
        site = headers.get("sec-fetch-site", "none").lower()
        if site not in ("same-origin", "none"):
            return _cross_origin(f"a {site[:_SHOWN]} page", "Send it from a page of this server")
        origins = headers.getlist("origin")
        if not origins:
            return None
        origin = origins[0].lower()
        if len(origins) == 1 and self._is_own(origin, scope["scheme"], host):
            return None
        return _foreign_origin(origins)

    def _is_own(self, origin: str, scheme: str, host: str | None) -> bool:
        """Whether an origin is the target of the request, or one that the operator configured."""
        if (theirs := _taken_apart(origin)) is None:
            return False
        if self._hosts.names(theirs[1]):
            return True
        return host is not None and theirs == (scheme, _split(host, scheme))


def _taken_apart(origin: str) -> tuple[str, tuple[str, str]] | None:
    """Return the scheme of an origin, and its host and port; None if it is malformed."""
    parts = _ORIGIN.fullmatch(origin)
    authority = _split(parts[2], parts[1]) if parts else None
    return (parts[1], authority) if parts and authority else None


def _split(authority: str, scheme: str = "http") -> tuple[str, str] | None:
    """Return name and port of `name[:port]`; None if it is malformed. IPv6 addresses are normalized."""
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
        count = "no Host header" if not given else "several Host headers"
        return PlayheadError("host_not_allowed", f"the request has {count}; send exactly one")
    parts = _split(given[0].lower())
    return PlayheadError(
        "host_not_allowed",
        f"this server does not accept the host name {given[0][:_SHOWN]!r}. If clients or a proxy use it, "
        f"start the server with PLAYHEAD_ALLOWED_HOSTS={parts[0] if parts else 'NAME'}. "
        "On the server's own machine, use 127.0.0.1 or localhost",
    )


def _foreign_origin(origins: list[str]) -> PlayheadError:
    parts = _taken_apart(origins[0].lower())
    return _cross_origin(
        f"a page of {', '.join(origins)[:_SHOWN]!r}",
        "If a proxy serves Playhead under that name, start the server with "
        f"PLAYHEAD_ALLOWED_HOSTS={parts[1][0] if parts else 'NAME'}",
    )


def _cross_origin(who: str, remedy: str) -> PlayheadError:
    return PlayheadError("cross_origin", f"cross-origin request refused: it was sent by {who}. {remedy}")
