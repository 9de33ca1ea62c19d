"""Playhead with its pages, for tests without a browser."""

from __future__ import annotations

import asyncio
import html
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import httpx
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from playhead.api.errors import STATUS
from playhead.errors import PlayheadError
from playhead.model import LoadedAdapter, LoadedCode
from playhead.ports.catalog.upkeep import Process
from playhead.web.app import create_pages
from tests.api.server import Playhead, new_app


@cache
def _app() -> FastAPI:
    """One app for all tests, because it takes long to build. Its state has the services and the pages."""

    async def pages(scope: Scope, receive: Receive, send: Send) -> None:
        await app.state.pages.app(scope, receive, send)

    def signed_out(scope: Scope, error: PlayheadError) -> ASGIApp | None:
        found: ASGIApp | None = app.state.pages.signed_out(scope, error)
        return found

    app = new_app(pages=pages, signed_out=signed_out)
    return app


HOST = socket.gethostname()


def joined(page: str) -> str:
    """Return HTML without the line breaks of its templates. They have a meaning in preformatted text only."""
    parts = re.split(r"(<(pre|textarea)\b.*?</\2>)", page, flags=re.DOTALL)
    # Two of three parts are the preformatted text and its tag.
    for at in range(0, len(parts), 3):
        parts[at] = re.sub(r"\s+", " ", re.sub(r">\s*\n\s*<", "><", parts[at]))
        parts[at + 2 : at + 3] = [""]
    return "".join(parts)


def text_of(page: str) -> str:
    """Return the text of a page, with single blanks."""
    return " ".join(html.unescape(re.sub(r"<svg.*?</svg>|<[^>]+>", "", page, flags=re.S)).split())


class SlowCatalog:
    """A catalog of which one method waits until its gate is open."""

    def __init__(self, catalog: object, method: str) -> None:
        self._catalog = catalog
        self._method = method
        self.gate = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._catalog, name)
        if name != self._method:
            return found

        async def wait(*given: Any, **named: Any) -> Any:
            await self.gate.wait()
            return await found(*given, **named)

        return wait


class Site(Playhead):
    """Playhead with its pages, on stores and brokers in memory.

    Attributes:
        patience: how many seconds pages wait for counts. The default is until they are complete.
    """

    patience: float | None = None

    def make_app(self) -> FastAPI:
        app = _app()
        app.state.services = self.services
        app.state.pages = create_pages(self.services, version="1.2.3", status=STATUS, patience=self.patience)
        return app

    def slow(self, method: str, make: Callable[[Any], Mapping[str, Any]]) -> asyncio.Event:
        """Let a method of the catalog wait for a gate, and pages hardly. Returns the gate.

        Args:
            make: returns the services that use the slow catalog, by name.
        """
        catalog = SlowCatalog(self.catalog, method)
        self.rt.services = replace(self.services, **make(catalog))
        self.patience = 0.01
        self.make_app()
        return catalog.gate

    def changed_file(self) -> str:
        """Return a file of this machine from which no adapter of the tests was loaded."""
        file = self.rt.settings.home / "steps.py"
        file.touch()
        return str(file)

    async def consume(self, *queues: str, worker: str = "worker-1", source: str = "") -> None:
        """Send the heartbeat of a worker that consumes queues, with the adapters of the tests.

        Args:
            source: where the worker has found the adapters. The default is no file of this machine.
        """
        loaded = [
            LoadedAdapter(one.name, one.version, one.code, source or one.source)
            for one in self.adapters.values()
        ]
        host = HOST if source else "here"
        process = Process(worker, "worker", host, int(worker.rpartition("-")[2]))
        await self.catalog.heartbeat(process, queues, None, LoadedCode("1.2.3", tuple(loaded)))

    async def page(self, path: str, status: int = 200) -> str:
        """Return the HTML of a page."""
        answer = await self.http.get(path)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"].startswith("text/html"), answer.headers
        return joined(answer.text)

    async def twin(self, path: str, status: int = 200) -> Any:
        """Return the JSON twin of a page."""
        before, mark, query = path.partition("?")
        answer = await self.http.get(f"{before if before != '/' else '/index'}.json{mark}{query}")
        assert answer.status_code == status, answer.text
        return answer.json()

    async def cells(self, path: str) -> Any:
        """Return the live numbers of a page."""
        before, mark, query = path.partition("?")
        answer = await self.http.get(f"{before if before != '/' else '/index'}.live{mark}{query}")
        assert answer.status_code == 200, answer.text
        return answer.json()["cells"]

    async def send(self, path: str, **fields: str) -> httpx.Response:
        """Send a form of one of the server's own pages."""
        return await self.http.post(path, data=fields, headers={"Origin": "http://playhead"})
