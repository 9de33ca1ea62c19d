"""A client of the HTTP API of an app in this process."""

from __future__ import annotations

from typing import Any

import httpx
from fastapi import FastAPI


def client(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://playhead")


class Api:
    """Requests whose answers have the wanted status."""

    http: httpx.AsyncClient

    async def get(self, path: str, wanted: int = 200, /, **query: Any) -> Any:
        answer = await self.http.get(
            f"/api/v1/{path}", params={k: v for k, v in query.items() if v is not None}
        )
        assert answer.status_code == wanted, answer.text
        return answer.json()

    async def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        answer = await self.http.post(f"/api/v1/{path}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def replay(
        self, source: str, stage: str, route: str, path: str | None = None, status: int = 200
    ) -> Any:
        body = {"from_execution_id": source, "from_stage": stage, "to_route": route, "from_path": path}
        return await self.post("replay", body, status)

    async def items(self, path: str, /, **query: Any) -> list[dict[str, Any]]:
        """Return all items of a list, page by page."""
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            page = await self.get(path, **query, cursor=cursor)
            assert set(page) == {"items", "next_cursor"}
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    async def content(self, path: str, /, **query: Any) -> bytes:
        """Return the bytes of an answer."""
        answer = await self.http.get(f"/api/v1/{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.content

    async def send_config(self, source: str) -> dict[str, Any]:
        """Apply a config, and return it."""
        answer = await self.http.post(
            "/api/v1/configs", content=source, headers={"Content-Type": "application/yaml"}
        )
        assert answer.status_code in (200, 201), answer.text
        found: dict[str, Any] = answer.json()
        return found
