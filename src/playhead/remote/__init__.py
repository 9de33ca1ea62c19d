"""Client for a Playhead server, with the same interface as the services in this process.

form       reads JSON into the frozen dataclasses of `playhead.model`, by their type hints
client     sends one request, and returns one answer or raises one `PlayheadError`
uploads    streams the inputs of a run as a multipart body
services   the methods of `playhead.services`, one request each

The methods have the same arguments, return values and errors as those of `playhead.services`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from playhead.ports.tracer import OFF, Tracer
from playhead.remote.client import Client
from playhead.remote.services import RemoteServices

__all__ = ["RemoteServices", "open_server"]


def _silent(_: str) -> None:
    """Drop a warning."""


@asynccontextmanager
async def open_server(
    url: str, tracer: Tracer = OFF, *, key: str | None = None, warn: Callable[[str], None] = _silent
) -> AsyncIterator[RemoteServices]:
    """Yield the services of the server at `url` (`http://host:port`).

    The first method call opens the connection. Each request carries the current span of `tracer`.

    Args:
        key: sent with each request.
        warn: called once if the key ends soon.
    """
    client = Client(url, tracer, key=key, warn=warn)
    try:
        yield RemoteServices(client)
    finally:
        await client.close()
