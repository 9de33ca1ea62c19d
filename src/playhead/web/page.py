"""The parts of every page: its view, its API calls and its live numbers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, ParamSpec, TypeVar
from urllib.parse import quote, urlencode
from uuid import UUID

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from playhead.errors import BadRequest, Conflict, Forbidden, NotFound, TooLarge, Unavailable
from playhead.ids import now, parse_uuid
from playhead.model.access import Need
from playhead.services import Services
from playhead.times import fixed_time

T = TypeVar("T")
P = ParamSpec("P")

ROWS: Final = 100
"""Rows of a list on one page."""
PATIENCE_SECONDS: Final = 0.1
"""How long a page waits for counts that read all messages. Later, the counts follow as live numbers."""
WHY: Final = "why"
"""Field of a form with the reason of a change, for the audit."""
_MOST_TEXT: Final = 2000


def url(path: str, /, **query: object) -> str:
    """Return a URL of this server. Parameters that are None or empty are left out."""
    given = {name: str(value) for name, value in query.items() if value is not None and value != ""}
    return quote(path, safe="/:@!$'()*,;=-._~") + (f"?{urlencode(given)}" if given else "")


@dataclass(frozen=True, slots=True)
class ApiCall:
    """A call of the API that returns what the page shows.

    Attributes:
        path: path with query.
        method: HTTP method.
        body: JSON body; None: no body.
        parts: parts of a multipart form, as `curl -F` takes them. Not with `body`.
    """

    path: str
    method: str = "GET"
    body: Mapping[str, Any] | None = None
    parts: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Crumb:
    """A step of the path to a page.

    Attributes:
        text: what it is called.
        href: URL of the page; None: the page that is shown.
    """

    text: str
    href: str | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a part of a page cannot be shown now.

    Attributes:
        error_code: `broker_unavailable`, `store_unavailable`, …
        detail: what is unavailable.
    """

    error_code: str
    detail: str


def checked_time(name: str, text: str) -> str:
    """Return a time of a request, RFC 3339 or relative such as `-24h`. Raises `BadRequest`."""
    try:
        fixed_time(text, now())
    except ValueError as exc:
        raise BadRequest("invalid_body", f"{name} {exc}") from None
    return text


async def or_missing(read: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T | Missing:
    """Return a part of a page, or why it cannot be read now. The other parts are shown in any case.

    Args:
        read: a function, because nothing would await a coroutine if the page was cancelled early.
    """
    try:
        return await read(*args, **kwargs)
    except Unavailable as exc:
        return Missing(exc.code, exc.detail)


def status_of(error: Exception | None) -> int:
    """Return the HTTP status of a page that shows an error as a part of it; 200 without one."""
    statuses = (
        (Forbidden, 403),
        (NotFound, 404),
        (Conflict, 409),
        (TooLarge, 413),
        (Unavailable, 503),
        (Exception, 400),
    )
    return next((status for kind, status in statuses if isinstance(error, kind)), 200)


@dataclass(frozen=True, slots=True)
class Shown(Generic[T]):
    """What a page shows.

    Attributes:
        title: title of the window, and of the page in the history of the browser.
        view: frozen dataclass with all that the template shows. The `.json` twin has the same fields.
        calls: calls of the API behind the page.
        crumbs: path to the page.
        cells: live numbers, by name: the text of each element with this `data-live`.
        shape: changes when a part of the page must be drawn again, such as the state of a replay. Elements
            with `data-part` are then replaced, or morphed by htmx where they contain forms.
        ended: whether no live number changes any more.
        status: HTTP status.
        template: another template than that of the page.
        mark: what the page has drawn, such as the id of its newest row. The live numbers get it as the query
            parameter `mark`, so they can count what is newer.
    """

    title: str
    view: T
    calls: Sequence[ApiCall] = ()
    crumbs: Sequence[Crumb] = ()
    cells: Mapping[str, str] = field(default_factory=dict)
    shape: str = ""
    ended: bool = False
    status: int = 200
    template: str | None = None
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Another page that the browser loads."""

    href: str


class Ask:
    """A request for a page.

    Attributes:
        services: the use cases.
        path: path of the page, without `.json` or `.live`.
        is_foreign: whether a page of another site sent the browser here. Such a request must start no work.
        form: fields of a form; empty for a GET.
        request: the request of a raw answer, or of an action that reads its body; else None.
        patience: how many seconds the page waits for counts; None: until they are complete.
    """

    def __init__(
        self,
        services: Services,
        path: str,
        parameters: Mapping[str, str],
        query: Mapping[str, str],
        form: FormData | None = None,
        is_foreign: bool = False,
        request: Request | None = None,
        patience: float | None = PATIENCE_SECONDS,
    ) -> None:
        self.services = services
        self.path = path
        self.parameters = parameters
        self.query = query
        self.form = form or FormData()
        self.is_foreign = is_foreign
        self.request = request
        self.patience = patience

    def text(self, name: str) -> str | None:
        """Return a query parameter, or None if it is missing or empty."""
        value = self.query.get(name, "").strip()
        if len(value) > _MOST_TEXT:
            raise BadRequest("invalid_body", f"{name} is longer than {_MOST_TEXT:,} characters")
        return value or None

    def needed(self, name: str) -> str:
        """Return a query parameter that the page cannot do without."""
        if (value := self.text(name)) is None:
            raise BadRequest("invalid_body", f"the address needs the parameter {name}")
        return value

    def choice(self, name: str, options: Sequence[str]) -> str | None:
        """Return a query parameter that must be one of these."""
        value = self.text(name)
        if value is not None and value not in options:
            raise BadRequest("invalid_body", f"{name} is {value!r}; use one of: {', '.join(options)}")
        return value

    def number(self, name: str, least: int, most: int) -> int | None:
        """Return a query parameter that must be a whole number within these limits."""
        value = self.text(name)
        if value is None:
            return None
        if not (value.isascii() and value.isdecimal() and len(value) <= 19 and least <= int(value) <= most):
            raise BadRequest("invalid_body", f"{name} is {value!r}; use a number from {least} to {most}")
        return int(value)

    async def execution(self, name: str = "execution_id") -> UUID:
        """Return the id of the execution that the path, or else the query, names in any form."""
        text = self.parameters.get(name) or self.needed(name)
        return parse_uuid(text) or await self.services.resolve.execution(text)


Answer = Shown[Any] | Redirect


@dataclass(frozen=True, slots=True)
class Page:
    """A page.

    Attributes:
        path: path with parameters, as in Starlette.
        template: name of the template.
        show: returns what it shows.
        section: entry of the navigation that is marked.
        live: whether its numbers change while it is open.
        scope: what a caller needs to see it, or its twins.
    """

    path: str
    template: str
    show: Callable[[Ask], Awaitable[Answer]]
    section: str = ""
    live: bool = False
    scope: Need = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class Action:
    """What a form sends.

    Attributes:
        path: path with parameters.
        perform: acts, and returns the page that follows.
        template: template of the page that it shows, if it does not redirect.
        section: entry of the navigation that is marked then.
        reads_body: whether `perform` reads the body, because it has files.
        scope: what a caller needs to send it.
    """

    path: str
    perform: Callable[[Ask], Awaitable[Answer]]
    template: str = ""
    section: str = ""
    reads_body: bool = False
    scope: Need = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class Raw:
    """A response that is not a page, such as the bytes of an object.

    Attributes:
        path: path with parameters.
        answer: returns the response with all of its headers. `Ask` has the request.
        method: HTTP method.
        scope: what a caller needs to get it.
    """

    path: str
    answer: Callable[[Ask], Awaitable[Response]]
    method: str = "GET"
    scope: Need = field(kw_only=True)
