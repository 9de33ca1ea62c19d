"""Keys that end soon, or never: in the metrics, and in the examination of a deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from playhead.model.access import DAY_SECONDS, KeyRequest
from tests.api.test_access_keys import first, sent
from tests.api.test_metrics import Scrape

if TYPE_CHECKING:
    from tests.api.server import Playhead


async def create(playhead: Playhead, name: str, days: float | None) -> None:
    seconds = None if days is None else days * DAY_SECONDS
    await playhead.services.access.create(KeyRequest(name, ["metrics"], seconds=seconds))


async def findings(playhead: Playhead, key: dict[str, str]) -> list[Any]:
    examined = (await sent(playhead, key, "POST", "system/doctor")).json()
    return [one for part in examined["parts"] for one in part["findings"] if one["what"] == "keys"]


async def test_a_key_that_ends_soon_is_measured_until_another_one_replaces_it(playhead: Playhead):
    root = await first(playhead)
    await create(playhead, "prometheus", 10)
    await create(playhead, "ci", 20)

    async def measured() -> Scrape:
        return Scrape((await playhead.http.get("/metrics", headers=root)).text)

    found = await measured()
    assert found.value("key_seconds", key="prometheus") == pytest.approx(10 * DAY_SECONDS, abs=60)
    assert found.value("key_seconds", key="ci") is None

    await playhead.services.access.rotate("prometheus", overlap=3600, seconds=90 * DAY_SECONDS)
    playhead.services.metrics._rows._answer = None  # a slow answer would be reused
    assert (await measured()).value("key_seconds") is None


async def test_the_examination_lists_keys_that_end_soon_and_keys_that_never_end(playhead: Playhead):
    root = await first(playhead)
    assert [one["status"] for one in await findings(playhead, root)] == ["ok"]
    await create(playhead, "ci", 2.1)
    await create(playhead, "grafana", None)

    soon, endless = await findings(playhead, root)

    assert (soon["status"], endless["status"]) == ("warning", "warning")
    assert "ci (in 2 days)" in soon["detail"]
    assert "playhead keys rotate" in soon["fix"]
    assert endless["detail"].endswith(": grafana")
    assert "--expires 90d" in endless["fix"]
    await playhead.services.access.revoke("grafana")
    await playhead.services.access.rotate("ci", overlap=3600, seconds=90 * DAY_SECONDS)
    assert [one["status"] for one in await findings(playhead, root)] == ["ok"]


async def test_an_open_deployment_without_keys_has_no_finding_about_keys(playhead: Playhead):
    assert await findings(playhead, {}) == []
