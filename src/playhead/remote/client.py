"""Send one request; return its answer, or raise one `PlayheadError` for any failure of server or network.

A request that changes something is sent once. If its answer is lost, the client cannot know whether the
server has processed it, and a retry could repeat the change. A read is retried once.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from json import dumps
from typing import Any, Final, NoReturn, Required, TypedDict, TypeVar, Unpack
from urllib.parse import quote, unquote, urlsplit

import httpx

from playhead import __version__
from playhead.acting import REASON, current
from playhead.addresses import is_loopback
from playhead.errors import (
    BadRequest,
    PlayheadError,
    TooLarge,
    Unavailable,
)
from playhead.form import WrongForm, read
from playhead.model import Page, Warning
from playhead.ports.tracer import OFF, Tracer
from playhead.remote.refusals import fault_text, refusal

T = TypeVar("T")

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 60.0
"""Timeout for an answer, and between two chunks. Counting a stage takes long: it reads the whole listing."""
WORK_SECONDS: Final = 3600.0
"""Timeout for an answer that follows long work: publishing a replay, storing the inputs of a run."""

HARMLESS: Final = "the request can be repeated safely"
"""For requests whose answer was lost, if a repetition has no further effect."""
WARNING_HEADER: Final = "X-Playhead-Warning"
KEY_HEADER: Final = "X-Playhead-Key"
EXPIRES_HEADER: Final = "X-Playhead-Key-Expires"
_ANY_TYPE: Final[Mapping[str, str]] = {"Accept": "*/*"}
_JSON: Final = "application/json"
_MAX_PAGE: Final = 1000
_SHOWN: Final = 80
# Statuses from a proxy whose server is unavailable or slow: a later request may succeed.
_TRANSIENT: Final = (429, 502, 503, 504)
_NOT_SENT: Final = (
    *(httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout),
    *(httpx.ProxyError, httpx.UnsupportedProtocol),
)


class How(TypedDict, total=False):
    """How a POST request is sent.

    Attributes:
        lost: end of the error message if the answer is lost: what may have happened, and how to check.
        json: the body as JSON, in which ids are text; or use `content`.
        content: the body as bytes, or as chunks that are sent as they arrive.
        content_type: the type of `content`.
        headers: further headers.
        seconds: timeout for the answer.
        query: query parameters.
        warn: called with each warning of the answer.
    """

    lost: Required[str]
    json: Any
    content: bytes | AsyncIterator[bytes]
    content_type: str | None
    headers: dict[str, str]
    seconds: float
    query: Mapping[str, object]
    warn: Callable[[Warning], None]


class Client:
    """Sends requests to the server at `url`; see `open_server`.

    Attributes:
        shown: its address without user name and password, to be displayed.
    """

    def __init__(
        self,
        url: str,
        tracer: Tracer = OFF,
        *,
        answer_seconds: float = ANSWER_SECONDS,
        key: str | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._tracer = tracer
        self._warn = warn
        parts = urlsplit(url)
        self.shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self._http = httpx.AsyncClient(
            base_url=f"{url.rstrip('/')}/api/v1/",
            headers={
                "User-Agent": f"playhead/{__version__}",
                "Accept": "application/json",
                # Not `Authorization`: an address with user name and password is for a proxy, which uses it.
                **({KEY_HEADER: key} if key else {}),
            },
            timeout=httpx.Timeout(answer_seconds, connect=CONNECT_SECONDS),
            # Use the proxies and certificates of the environment, except for a server on this machine.
            trust_env=not is_loopback(parts.hostname or ""),
        )

    async def close(self) -> None:
        await self._http.aclose()

    # -- requests ----------------------------------------------------------------------------------

    async def get(self, path: str, form: type[T], seconds: float | None = None, /, **query: object) -> T:
        """Get a path under `/api/v1`. Query parameters that are None are left out.

        `seconds`: timeout for the answer; None: that of the client.
        """
        timeout = self._http.timeout if seconds is None else httpx.Timeout(seconds, connect=CONNECT_SECONDS)
        request = self._http.build_request("GET", path, params=_query(query), timeout=timeout)
        return (await self._answer(request, form, None))[0]

    async def get_all(self, path: str, form: type[Page[T]], /, **query: object) -> list[T]:
        """Return all items of a list by reading all its pages."""
        items: list[T] = []
        cursor: str | None = None
        while True:
            page = await self.get(path, form, **query, limit=_MAX_PAGE, cursor=cursor)
            items += page.items
            cursor = page.next_cursor
            if cursor is None:
                return items

    async def stream(
        self, path: str, headers: Mapping[str, str] = _ANY_TYPE, /, **query: object
    ) -> tuple[Mapping[str, str], AsyncGenerator[bytes, None]]:
        """Return the headers of an answer, and its body in chunks, which may be read once."""
        # Without compression, Content-Length is the size of the object.
        sent = {**headers, "Accept-Encoding": "identity"}
        request = self._http.build_request("GET", path, params=_query(query), headers=sent)
        answer = await self._send(request, None)
        if answer.status_code not in (200, 206):
            await self._read_body(answer, None)
            self._refuse(answer, None)

        async def chunks() -> AsyncGenerator[bytes, None]:
            try:
                async for chunk in answer.aiter_bytes():
                    yield chunk
            except httpx.TransportError as exc:
                raise self._incomplete(exc) from exc
            finally:
                await answer.aclose()

        return answer.headers, chunks()

    async def post(self, path: str, form: type[T], **how: Unpack[How]) -> T:
        """Send a POST request once, and return its answer."""
        return (await self.post_for_response(path, form, **how))[0]

    async def post_for_response(
        self, path: str, form: type[T], **how: Unpack[How]
    ) -> tuple[T, httpx.Response]:
        """Send a POST request once. Returns its answer, also as a response with status and headers."""
        content, content_type = how.get("content"), how.get("content_type")
        if (body := how.get("json")) is not None:
            content, content_type = _json(body), _JSON
        request = self._http.build_request(
            "POST",
            path,
            params=_query(how.get("query", {})),
            content=content,
            headers=how.get("headers", {})
            | _why()
            | ({"Content-Type": content_type} if content_type else {}),
            timeout=httpx.Timeout(
                how.get("seconds", ANSWER_SECONDS), connect=CONNECT_SECONDS, write=ANSWER_SECONDS
            ),
        )
        return await self._answer(request, form, how["lost"], how.get("warn"))

    async def put(self, path: str, form: type[T], *, lost: str, json: Any) -> T:
        """Send a PUT request once, with a JSON body, also null; see `post`."""
        headers = {"Content-Type": _JSON} | _why()
        request = self._http.build_request("PUT", path, content=_json(json), headers=headers)
        return (await self._answer(request, form, lost))[0]

    # -- answers -----------------------------------------------------------------------------------

    async def _answer(
        self,
        request: httpx.Request,
        form: type[T],
        lost: str | None,
        warn: Callable[[Warning], None] | None = None,
    ) -> tuple[T, httpx.Response]:
        answer = await self._send(request, lost)
        await self._read_body(answer, lost)
        if not answer.is_success:
            self._refuse(answer, lost)
        if self._warn and (ends := answer.headers.get(EXPIRES_HEADER)):
            self._warn(f"the key ends at {ends}: replace it with `playhead keys rotate`")
            self._warn = None
        if warn:
            for warning in answer.headers.get_list(WARNING_HEADER):
                warn(Warning("server", text=unquote(warning)))
        try:
            return read(form, answer.json()), answer
        except WrongForm as exc:
            raise PlayheadError(
                "not_playhead",
                f"the server at {self.shown} runs another version than this client ({__version__}): the "
                f"answer to {request.method} {request.url.path} has an unexpected form: {exc}",
            ) from exc
        except ValueError as exc:  # not JSON
            raise self._foreign(answer) from exc

    async def _send(self, request: httpx.Request, lost: str | None) -> httpx.Response:
        if traceparent := self._tracer.current():
            request.headers["traceparent"] = traceparent
        try:
            try:
                return await self._http.send(request, stream=True)
            except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
                if lost is not None:
                    raise
                # The server may have closed an idle connection just when the request was sent: retry.
                return await self._http.send(request, stream=True)
        except _NOT_SENT as exc:
            raise self._unreachable(exc) from exc
        except httpx.TransportError as exc:
            raise self._lost(exc, lost) from exc

    async def _read_body(self, answer: httpx.Response, lost: str | None) -> None:
        try:
            await answer.aread()
        except (httpx.TransportError, httpx.DecodingError) as exc:
            raise self._lost(exc, lost) from exc

    def _refuse(self, answer: httpx.Response, lost: str | None) -> NoReturn:
        """Raise the error that an answer describes."""
        try:
            body = answer.json()
        except ValueError:
            body = None
        detail = body.get("detail") if isinstance(body, dict) else None
        if answer.status_code == 422 and isinstance(detail, list):
            raise BadRequest("usage", "; ".join(fault_text(fault) for fault in detail))
        code = body.get("error_code") if isinstance(body, dict) else None
        if not (isinstance(detail, str) and isinstance(code, str)):
            if lost is not None and answer.status_code in _TRANSIENT:
                why = f"a proxy answered {answer.status_code} {answer.reason_phrase}"
                raise self._answer_lost(why, lost)
            raise self._foreign(answer)
        location = answer.headers.get("location", "")
        error = refusal(answer.status_code, code, detail, body, location=location, server=self.shown)
        identity = body.get("correlation_id")
        error.correlation_id = identity if isinstance(identity, str) else None
        raise error

    # -- errors ------------------------------------------------------------------------------------

    def _unreachable(self, exc: Exception) -> Unavailable:
        return Unavailable(
            "server_unavailable",
            f"cannot reach the server at {self.shown}: {_reason(exc)}. Check that `playhead serve` runs "
            "there, and that the address is correct (--server, PLAYHEAD_SERVER)",
        )

    def _incomplete(self, exc: Exception) -> Unavailable:
        return Unavailable(
            "server_unavailable", f"the answer of the server at {self.shown} was incomplete: {_reason(exc)}"
        )

    def _lost(self, exc: Exception, lost: str | None) -> Unavailable:
        return self._incomplete(exc) if lost is None else self._answer_lost(_reason(exc), lost)

    def _answer_lost(self, why: str, lost: str) -> Unavailable:
        return Unavailable("answer_lost", f"the answer of the server at {self.shown} was lost: {why}; {lost}")

    def _foreign(self, answer: httpx.Response) -> PlayheadError:
        """Return the error for an answer that is not from a Playhead server."""
        status = f"{answer.status_code} {answer.reason_phrase}".strip()
        if answer.is_redirect:
            to = answer.headers.get("location", "?")
            return PlayheadError(
                "not_playhead", f"{self.shown} redirects to {to}: use the address of the redirect's target"
            )
        if answer.status_code in (401, 403, 407):
            return PlayheadError(
                "not_playhead",
                f"a proxy in front of {self.shown} requires authentication ({status}): put user name and "
                "password into the address, https://NAME:PASSWORD@HOST",
            )
        if answer.status_code in _TRANSIENT:
            return Unavailable(
                "server_unavailable",
                f"a proxy in front of {self.shown} answered {status}: the server is unavailable or slow, or "
                "there are too many requests. Try again later",
            )
        if answer.status_code == 413:
            return TooLarge(
                f"a proxy in front of {self.shown} rejects requests of this size ({status}): raise its "
                "limit (nginx: client_max_body_size), or split the inputs into several runs with one tag"
            )
        kind = answer.headers.get("content-type", "no content type").partition(";")[0]
        begin = " ".join(answer.text[: 4 * _SHOWN].split())[:_SHOWN]
        return PlayheadError(
            "not_playhead",
            f"{self.shown} is not a Playhead server: it answered {status}, {kind}, beginning with {begin!r}. "
            "Use the address that `playhead serve` prints, without /api/v1",
        )


def _why() -> dict[str, str]:
    """Return the header with the reason of the command or the program that sends a change."""
    reason = current().reason
    return {REASON: quote(reason)} if reason else {}


def segment(text: object) -> str:
    """Quote text as one segment of a path."""
    return quote(str(text), safe="")


def _json(value: Any) -> bytes:
    return dumps(value, default=str, separators=(",", ":")).encode()


def _query(given: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in given.items() if value is not None}


def _reason(exc: BaseException) -> str:
    """Return the reason of a network failure, taken from the innermost exception."""
    if isinstance(exc, httpx.ReadTimeout):
        return "no answer in time"
    if isinstance(exc, httpx.TimeoutException):
        return "no connection in time"
    found = str(exc) or type(exc).__name__
    cause = exc.__cause__ or exc.__context__
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            found = cause.strerror
            if cause.errno and found.startswith("Connect call failed"):  # asyncio's text for any errno
                found = os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    return found
