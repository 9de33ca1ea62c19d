"""Who sends a request: the middleware that every request passes before its path is matched.

It reads headers only, so a refused request has sent no body, and an unknown path is refused like a known one.
What a caller may do is decided at the matched route (`scopes.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from playhead.acting import NOBODY, REASON, REASON_LENGTH, Acting, acting
from playhead.api.answers import ERROR_CODE, answer, correlation_id
from playhead.api.callers import READS
from playhead.api.lasting import Lasting, is_stream
from playhead.api.proxied import TrustedProxy
from playhead.cookies import COOKIE, SessionCookie, check_own_page, client_address
from playhead.credentials import key_id
from playhead.errors import BadRequest, PlayheadError, Unauthorized, Unavailable
from playhead.model.access import Caller
from playhead.services.audit import AuditService
from playhead.services.identity import IdentityService

CALLER: Final = "caller"
"""Key in the state of a request."""
_BEARER: Final = b"bearer"
_PUBLIC: Final = frozenset(
    {"/healthz", "/readyz", "/login", "/login/oidc", "/login/oidc/callback", "/logout"}
)
"""Whole paths that need no caller."""
_PUBLIC_FILES: Final = ("/assets/", "/docs/assets/")
"""Mounts of files that are the same for everyone."""
_REFUSED: Final = (401, 403)
_PATH: Final = 200
"""Characters of a path in the audit."""
_CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}
_VARY: Final = (b"vary", b"Authorization, Cookie, X-Playhead-Key")

SignedOut = Callable[[Scope, PlayheadError], ASGIApp | None]
"""Returns the answer of the web UI to a request without a valid caller.

None: the path is not of the web UI.
"""


class Identify:
    """Sets the caller of each request, and refuses requests without one.

    Args:
        signed_out: answers for pages.
        proxy: names users; None: no proxy is trusted.
        cookie: of sessions; None: there are no sessions.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        signed_out: SignedOut | None,
        proxy: TrustedProxy | None,
        cookie: SessionCookie | None,
    ) -> None:
        self._app = app
        self._signed_out = signed_out
        self._proxy = proxy
        self._cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["state"][COOKIE] = self._cookie
        if _is_public(scope["path"]):
            with acting(NOBODY):
                await self._app(scope, receive, send)
            return
        credentials: Credentials | None = None
        try:
            credentials = Credentials.of(scope, self._cookie)
            caller = await self._caller(scope, credentials)
        except PlayheadError as error:
            if not isinstance(error, Unavailable):
                who = Acting(_claimed(credentials), "http", client_address(scope))
                _refused(scope, who, scope["path"], error.code)
            await self._refusal(scope, error)(scope, receive, send)
            return
        who = Acting(
            caller,
            "http" if scope["path"].startswith("/api/") else "web",
            client_address(scope),
            credentials.reason,
            correlation_id(scope),
        )
        scope["state"][CALLER] = caller
        await self._serve(scope, receive, send, who, credentials)

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, who: Acting, credentials: Credentials
    ) -> None:
        # Not in `send_marked`: a streaming response calls that in a task of its own.
        serving, lasting = asyncio.current_task(), None

        async def send_marked(message: Message) -> None:
            nonlocal lasting
            if message["type"] == "http.response.start":
                if message["status"] in _REFUSED:
                    path = getattr(scope.get("route"), "path", None) or scope["path"]
                    _refused(scope, who, path, scope["state"].get(ERROR_CODE, "outside_limit"))
                if credentials.any or who.caller.kind == "proxy":
                    _mark(message, who.caller)
                if serving and is_stream(message):
                    lasting = Lasting(serving, partial(self._still, scope, credentials, who.caller))
            await send(message)

        try:
            with acting(who):
                await self._app(scope, receive, send_marked)
        except asyncio.CancelledError:
            if lasting is None or not lasting.ended():
                raise
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            if lasting:
                lasting.close()

    async def _still(self, scope: Scope, given: Credentials, caller: Caller) -> bool:
        """Whether a caller may still do what it could do when its request came."""
        try:
            now = await self._caller(scope, given, is_use=False)
        except Unavailable:
            return True  # the stream reports it
        except PlayheadError:
            return False
        return now.scopes >= caller.scopes

    async def _caller(self, scope: Scope, given: Credentials, *, is_use: bool = True) -> Caller:
        changes = scope["method"] not in READS
        identity: IdentityService = scope["app"].state.services.identity
        if given.keys:
            if len(given.keys) > 1 or given.is_malformed:
                raise Unauthorized("key_invalid", "the request has several keys, or no Bearer key; send one")
            address = client_address(scope)
            return await identity.of_key(given.keys[0], changes=changes, address=address, is_use=is_use)
        if self._proxy and (user := self._proxy.caller_of(scope["headers"])):
            if changes:
                check_own_page(scope)
            return identity.limited(user)
        if given.sessions:
            if len(given.sessions) > 1:
                raise Unauthorized("session_ended", "the request has several sessions; log in again")
            found = await identity.of_session(given.sessions[0], changes=changes, is_use=is_use)
            if changes:
                check_own_page(scope)
            return found
        return await identity.anyone()

    def _refusal(self, scope: Scope, error: PlayheadError) -> ASGIApp:
        if self._signed_out and (page := self._signed_out(scope, error)):
            return page
        return answer(scope, error, _CHALLENGE if isinstance(error, Unauthorized) else None)


class Credentials:
    """What a request has that may tell who sends it.

    Attributes:
        keys: keys of `Authorization` and `X-Playhead-Key`.
        is_malformed: it has an `Authorization` that is no Bearer key, next to no other key.
        sessions: session cookies.
        reason: why the request is made.
    """

    __slots__ = ("is_malformed", "keys", "reason", "sessions")

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.sessions: list[str] = []
        self.is_malformed = False
        self.reason: str | None = None

    @classmethod
    def of(cls, scope: Scope, cookie: SessionCookie | None) -> Credentials:
        """Read the headers of a request once.

        Raises:
            BadRequest: `invalid_body`; the reason is too long or not UTF-8.
        """
        found = cls()
        for name, value in scope["headers"]:
            if name == b"authorization":
                found._add_authorization(value)
            elif name == b"x-playhead-key":
                found.keys.append(value.decode("latin-1").strip())
            elif name == b"cookie" and cookie is not None:
                found.sessions += cookie.tokens([(name, value)])
            elif name == b"x-playhead-reason":
                found.reason = _reason(value)
        return found

    @property
    def any(self) -> bool:
        return bool(self.keys or self.sessions)

    def _add_authorization(self, value: bytes) -> None:
        kind, _, rest = value.partition(b" ")
        # A proxy may use `Basic` for itself, and pass it on. It names no caller here.
        if kind.lower() == _BEARER:
            self.keys.append(rest.decode("latin-1").strip())
        elif kind.lower() != b"basic":
            self.is_malformed = True
            self.keys.append("")


def _is_public(path: str) -> bool:
    return path in _PUBLIC or path.startswith(_PUBLIC_FILES)


def _reason(value: bytes) -> str:
    try:
        text = unquote(value.decode("ascii"), errors="strict")
    except UnicodeDecodeError:
        raise BadRequest("invalid_body", f"{REASON} is not percent-encoded UTF-8") from None
    if len(text) > REASON_LENGTH or "\0" in text:
        raise BadRequest(
            "invalid_body",
            f"{REASON} has {len(text):,} characters or a NUL; at most {REASON_LENGTH:,} are allowed",
        )
    return text


def _claimed(given: Credentials | None) -> Caller:
    """Return the caller of a refused request: the public id of its key, if it has the form of one."""
    identity = key_id(given.keys[0]) if given and given.keys else None
    return Caller("key", identity, identity, frozenset()) if identity else NOBODY.caller


def _refused(scope: Scope, who: Acting, path: str, code: str) -> None:
    """Count a refused request for the audit."""
    audit: AuditService = scope["app"].state.services.audit
    audit.refused(who, f"{scope['method']} {path[:_PATH]}", code)


def _mark(response: Message, caller: Caller) -> None:
    """Mark a response to a caller with a credential, so that no cache gives it to another one.

    It also tells a client that its key ends soon.
    """
    response["headers"] = marked = [*response["headers"], _VARY]
    if caller.ends_soon:
        marked.append((b"x-playhead-key-expires", caller.ends_soon.encode()))
