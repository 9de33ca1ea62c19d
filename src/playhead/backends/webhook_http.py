"""Webhooks over HTTP, signed as in Standard Webhooks (https://www.standardwebhooks.com).

Any client that can start a replay chooses the URL, so the URL must not lead to an internal service. The
operator lists the hosts. Every address of a host is checked at each attempt, because a name may resolve to
another address by then. Only the status of a response is kept, so no client can read a service through it.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import socket
from collections.abc import Collection, Sequence
from typing import Final
from uuid import UUID

import httpcore
import httpx

from playhead.addresses import address_of, is_internal
from playhead.errors import BadRequest
from playhead.ids import now
from playhead.outgoing import Resolve, open_client
from playhead.ports.webhook import NotDelivered

SECRET_PREFIX: Final = "whsec_"
_PORTS: Final = {"https": 443, "http": 80}
_FAILURES: Final = (
    *(httpx.HTTPError, httpx.StreamError, OSError, UnicodeError),
    *(httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException),
)
"""What a request raises if there is no usable response."""
_SECONDS: Final = 10.0
_MAX_RESPONSE_BYTES: Final = 65_536
_MAX_URL_CHARACTERS: Final = 2_000


class _NotAllowed(Exception):
    """The URL or an address of its host is not allowed. The message has the reason."""


async def _look_up(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


class HttpWebhooks:
    """Sends webhooks to the hosts that the operator lists.

    Args:
        hosts: `host` or `host:port`, in lower case; without a port, that of the scheme.
        private_hosts: those of them that may have internal addresses, or use `http:`.
        secrets: with the prefix `whsec_`. Each request is signed with all of them.
        look_up: resolves a host to its addresses.
        seconds: limit of a request.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        private_hosts: Sequence[str],
        secrets: Sequence[str],
        *,
        look_up: Resolve = _look_up,
        seconds: float = _SECONDS,
    ) -> None:
        self._hosts = frozenset(hosts)
        self._private = frozenset(private_hosts)
        self._keys = [base64.b64decode(secret.removeprefix(SECRET_PREFIX)) for secret in secrets]
        self._look_up = look_up
        self._seconds = seconds
        self._client: httpx.AsyncClient | None = None

    def check(self, url: str) -> None:
        try:
            self._checked(url)
        except _NotAllowed as exc:
            raise BadRequest("webhook_not_allowed", f"the webhook {exc}") from exc

    async def send(self, url: str, delivery: UUID, body: str) -> int:
        try:
            return await self._post(self._checked(url), delivery, body.encode())
        except _NotAllowed as exc:
            raise NotDelivered(f"the webhook {exc}") from exc
        except TimeoutError as exc:
            raise NotDelivered(f"no response within {self._seconds:g} s") from exc
        except _FAILURES as exc:
            raise NotDelivered(f"no response: {str(exc) or type(exc).__name__}") from exc

    async def _post(self, target: httpx.URL, delivery: UUID, body: bytes) -> int:
        moment = str(int(now()))
        headers = {
            "Content-Type": "application/json",
            "webhook-id": str(delivery),
            "webhook-timestamp": moment,
            "webhook-signature": sign(self._keys, str(delivery), moment, body),
        }
        if self._client is None:  # opened late: it loads the certificates of all authorities
            # No connection is kept: the addresses are checked for each request.
            self._client = open_client(self._resolve, kept_connections=0)
        request = self._client.build_request("POST", target, content=body, headers=headers)
        status: int | None = None
        try:
            async with asyncio.timeout(self._seconds):
                response = await self._client.send(request, stream=True, follow_redirects=False)
                status = response.status_code
                try:
                    await _discard(response)
                finally:
                    await response.aclose()
        except (*_FAILURES, TimeoutError):
            if status is None:
                raise
        return status

    def _checked(self, url: str) -> httpx.URL:
        """Return a URL that may be requested if the addresses of its host allow it."""
        if len(url) > _MAX_URL_CHARACTERS:
            raise _NotAllowed(f"has {len(url)} characters; at most {_MAX_URL_CHARACTERS} are allowed")
        try:
            parsed = httpx.URL(url)
            host = _bracketed(parsed.raw_host.decode("ascii"))
        except (httpx.InvalidURL, UnicodeError, ValueError) as exc:
            raise _NotAllowed(f"is not a valid URL: {exc}") from exc
        port = parsed.port or _PORTS.get(parsed.scheme, 0)
        if not (parsed.scheme in _PORTS and host and 0 < port < 65_536):
            raise _NotAllowed("is not a URL of the form https://HOST/PATH")
        if parsed.userinfo:
            raise _NotAllowed("has a user name or a password: remove it; requests are signed instead")
        names_port = f"{host}:{port}" in self._hosts
        if not names_port and not (host in self._hosts and port == _PORTS[parsed.scheme]):
            known = ", ".join(sorted(self._hosts)) or "none"
            raise _NotAllowed(
                f"host {host}:{port} is not allowed; allowed hosts: {known}. The operator sets them with "
                "PLAYHEAD_WEBHOOK_HOSTS"
            )
        if parsed.scheme == "http" and not _is_listed(self._private, host, port):
            raise _NotAllowed(
                f"host {host} may only be used with https:. The operator allows http: with "
                "PLAYHEAD_WEBHOOK_PRIVATE_HOSTS"
            )
        return parsed

    async def _resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host, at least one. Called for each connection."""
        addresses = await self._look_up(host, port)
        # All of them: a name with one internal address may be meant to reach it at the next attempt.
        internal = [one for one in addresses if is_internal(address_of(one))]
        if internal and not _is_listed(self._private, _bracketed(host), port):
            raise _NotAllowed(
                f"host {host} has the internal address {internal[0]}. The operator allows it with "
                "PLAYHEAD_WEBHOOK_PRIVATE_HOSTS"
            )
        return addresses

    async def close(self) -> None:
        if self._client:
            await self._client.aclose()


def sign(keys: Sequence[bytes], identity: str, moment: str, body: bytes) -> str:
    """Return the header `webhook-signature`: one signature for each key, separated by spaces."""
    content = b".".join((identity.encode(), moment.encode(), body))
    return " ".join("v1," + base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys)


async def _discard(response: httpx.Response) -> None:
    """Read the body up to a limit, so that the receiver can send it."""
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > _MAX_RESPONSE_BYTES:
            return


def _is_listed(hosts: Collection[str], host: str, port: int) -> bool:
    return host in hosts or f"{host}:{port}" in hosts


def _bracketed(host: str) -> str:
    """Return a host as in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host
