"""`http_request`: send an HTTP request for each item, and return the body of the response."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, field_validator

from playhead import Context, Item, Output, RateLimited, Reject, Retry, adapter
from playhead.keys import OCTET_STREAM
from playhead.ports.adapter import CONTENT_TYPE

if TYPE_CHECKING:
    import httpx

Status = int | str

_PLACEHOLDER: Final = re.compile(r"(?<!\$)\{([^{}]*)\}")
_SOURCE: Final = re.compile(r"text|path|(?:json|attributes)(?:\.[^.{}]+)+")
_STATUS: Final = re.compile(r"[1-5](?:[0-9]{2}|xx)")
_WITH_NEW_EFFECTS: Final = ("POST", "PATCH")
_OVERLOADED: Final = (429, 503)


class HttpRequestConfig(BaseModel):
    """The settings of `http_request`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(
        "{text}",
        min_length=1,
        description="The URL. `{text}` is the trimmed text of the item, `{path}` its path, `{json.a.b}` a "
        "field of a JSON object, and `{attributes.a}` an attribute. Inside a longer URL, values are "
        "percent-encoded.",
    )
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = Field("GET", description="The method.")
    headers: dict[str, str] = Field(default_factory=dict, description="Headers of the request.")
    body: Literal["none", "item"] = Field(
        "none", description="`item` sends the bytes of the item, with its content type."
    )
    timeout_seconds: float = Field(
        30, gt=0, le=3600, description="Time for a whole request, including its redirects."
    )
    max_bytes: int = Field(
        16_777_216, ge=1, le=1 << 30, description="The largest body of a response, decompressed."
    )
    max_redirects: int = Field(5, ge=0, le=20, description="Redirects to follow; 0: none.")
    output_statuses: list[Status] = Field(
        ["2xx"], description="Statuses whose body is an output: numbers, or classes such as `2xx`."
    )
    retry_statuses: list[Status] = Field(
        [408, 425, 429, "5xx"], description="Statuses to retry. All other statuses reject the item."
    )

    @field_validator("url")
    @classmethod
    def _has_known_sources(cls, url: str) -> str:
        for source in _PLACEHOLDER.findall(url):
            if not _SOURCE.fullmatch(source):
                raise ValueError(
                    f"{{{source}}} is unknown: write {{text}}, {{path}}, {{json.FIELD}} or "
                    "{attributes.NAME}"
                )
        return url

    @field_validator("output_statuses", "retry_statuses")
    @classmethod
    def _are_statuses(cls, statuses: list[Status]) -> list[Status]:
        if wrong := [one for one in statuses if not _STATUS.fullmatch(str(one))]:
            raise ValueError(
                f"{wrong[0]!r} is not a status: write a number such as 404, or a class such as 4xx"
            )
        return statuses


@adapter("http_request", effects="idempotent")
class HttpRequest:
    """Send an HTTP request, and return the body of the response.

    The output has the content type of the response, and the attributes `url` (after redirects) and `status`.
    The steps of a process share their connections. A response 429 or 503 with `Retry-After` starts a
    cooldown. The step connects only to public addresses, and to those in `PLAYHEAD_INTERNAL_HOSTS`.
    """

    def __init__(self, config: HttpRequestConfig) -> None:
        self._config = config
        self._client: httpx.AsyncClient | None = None

    async def __call__(self, item: Item, ctx: Context) -> Output:
        # The import takes a third of a second.
        from playhead.adapters import _http

        if self._client is None:
            self._client = _http.open_client(ctx.internal_hosts)
        request = self._request(self._client, item, ctx)
        try:
            async with asyncio.timeout(self._config.timeout_seconds):
                response = await self._response(self._client, request)
        except TimeoutError as exc:
            seconds = f"{self._config.timeout_seconds:g}"
            raise Retry(f"{request.method} {request.url} took longer than {seconds} s") from exc
        except _http.FAILURES as exc:
            raise _http.unreachable(request, exc) from exc
        return self._output(item, response, ctx)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _request(self, client: httpx.AsyncClient, item: Item, ctx: Context) -> httpx.Request:
        import httpx

        config = self._config
        url = _filled(config.url, item)
        headers = httpx.Headers(config.headers)
        if config.body == "item":
            headers.setdefault("Content-Type", item.content_type)
        if config.method in _WITH_NEW_EFFECTS:
            # A service that supports it carries out a repeated attempt only once.
            headers.setdefault("Idempotency-Key", str(ctx.correlation_id))
        try:
            request = client.build_request(
                config.method, url, headers=headers, content=item.data if config.body == "item" else None
            )
            if request.url.scheme not in ("http", "https") or not request.url.host:
                raise ValueError
        except (httpx.InvalidURL, ValueError, TypeError):
            # Without the text of the error: it may quote a part of a password as the port.
            raise Reject(
                f"{ctx.mask(url)[:200]!r} is not a URL that begins with http:// or https:// and has a valid "
                "host and port. In a user name or a password, write / ? # and @ as %2F %3F %23 and %40"
            ) from None
        return request

    async def _response(self, client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
        from playhead.adapters import _http

        for left in range(self._config.max_redirects, -1, -1):
            response = await _http.fetch(client, request, self._config.max_bytes)
            following = response.next_request
            if following is None or self._config.max_redirects == 0:
                return response
            if left and _origin(following.url) != _origin(request.url):
                for name in self._config.headers:  # they may contain a secret for the first host
                    following.headers.pop(name, None)
            request = following
        raise Reject(f"{request.url}: more than {self._config.max_redirects} redirects")

    def _output(self, item: Item, response: httpx.Response, ctx: Context) -> Output:
        from playhead.adapters import _http

        status = response.status_code
        if _is_in(status, self._config.output_statuses):
            return item.derive(
                response.content,
                content_type=_content_type(response.headers.get_list("Content-Type")),
                url=ctx.mask(str(response.url)),
                status=status,
            )
        reason = _http.described(response, ctx.mask)
        if not _is_in(status, self._config.retry_statuses):
            raise Reject(reason)
        after = _http.retry_after(response)
        if status == 429 or (status in _OVERLOADED and after is not None):
            raise RateLimited(reason, after=after)
        raise Retry(reason, after=after)


def _content_type(headers: Sequence[str]) -> str:
    """Return the content type of a response, without parameters that are not valid."""
    kind = headers[0].strip() if headers else ""
    valid = (one for one in (kind, kind.partition(";")[0].rstrip()) if CONTENT_TYPE.fullmatch(one))
    return next(valid, OCTET_STREAM)


def _is_in(status: int, statuses: Sequence[Status]) -> bool:
    return any(str(one) in (str(status), f"{status // 100}xx") for one in statuses)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _filled(template: str, item: Item) -> str:
    """Replace the placeholders of a URL. Values are encoded, unless the URL consists of one placeholder."""
    alone = _PLACEHOLDER.fullmatch(template)
    if alone:
        return _value(alone[1], item).strip()
    return _PLACEHOLDER.sub(lambda found: quote(_value(found[1], item), safe=""), template)


def _value(source: str, item: Item) -> str:
    kind, _, name = source.partition(".")
    if kind == "text":
        return item.text.strip()
    if kind == "path":
        return item.path
    value: Any = item.json() if kind == "json" else item.attributes
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Reject(f"the URL needs {{{source}}}, but the item has no such text or whole number")
    return str(value)
