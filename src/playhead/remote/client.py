"""One request to one answer, or to one error of the tree, whatever the network does.

What changes something is sent once: where its answer is lost, nobody here can know whether it was done,
and sending it again could do it twice. What only looks is asked once more.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import quote, urlsplit
from uuid import UUID

import httpx

from playhead import __version__
from playhead.errors import (
    BadRequest,
    ConfigInvalid,
    Conflict,
    NotFound,
    PlayheadError,
    ReplayContinues,
    StoreFull,
    TooLarge,
    Unavailable,
)
from playhead.ids import parse_uuid
from playhead.model import Diagnostic
from playhead.ports.tracer import OFF, Tracer
from playhead.remote.form import WrongForm, read

T = TypeVar("T")

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 60.0
"""For an answer, and between two pieces of one. A stage is counted by reading its whole listing."""
WORK_SECONDS: Final = 3600.0
"""For an answer that is given when work is done: a replay published, a run's inputs stored."""

_SHOWN: Final = 80
# Given by proxies for a server that is away or slow: a moment later it may be there.
_PASSING: Final = (429, 502, 503, 504)
_BY_STATUS: Final[Mapping[int, type[PlayheadError]]] = {
    400: BadRequest,
    404: NotFound,
    409: Conflict,
    503: Unavailable,
}
_NOT_SENT: Final = (
    *(httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout),
    *(httpx.ProxyError, httpx.UnsupportedProtocol),
)


class Client:
    """Asks the server at `url`; see `open_server`.

    Attributes:
        shown: its address as it may be told, without name and password.
    """

    def __init__(self, url: str, tracer: Tracer = OFF) -> None:
        self._tracer = tracer
        parts = urlsplit(url)
        self.shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self._http = httpx.AsyncClient(
            base_url=f"{url.rstrip('/')}/api/v1/",
            headers={"User-Agent": f"playhead/{__version__}", "Accept": "application/json"},
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            # Proxies and certificates as the environment has them; what is on this machine needs none.
            trust_env=not _is_here(parts.hostname or ""),
        )

    async def close(self) -> None:
        await self._http.aclose()

    # -- asking ------------------------------------------------------------------------------------

    async def get(self, path: str, form: type[T], /, **query: object) -> T:
        """Return what is at a path under `/api/v1`; a query of None is left out."""
        request = self._http.build_request("GET", path, params=_query(query))
        return (await self._answer(request, form, None))[0]

    async def look(self, path: str, form: type[T], *, seconds: float) -> T:
        """Return what is found under a path by a look that takes up to so many seconds."""
        timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
        request = self._http.build_request("GET", path, timeout=timeout)
        return (await self._answer(request, form, None))[0]

    async def stream(self, path: str, /, **query: object) -> tuple[Mapping[str, str], AsyncIterator[bytes]]:
        """Return the headers of an answer, and its bytes, which may be read once."""
        # Compressed on the way, its size would be another.
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        request = self._http.build_request("GET", path, params=_query(query), headers=headers)
        answer = await self._send(request, None)
        if answer.status_code != 200:
            await self._read_body(answer, None)
            self._refuse(answer, None)

        async def chunks() -> AsyncIterator[bytes]:
            try:
                async for chunk in answer.aiter_bytes():
                    yield chunk
            except httpx.TransportError as exc:
                raise self._away(exc) from exc
            finally:
                await answer.aclose()

        return answer.headers, chunks()

    async def post(
        self,
        path: str,
        form: type[T],
        *,
        lost: str,
        json: Any = None,
        content: bytes | AsyncIterator[bytes] | None = None,
        content_type: str | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> T:
        """Send something to be done, once, and return its answer.

        Args:
            path: under `/api/v1`.
            form: of the answer.
            lost: what may have happened and how to find out, should the answer be lost.
            json: the body; or `content` with its type.
            content: bytes, or their pieces, sent as they come.
            content_type: of `content`.
            seconds: to wait for the answer.
        """
        request = self._http.build_request(
            "POST",
            path,
            json=json,
            content=content,
            headers={"Content-Type": content_type} if content_type else None,
            timeout=httpx.Timeout(seconds, connect=CONNECT_SECONDS, write=ANSWER_SECONDS),
        )
        return (await self._answer(request, form, lost))[0]

    async def create(
        self, path: str, form: type[T], *, lost: str, content: bytes, content_type: str
    ) -> tuple[T, bool]:
        """Send something that is made unless it is there; see `post`. Also returns whether it is new."""
        headers = {"Content-Type": content_type}
        request = self._http.build_request("POST", path, content=content, headers=headers)
        made, status = await self._answer(request, form, lost)
        return made, status == 201

    # -- answers -----------------------------------------------------------------------------------

    async def _answer(self, request: httpx.Request, form: type[T], lost: str | None) -> tuple[T, int]:
        answer = await self._send(request, lost)
        await self._read_body(answer, lost)
        if not answer.is_success:
            self._refuse(answer, lost)
        try:
            return read(form, answer.json()), answer.status_code
        except WrongForm as exc:
            raise PlayheadError(
                "not_playhead",
                f"the server at {self.shown} is of another version than this program ({__version__}): "
                f"{request.method} {request.url.path} was answered in another form, {exc}",
            ) from exc
        except ValueError as exc:  # no JSON
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
                # A connection that was kept may have been closed by the other side in this very moment.
                return await self._http.send(request, stream=True)
        except _NOT_SENT as exc:
            raise self._unreached(exc) from exc
        except httpx.TransportError as exc:
            raise self._lost(exc, lost) from exc

    async def _read_body(self, answer: httpx.Response, lost: str | None) -> None:
        try:
            await answer.aread()
        except (httpx.TransportError, httpx.DecodingError) as exc:
            raise self._lost(exc, lost) from exc

    def _refuse(self, answer: httpx.Response, lost: str | None) -> NoReturn:
        """Raise the error that an answer tells of."""
        try:
            body = answer.json()
        except ValueError:
            body = None
        detail = body.get("detail") if isinstance(body, dict) else None
        if answer.status_code == 422 and isinstance(detail, list):
            raise BadRequest("usage", "; ".join(_fault(fault) for fault in detail))
        code = body.get("error_code") if isinstance(body, dict) else None
        if not (isinstance(detail, str) and isinstance(code, str)):
            if lost is not None and answer.status_code in _PASSING:
                why = f"something before the server gave up ({answer.status_code} {answer.reason_phrase})"
                raise self._answer_lost(why, lost)
            raise self._foreign(answer)
        error = _error(answer, code, detail, body)
        identity = body.get("correlation_id")
        error.correlation_id = identity if isinstance(identity, str) else None
        raise error

    # -- what goes wrong ---------------------------------------------------------------------------

    def _unreached(self, exc: Exception) -> Unavailable:
        return Unavailable(
            "server_unavailable",
            f"can't reach the server at {self.shown}: {_reason(exc)}; see that `playhead serve` runs there "
            "and that this address is right (--server, PLAYHEAD_SERVER)",
        )

    def _away(self, exc: Exception) -> Unavailable:
        return Unavailable(
            "server_unavailable", f"the server at {self.shown} did not answer to the end: {_reason(exc)}"
        )

    def _lost(self, exc: Exception, lost: str | None) -> Unavailable:
        return self._away(exc) if lost is None else self._answer_lost(_reason(exc), lost)

    def _answer_lost(self, why: str, lost: str) -> Unavailable:
        return Unavailable("answer_lost", f"the answer of the server at {self.shown} was lost: {why}; {lost}")

    def _foreign(self, answer: httpx.Response) -> PlayheadError:
        """The error for an answer that no Playhead gives."""
        status = f"{answer.status_code} {answer.reason_phrase}".strip()
        if answer.is_redirect:
            to = answer.headers.get("location", "?")
            return PlayheadError(
                "not_playhead", f"{self.shown} sends on to {to}: name the address that it leads to"
            )
        if answer.status_code in (401, 403, 407):
            return PlayheadError(
                "not_playhead",
                f"something before the server at {self.shown} wants to know who you are ({status}): "
                "name and password can stand in the address, https://NAME:PASSWORD@HOST",
            )
        if answer.status_code in _PASSING:
            return Unavailable(
                "server_unavailable",
                f"something before the server at {self.shown} answered {status}: the server is away or slow, "
                "or there are too many requests",
            )
        if answer.status_code == 413:
            return TooLarge(
                f"something before the server at {self.shown} takes no request of this size ({status}): "
                "raise its limit (client_max_body_size of nginx), or make it several runs of one tag"
            )
        kind = answer.headers.get("content-type", "no content type").partition(";")[0]
        begin = " ".join(answer.text[: 4 * _SHOWN].split())[:_SHOWN]
        return PlayheadError(
            "not_playhead",
            f"what answers at {self.shown} is no Playhead: {status}, {kind}, beginning {begin!r}; give the "
            "address that `playhead serve` says it listens on, without /api/v1",
        )


def segment(text: object) -> str:
    """Text as one segment of a path."""
    return quote(str(text), safe="")


def _query(given: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in given.items() if value is not None}


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _error(answer: httpx.Response, code: str, detail: str, body: Mapping[str, Any]) -> PlayheadError:
    """An error of the API as the services raise it."""
    if code == "config_invalid":
        try:
            return ConfigInvalid(detail, read(list[Diagnostic], body.get("diagnostics") or []))
        except WrongForm:
            return ConfigInvalid(detail, ())
    if code == "replay_continues" and (batch := _batch(answer)):
        error = ReplayContinues(batch, "")
        error.detail = detail
        return error
    if code == "store_full":
        return StoreFull(detail)
    if code == "body_too_large":
        return TooLarge(detail)
    if code == "internal":
        identity = body.get("correlation_id")
        return PlayheadError(code, f"{detail} (X-Correlation-ID: {identity})")
    return _BY_STATUS.get(answer.status_code, PlayheadError)(code, detail)


def _batch(answer: httpx.Response) -> UUID | None:
    """The replay batch that `Location` leads to."""
    return parse_uuid(answer.headers.get("location", "").rpartition("/")[2])


def _fault(fault: Any) -> str:
    """One fault of a request's shape in a few words: `query limit: it should be less …`."""
    if not isinstance(fault, dict):
        return str(fault)
    return f"{' '.join(map(str, fault.get('loc', ())))}: {fault.get('msg', 'is wrong')}"


def _reason(exc: BaseException) -> str:
    """Why the network failed: in the words of what lies deepest, as the outer ones say less and less."""
    if isinstance(exc, httpx.ReadTimeout):
        return "no answer in time"
    if isinstance(exc, httpx.TimeoutException):
        return "no connection in time"
    found = str(exc) or type(exc).__name__
    cause = exc.__cause__ or exc.__context__
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            found = cause.strerror
            if cause.errno and found.startswith("Connect call failed"):  # asyncio's words for all of them
                found = os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    return found
