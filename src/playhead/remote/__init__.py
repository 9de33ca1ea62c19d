"""A server of Playhead, used over HTTP as its services are used in process.

form       JSON to the frozen data of `playhead.model`, by their type hints
client     one request to one answer or one error of the tree, whatever the network does
uploads    inputs of a run as a multipart body, written while it is sent
services   the methods of `playhead.services`, each a request

Whoever calls cannot tell the difference: same methods, same values, same errors.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playhead.ports.tracer import OFF, Tracer
from playhead.remote.client import Client
from playhead.remote.services import RemoteServices

__all__ = ["RemoteServices", "open_server"]


@asynccontextmanager
async def open_server(url: str, tracer: Tracer = OFF) -> AsyncIterator[RemoteServices]:
    """Give the services of the server at `url` (`http://host:port`). Nothing is sent before one is asked;
    the server is told the current span of `tracer`."""
    client = Client(url, tracer)
    try:
        yield RemoteServices.of(client)
    finally:
        await client.close()
