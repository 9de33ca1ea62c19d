"""HTTP to hosts that a user names: each connection goes to an address that was checked.

A name is resolved once for each connection, and the connection uses an address that `resolve` returned. So
the name cannot lead to another address after the check. The name in TLS and in the header `Host` stays that
of the URL. No cookies are kept, and no proxies are used. Of the environment, only `SSL_CERT_FILE` and
`SSL_CERT_DIR` have an effect.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final

import httpcore
import httpx

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Returns the addresses of a host and port that a connection may use, at least one; else it raises."""

_CONNECT_SECONDS: Final = 10.0
"""For each address of a host. So a host can be reached although one of its addresses does not answer."""
_KEPT_SECONDS: Final = 30.0


def open_client(resolve: Resolve, *, kept_connections: int) -> httpx.AsyncClient:
    """Return a client that connects only to addresses that `resolve` returns.

    Args:
        kept_connections: how many idle connections are kept for the next request to the same host.
    """
    timeout = httpx.Timeout(None, connect=_CONNECT_SECONDS)
    client = httpx.AsyncClient(
        transport=_Transport(resolve, kept_connections), timeout=timeout, trust_env=False
    )
    client.headers["User-Agent"] = "playhead"
    # One response must not change the next request.
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return client


class _Transport(httpx.AsyncBaseTransport):
    """Connections of httpcore through a checked address. httpx offers no way to replace how it connects."""

    def __init__(self, resolve: Resolve, kept_connections: int) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=None,
            max_keepalive_connections=kept_connections,
            keepalive_expiry=_KEPT_SECONDS,
            network_backend=_CheckedNetwork(resolve),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        answer = await self._pool.handle_async_request(
            httpcore.Request(
                request.method,
                url,
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer), extensions=answer.extensions
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._answer.aiter_stream():
            yield part

    async def aclose(self) -> None:
        await self._answer.aclose()


class _CheckedNetwork(httpcore.AsyncNetworkBackend):
    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._resolve(host, port)
        for address in addresses[:-1]:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                pass  # the next address may work
        return await self._inner.connect_tcp(addresses[-1], port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)
