"""The page of the audit."""

from __future__ import annotations

from playhead.model.access import ROLES, KeyRequest
from tests.ui.site import Site, text_of


async def admin(site: Site) -> dict[str, str]:
    created = await site.services.access.create(KeyRequest("root", sorted(ROLES["admin"])))
    await site.services.identity.beat()
    return {"Authorization": f"Bearer {created.key}"}


async def test_it_lists_changes_with_who_and_why_and_filters_them(site: Site):
    key = await admin(site)
    why = {"X-Playhead-Reason": "too%20slow"}
    await site.http.post("/api/v1/configs/words/deactivate", headers=key | why)

    text = text_of((await site.http.get("/audit", headers=key)).text)

    assert "config.deactivate" in text
    assert "too slow" in text
    assert "root" in text
    filtered = await site.http.get("/audit.json?action=key&since=-1h&actor=playhead", headers=key)
    view = filtered.json()["view"]
    assert [one["action"] for one in view["entries"]] == ["key.create"]
    assert view["command"] == "playhead audit --actor=playhead --action=key --since=-1h"
    assert "/api/v1/audit?" in filtered.text
    empty = text_of((await site.http.get("/audit?config=nowhere", headers=key)).text)
    assert "No entry meets these conditions." in empty


async def test_a_wrong_time_is_said_on_the_page(site: Site):
    key = await admin(site)
    page = await site.http.get("/audit?since=soon", headers=key)
    assert page.status_code == 200
    assert "is not a time" in text_of(page.text)


async def test_only_an_admin_sees_it(site: Site):
    await admin(site)
    created = await site.services.access.create(KeyRequest("ada", ["read"]))
    refused = await site.http.get("/audit", headers={"Authorization": f"Bearer {created.key}"})
    assert refused.status_code == 403
    assert "admin" in text_of(refused.text)
