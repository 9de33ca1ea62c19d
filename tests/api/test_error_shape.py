"""Every error of every operation has one shape."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from playhead.api.errors import ERRORS
from playhead.errors import (
    PlayheadError,
    StoreFull,
    broker_unavailable,
    catalog_unavailable,
    store_unavailable,
)

if TYPE_CHECKING:
    from tests.api.server import Playhead

X = "01890000-0000-7000-8000-000000000000"
YAML = {"Content-Type": "application/yaml"}
TEXT = {"Content-Type": "text/plain"}
NEEDS_NO_CATALOG = (
    "/health",
    "/doctor",
    "/content",
    "/errors",
    "/adapters",
    "/me",
    "/search",
    "/messages",
    "/take",
    "/remove",
)
REPLAY = {"from_execution_id": X, "from_stage": "s", "to_route": "r"}


def _valid_body(path: str) -> Any:
    """Return a body that the operation accepts."""
    if path.endswith(("/replay", "/replay/plan")):
        return REPLAY
    if path.endswith("/run"):
        return {"payload": 1}
    if "dead-letters/resend" in path:
        return {"execution_id": X}
    if path.endswith("/prune"):
        return {"execution_ids": [X]}
    if path.endswith("/pace"):
        return {"rate": 1}
    if path.endswith("/publications"):
        return {"executions": [X]}
    if path.endswith(("/acknowledge", "/routes/{config}/{route}/pause")):
        return {"reason": "known"}
    if path.endswith("/forget"):
        return {"route": "keep"}
    if "/replays/" in path or "/datasets/" in path:
        return {}
    return {"source": "a: ["}


async def test_every_operation_reports_an_unavailable_catalog(playhead: Playhead):
    playhead.catalog_outage.error = catalog_unavailable("the catalog is unavailable")
    query = {
        "object_key": f"{X}/s/p",
        "key": f"{X}/s/p",
        "execution_id": X,
        "stage": "s",
        "path": "p",
        "text": X,
    }
    seen = {}
    for path, operations in playhead.app.openapi()["paths"].items():
        # Content is looked up in the store first: a missing object needs no catalog. Nor do the others.
        if not path.startswith("/api/v1/") or path.endswith(NEEDS_NO_CATALOG):
            continue
        url = re.sub(r"\{\w+_id\}", X, path).format(
            name="words",
            config="words",
            route="split",
            cause="0" * 12,
            version=1,
            n=1,
            stage="s",
            path="p",
            session="s",
        )
        for method, operation in operations.items():
            if operation["x-scope"] == "admin":  # an open server allows it to nobody
                continue
            known = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"}
            params = {name: value for name, value in query.items() if name in known}
            if path.endswith("/affected"):
                params = {"adapter": "upper@1"}
            if "/changes" in path:
                params["since"] = "1"
            sent: dict[str, Any] = {"params": params} if method == "get" else {"json": _valid_body(path)}
            answer = await playhead.http.request(method, url, **sent)
            seen[method, path] = (answer.status_code, answer.json().get("error_code"))
    assert seen == dict.fromkeys(seen, (503, "catalog_unavailable"))
    assert len(seen) > 25


@pytest.mark.parametrize(
    "error",
    [store_unavailable("x"), StoreFull("x"), broker_unavailable("x")],
    ids=lambda error: error.code,
)
async def test_an_unavailable_backend_is_503(playhead: Playhead, error: PlayheadError):
    playhead.store_outage.error = playhead.broker_outage.error = error
    path = "routes" if error.code.startswith("broker") else f"executions/{X}"
    assert (await playhead.get(path, 503))["error_code"] == error.code


async def test_an_unexpected_error_is_500_without_its_text(
    playhead: Playhead, caplog: pytest.LogCaptureFixture
):
    class Broken(Exception): ...

    async def break_down() -> None:
        raise Broken("secret")

    app = playhead.own_app()
    app.add_api_route("/broken", break_down)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://playhead") as http:
        answer = await http.get("/broken", headers={"X-Correlation-ID": "abc"})
    assert (answer.status_code, answer.json()["error_code"]) == (500, "internal")
    assert answer.json()["correlation_id"] == answer.headers["X-Correlation-ID"] == "abc"
    assert "secret" not in answer.text
    [record] = [r for r in caplog.records if r.message == "request_failed"]
    assert record.exc_info
    assert record.fields["correlation_id"] == "abc"  # type: ignore[attr-defined]


async def test_a_code_that_is_missing_in_the_table_is_500(playhead: Playhead):
    playhead.catalog_outage.error = PlayheadError("something_new", "secret")
    answer = await playhead.http.get("/api/v1/executions")
    assert (answer.status_code, answer.json()["error_code"]) == (500, "internal")
    assert "secret" not in answer.text


@pytest.mark.parametrize("given", [None, "", "a b", "é", "x" * 129, "a\tb", "<script>"])
async def test_an_invalid_correlation_id_is_replaced(playhead: Playhead, given: str | None):
    headers = [] if given is None else [(b"X-Correlation-ID", given.encode())]
    answer = await playhead.http.get("/api/v1/executions", headers=headers)
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["X-Correlation-ID"])


async def test_successful_answers_have_the_id_too(playhead: Playhead):
    answer = await playhead.http.get("/healthz", headers={"X-Correlation-ID": "x" * 128})
    assert answer.headers["X-Correlation-ID"] == "x" * 128


def test_each_code_is_in_the_table_once():
    assert len({error.code for error in ERRORS}) == len(ERRORS)
