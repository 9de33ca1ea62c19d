"""`/login` and `/logout`: the session of a browser begins and ends.

The page has no script, so nothing but the form gets the key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from playhead import __version__
from playhead.acting import NOBODY, Acting, acting
from playhead.addresses import is_loopback, own_path
from playhead.cookies import COOKIE, SessionCookie, check_own_page, client_address
from playhead.credentials import key_id
from playhead.errors import Forbidden, PlayheadError, Unauthorized
from playhead.model.access import Caller
from playhead.services import Services
from playhead.web.page import Ask, Raw, url
from playhead.web.render import POLICY, environment

_MOST_FIELDS: Final = 10
_READS: Final = ("GET", "HEAD")
_NO_SCRIPT: Final = "; ".join(part for part in POLICY.split("; ") if not part.startswith("script-src"))
_REFUSED: Final = {"too_many_attempts": 429, "login_needs_https": 403}


@dataclass(frozen=True, slots=True)
class LoginView:
    """What the page shows.

    Attributes:
        to: path of this server that is shown after the login.
        has_form: browsers can log in here.
        has_provider: people can log in at a provider.
        error_code: why the last login was refused; None: it is the first.
        detail: the same in words.
    """

    to: str
    has_form: bool = True
    has_provider: bool = False
    error_code: str | None = None
    detail: str = ""


async def show(ask: Ask) -> Response:
    request, to = _request(ask), own_path(ask.query.get("next", "/"))
    if await ask.services.identity.mode() == "open":
        return _without_session(request, to)
    try:
        _cookie_of(request)
    except Forbidden as error:
        return _page(LoginView(to, False, False, error.code, error.detail), _REFUSED[error.code])
    return _page(LoginView(to, True, ask.services.login.is_offered))


async def log_in(ask: Ask) -> Response:
    request = _request(ask)
    check_own_page(request.scope)
    cookie = _cookie_of(request)
    async with request.form(max_files=0, max_fields=_MOST_FIELDS) as form:
        key, to = str(form.get("key", "")).strip(), own_path(str(form.get("next", "/")))
    address = client_address(request.scope)
    try:
        caller = await ask.services.identity.of_key(key, changes=True, address=address)
    except PlayheadError as error:
        if not isinstance(error, Unauthorized) and error.code not in _REFUSED:
            raise
        identity = key_id(key)
        claimed = Caller("key", identity, identity, frozenset()) if identity else NOBODY.caller
        return refused(ask.services, request, error, to, claimed)
    return await enter(ask.services, request, caller, to, cookie)


def refused(
    services: Services, request: Request, error: PlayheadError, to: str, caller: Caller = NOBODY.caller
) -> Response:
    """Count a refused login for the audit, and return the page of the login with the reason.

    Args:
        caller: who wanted to log in.
    """
    who = Acting(caller, "web", client_address(request.scope))
    services.audit.refused(who, f"{request.method} {request.url.path}", error.code)
    view = LoginView(to, True, services.login.is_offered, error.code, error.detail)
    return _page(view, _REFUSED.get(error.code, 401))


async def enter(
    services: Services, request: Request, caller: Caller, to: str, cookie: SessionCookie
) -> Response:
    """Begin a session of a caller who was recognised, and return the way to the first page.

    A session that the browser had is ended, and its cookie is replaced: no cookie from before a login counts
    after it.
    """
    address = client_address(request.scope)
    who = Acting(caller, "web", address, correlation_id=request.scope["state"].get("correlation_id"))
    old = cookie.tokens(request.scope["headers"])
    with acting(who):
        for token in old[1:]:
            await _end(services, token)
        new = await services.access.log_in(
            caller, old=old[0] if old else None, address=address, browser=request.headers.get("user-agent")
        )
    if old:
        services.identity.forget_session(old[0])
    return RedirectResponse(to, 303, {"Set-Cookie": cookie.holding(new)})


async def log_out(ask: Ask) -> Response:
    request = _request(ask)
    check_own_page(request.scope)
    cookie: SessionCookie | None = request.scope["state"][COOKIE]
    for token in cookie.tokens(request.scope["headers"]) if cookie else ():
        try:
            caller = await ask.services.identity.of_session(token, changes=True)
        except Unauthorized:
            continue
        with acting(Acting(caller, "web", client_address(request.scope))):
            await _end(ask.services, token)
    left = _without_session(request, "/login")
    left.headers["Clear-Site-Data"] = '"cache"'
    return left


def redirect(request: Request) -> Response:
    """Return the way to the login, for a request without a session."""
    if request.headers.get("hx-request"):
        to = _path_of(request.headers.get("hx-current-url", ""))
        # A redirect of the response itself would put the login into a part of the page.
        return Response(status_code=401, headers={"HX-Redirect": _login(to)})
    if request.method in _READS:
        query = request.scope["query_string"].decode("latin-1")
        to = request.scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
    else:
        to = _path_of(request.headers.get("referer", ""))  # the page with the form
    return RedirectResponse(_login(to), 303)


def _request(ask: Ask) -> Request:
    assert ask.request, "`Raw` passes it"
    return ask.request


async def _end(services: Services, token: str) -> None:
    await services.access.log_out(token)
    services.identity.forget_session(token)


def _cookie_of(request: Request) -> SessionCookie:
    """Return the cookie of the server. Raises `Forbidden` if its content could be read on the way."""
    cookie: SessionCookie | None = request.scope["state"][COOKIE]
    if cookie is None or not (cookie.is_secure or is_loopback(request.url.hostname or "")):
        raise Forbidden(
            "login_needs_https",
            "browsers log in over https only. Set PLAYHEAD_PUBLIC_URL to the address of this server for "
            "browsers, such as https://playhead.example.com. Programs send a key with each request",
        )
    return cookie


def _without_session(request: Request, to: str) -> Response:
    cookie: SessionCookie | None = request.scope["state"][COOKIE]
    answer = RedirectResponse(to, 303)
    if cookie and cookie.tokens(request.scope["headers"]):
        answer.headers["Set-Cookie"] = cookie.expired
    return answer


def _page(view: LoginView, status: int = 200) -> Response:
    text = environment(__version__).get_template("login.html").render(v=view)
    headers = {"Content-Security-Policy": _NO_SCRIPT, "Cache-Control": "no-store"}
    return Response(text, status, headers, "text/html")


def _login(to: str) -> str:
    path = own_path(to)
    return url("/login", next=path if path != "/" else None)


def _path_of(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:
        return "/"
    return parts.path + (f"?{parts.query}" if parts.query else "")


RAW: Final = (
    Raw("/login", show, scope="public"),
    Raw("/login", log_in, "POST", scope="public"),
    Raw("/logout", log_out, "POST", scope="public"),
)
