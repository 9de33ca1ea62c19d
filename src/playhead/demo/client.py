"""A small client of the HTTP API: JSON in and out, lists read to their end, errors as sentences."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx

from playhead.demo.processes import DemoFailed


class Client:
    """Calls a server at `url`, under `/api/v1`."""

    def __init__(self, url: str) -> None:
        # A replay waits up to 30 s for the broker before it returns.
        self._http = httpx.Client(base_url=f"{url}/api/v1", timeout=60, trust_env=False)

    def get(self, path: str, **query: str | int) -> Any:
        """Return the JSON at a path; raises `DemoFailed` with the error of the server."""
        return self._read("GET", path, params=query)

    def post(self, path: str, **body: Any) -> Any:
        """Send a body (`json`, `content` and `headers`, or `files`, as httpx names them)."""
        return self._read("POST", path, **body)

    def items(self, path: str, **query: str | int) -> Iterator[Any]:
        """Yield all items of a list, page by page."""
        cursor: dict[str, str] = {}
        while True:
            page = self.get(path, limit=1000, **query, **cursor)
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            cursor = {"cursor": page["next_cursor"]}

    def events(self, path: str) -> Iterator[Any]:
        """Yield the data of each event of a stream; None for a comment, which is sent between rare events.

        A lost connection ends the stream.
        """
        with suppress(httpx.HTTPError), self._http.stream("GET", path) as answer:
            for line in answer.iter_lines():
                if line.startswith(("data: ", ": ")):
                    yield json.loads(line[6:]) if line[0] == "d" else None

    def close(self) -> None:
        self._http.close()

    def _read(self, method: str, path: str, **request: Any) -> Any:
        try:
            answer = self._http.request(method, path, **request)
        except httpx.HTTPError as exc:
            raise DemoFailed(f"{method} {path} got no answer: {exc!r}") from exc
        if answer.is_error:
            raise DemoFailed(f"{method} {path} was answered with {answer.status_code}: {answer.text}")
        return answer.json()
