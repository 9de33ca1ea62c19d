"""Logins at a provider: the browser is sent there, and comes back with an answer."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from playhead.addresses import own_path
from playhead.cookies import COOKIE, SessionCookie
from playhead.errors import NotFound, PlayheadError
from playhead.services.login import RefusedLogin
from playhead.web.login import enter, refused
from playhead.web.page import Ask, Raw, url

_SECONDS: Final = 600
"""How long a login may take, as in the catalog."""
_NO_STORE: Final = {"Cache-Control": "no-store"}


async def begin(ask: Ask) -> Response:
    """Send the browser to the provider. A link of another site only shows the page of the login."""
    request, to = _request(ask), ask.text("next") or "/"
    cookie = _login_cookie(request)
    if ask.is_foreign:
        return RedirectResponse(url("/login", next=to), 303, _NO_STORE)
    try:
        begun = await ask.services.login.begin(to)
    except PlayheadError as error:
        if error.code != "too_many_attempts":
            raise
        return refused(ask.services, request, error, own_path(to))
    response = RedirectResponse(begun.url, 303, _NO_STORE)
    response.headers.append("Set-Cookie", f"{cookie.holding(begun.cookie)}; Max-Age={_SECONDS}")
    return response


async def finish(ask: Ask) -> Response:
    """Begin the session of the person that the provider names."""
    request = _request(ask)
    session, login = _session_cookie(request), _login_cookie(request)
    given = request.query_params.multi_items()
    answer = dict(given) if len(dict(given)) == len(given) else {}  # a parameter twice: ambiguous
    tokens = login.tokens(request.scope["headers"])
    try:
        caller, to = await ask.services.login.finish(tokens[0] if len(tokens) == 1 else None, answer)
    except RefusedLogin as error:
        return refused(ask.services, request, error, error.to, error.caller)
    response = await enter(ask.services, request, caller, to, session)
    response.headers.append("Set-Cookie", login.expired)
    return response


def _request(ask: Ask) -> Request:
    assert ask.request, "a raw answer has its request"
    return ask.request


def _session_cookie(request: Request) -> SessionCookie:
    cookie: SessionCookie | None = request.scope["state"].get(COOKIE)
    if cookie is None:
        raise NotFound("not_found", "browsers cannot log in to this server: set PLAYHEAD_PUBLIC_URL")
    return cookie


def _login_cookie(request: Request) -> SessionCookie:
    """Return the cookie of a login that has begun, next to that of the session."""
    session = _session_cookie(request)
    return SessionCookie(f"{session.name}-login", session.is_secure)


RAW: Final = (
    Raw("/login/oidc", begin, scope="public"),
    Raw("/login/oidc/callback", finish, scope="public"),
)
