"""The HTTP client of the built-in steps: checked addresses, limited sizes, no cookies, no proxies."""

from __future__ import annotations

import asyncio
import gzip
import io
import socket
import time
import zlib
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from typing import Final

import httpcore
import httpx

from playhead import Reject, Retry, outgoing
from playhead.adapters._network import Guard

NOT_CONNECTED: Final = (httpcore.ConnectError, httpcore.ConnectTimeout, socket.gaierror)
"""What a request raises if there is no connection to the server. So the request was not sent."""
FAILURES: Final = (
    *NOT_CONNECTED,
    *(httpx.RequestError, httpcore.NetworkError, httpcore.ProtocolError, OSError, TimeoutError),
)
"""What a request raises if there is no usable response."""
_LONGEST_SECONDS: Final = 3600.0
_KEPT_CONNECTIONS: Final = 100
_MASKED_CHARACTERS: Final = 200_000
"""Of an error response. More than the longest secret, so that no part of one is among the first 1,000."""


def open_client(allowed: Sequence[str]) -> httpx.AsyncClient:
    """Return a client that connects only to public addresses, and to those that the operator allows."""
    client = outgoing.open_client(Guard(allowed).resolve, kept_connections=_KEPT_CONNECTIONS)
    client.headers["Accept-Encoding"] = "gzip"
    return client


async def fetch(client: httpx.AsyncClient, request: httpx.Request, max_bytes: int) -> httpx.Response:
    """Send a request, and read the whole response. Follows no redirect.

    Raises:
        Reject: the response has more than `max_bytes` bytes or another encoding than gzip, or the address is
            not allowed or not valid.
        FAILURES: there is no usable response.
    """
    try:
        response = await client.send(request, stream=True, follow_redirects=False)
    except (httpx.InvalidURL, httpcore.UnsupportedProtocol, UnicodeError) as exc:
        # Of the request, or of a redirect: a host that cannot be a name, or another scheme than HTTP.
        raise Reject(f"{request.url} is not a URL that can be requested, or redirects to one: {exc}") from exc
    try:
        is_compressed = _is_compressed(response)
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > max_bytes:
                raise _too_large(request, max_bytes)
    finally:
        await response.aclose()
    # In a thread: the body may become a thousand times as long.
    content = await asyncio.to_thread(_unpacked, request, body, max_bytes) if is_compressed else bytes(body)
    headers = [(name, value) for name, value in response.headers.raw if name.lower() != b"content-encoding"]
    whole = httpx.Response(response.status_code, headers=headers, content=content, request=request)
    whole.next_request = response.next_request
    return whole


def _is_compressed(response: httpx.Response) -> bool:
    """Whether the body is compressed with gzip, once. Raises `Reject` for any other encoding."""
    codings = response.headers.get_list("Content-Encoding", split_commas=True)
    found = [coding for one in codings if (coding := one.strip().lower()) not in ("", "identity")]
    if found not in ([], ["gzip"]):
        named = ", ".join(found)
        raise Reject(f"{response.url} has the content encoding {named!r}; only 'gzip' is supported")
    return bool(found)


def _unpacked(request: httpx.Request, body: bytearray, max_bytes: int) -> bytes:
    try:
        content = gzip.GzipFile(fileobj=io.BytesIO(body)).read(max_bytes + 1)
    except (EOFError, OSError, zlib.error) as exc:
        raise httpx.DecodingError(f"the body is not valid gzip: {exc}", request=request) from exc
    if len(content) > max_bytes:
        raise _too_large(request, max_bytes)
    return content


def _too_large(request: httpx.Request, max_bytes: int) -> Reject:
    return Reject(f"{request.url} returned more than {max_bytes:,} bytes")


def retry_after(response: httpx.Response) -> float | None:
    """Return the seconds of the header `Retry-After`, at most an hour; None if it is missing or not valid.

    A server must not be able to delay a message for years.
    """
    value = response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdecimal():
        return min(float(value[:9]), _LONGEST_SECONDS)
    try:
        then = parsedate_to_datetime(value).timestamp()
        # The clock of the server wrote the date, so it also tells how far away the date is.
        sent = response.headers.get("Date")
        now = parsedate_to_datetime(sent).timestamp() if sent else time.time()
    except ValueError:
        return None
    return min(max(0.0, then - now), _LONGEST_SECONDS)


def unreachable(request: httpx.Request, exc: Exception) -> Retry:
    """Return the error for a request without a usable response."""
    reason = str(exc) or type(exc).__name__
    return Retry(f"{request.method} {request.url} failed: {reason}")


def described(response: httpx.Response, mask: Callable[[str], str]) -> str:
    """Describe a response that is an error: the request, the status and the start of the text.

    Args:
        mask: replaces secrets, which a service may repeat in its text.
    """
    try:
        text = response.text
    except (AssertionError, TypeError, UnicodeError):  # its charset is a codec that does not decode text
        text = response.content.decode(errors="replace")
    text = " ".join(mask(text[:_MASKED_CHARACTERS])[:1000].split())[:300]
    summary = (
        f"{response.request.method} {response.request.url}: {response.status_code} {response.reason_phrase}"
    )
    return f"{summary}: {text}" if text else summary
