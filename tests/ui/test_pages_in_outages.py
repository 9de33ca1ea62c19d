"""Pages while a backend is unavailable."""

from __future__ import annotations

import pytest

from playhead.errors import broker_unavailable, catalog_unavailable, store_unavailable
from tests.ui.site import Site

PARTS = {
    "catalog": catalog_unavailable("the catalog does not answer"),
    "broker": broker_unavailable("the broker does not answer"),
    "store": store_unavailable("the store does not answer"),
}


@pytest.mark.parametrize("part", PARTS)
async def test_10_without_a_backend_pages_name_it_and_the_others_work(site: Site, part: str):
    execution = await site.run({"a.txt": b"one two"})
    getattr(site, f"{part}_outage").error = PARTS[part]

    status = {}
    for path in (
        "/",
        "/help",
        "/system",
        "/find",
        "/datasets",
        "/queues",
        "/configs",
        "/executions",
        f"/executions/{execution}",
        "/dead-letters",
        "/replays",
        "/replay",
    ):
        answer = await site.http.get(path)
        status[path] = answer.status_code
        assert "Traceback" not in answer.text
        if answer.status_code == 503 or path == "/":
            assert f"the {part} does not answer" in answer.text, path
    assert status["/"] == status["/help"] == status["/system"] == status["/find"] == 200
    # Without the catalog, only pages that show nothing of it are left.
    assert set(status.values()) == ({200, 503} if part == "catalog" else {200}), status
