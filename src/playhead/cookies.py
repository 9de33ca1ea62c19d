"""The session cookie of a browser, for `api/` and `web/`.

Behind https, its name begins with `__Host-`, so no other site of the same domain can set it. On the loopback
interface, browsers use http. A server that is reached in another way has no sessions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

from playhead.errors import PlayheadError


@dataclass(frozen=True, slots=True)
class SessionCookie:
    """How a server names the cookie of a session.

    Attributes:
        name: a cookie with any other name is ignored.
        is_secure: browsers send it over https only.
    """

    name: str
    is_secure: bool

    def holding(self, token: str) -> str:
        """Return the value of `Set-Cookie` that begins a session."""
        # Not `Strict`: a link in a chat would then open the login page.
        return f"{self.name}={token}; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if self.is_secure else "")

    @property
    def expired(self) -> str:
        """The value of `Set-Cookie` that removes it."""
        return f"{self.holding('')}; Max-Age=0"

    def tokens(self, headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
        """Return the tokens of a request: more than one is ambiguous."""
        found = []
        for name, value in headers:
            if name == b"cookie":
                parts = (part.strip().partition("=") for part in value.decode("latin-1").split(";"))
                found += [token for given, _, token in parts if given == self.name]
        return found


HTTPS_COOKIE: Final = SessionCookie("__Host-playhead", True)
LOOPBACK_COOKIE: Final = SessionCookie("playhead_session", False)
COOKIE: Final = "session_cookie"
"""Key in the state of a request: the cookie of its server; None: the server has no sessions."""


def session_cookie(public_url: str | None, *, is_loopback: bool) -> SessionCookie | None:
    """Return the cookie of a server; None: browsers cannot log in.

    Args:
        public_url: address of the server for browsers, if the operator has set it.
        is_loopback: the server listens on the loopback interface.
    """
    if public_url is not None:
        return HTTPS_COOKIE if public_url.startswith("https:") else LOOPBACK_COOKIE
    return LOOPBACK_COOKIE if is_loopback else None


def check_own_page(scope: Scope) -> None:
    """Check that a page of this server has sent a request. `Callers` has refused those of other origins.

    Browsers send a cookie with any request, and an authenticating proxy names the user of any request. So
    these callers must also send what only browsers send, and no page can change.

    Raises:
        PlayheadError: `cross_origin`.
    """
    headers = Headers(scope=scope)
    if "origin" not in headers and headers.get("sec-fetch-site") != "same-origin":
        raise PlayheadError(
            "cross_origin",
            "a request with a session, or of a user of a proxy, needs the header Origin or Sec-Fetch-Site, "
            "as browsers send it; programs use a key instead",
        )


def client_address(scope: Scope) -> str | None:
    """Return the address of the client, or of the proxy in front of the server."""
    client = scope.get("client")
    return client[0] if client else None
