"""The webhook of a dataset: one event for each change of it, with the dataset as it was then."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from playhead import Context, Item, Output
from playhead.errors import Conflict
from playhead.model import PruneFilter, PublishRequest
from tests.inprocess import Playhead, opened
from tests.waiting import until
from tests.web import Answer, Web

CONFIG = """
entry: keep
error_handling: {max_attempts: 1}
datasets:
  docs: {webhook: "URL", publish: automatic}
routes:
  keep:
    adapters: [{type: do}]
    outbound: {stage: kept, to: [index]}
  index:
    adapters: [{type: sqlite_search, config: {path: search.db}}]
"""
SECRET = "whsec_" + "A" * 32


@pytest.fixture
def web() -> Iterator[Web]:
    with Web(lambda asked: Answer(204)) as receiver:
        yield receiver


@pytest.fixture
async def ph(catalog_setting: dict[str, Any], tmp_path: Path, web: Web) -> AsyncIterator[Playhead]:
    hosts: dict[str, Any] = {"webhook_hosts": f"localhost:{web.port}", "webhook_private_hosts": "localhost"}
    async with opened(tmp_path / "home", **hosts, webhook_secret=SECRET, **catalog_setting) as playhead:
        await playhead.apply(CONFIG.replace("URL", f"http://localhost:{web.port}/hook"))
        yield playhead


async def events(web: Web, *wanted: str) -> list[Any]:
    """Return the data of the events when these have arrived, in the order in which they happened."""
    await until(lambda: len(web.asked) >= len(wanted))
    bodies = [json.loads(asked.body) for asked in web.asked]
    bodies.sort(key=lambda body: (body["timestamp"], body["type"] != wanted[0]))
    assert sorted(body["type"] for body in bodies) == sorted(wanted)
    web.asked.clear()
    return [next(body["data"] for body in bodies if body["type"] == name) for name in wanted]


def fails(ph: Playhead, *paths: str) -> None:
    def step(item: Item, ctx: Context) -> list[Output]:
        if item.path in paths:
            raise ValueError("no")
        return [Output(item.data, path=item.path)]

    ph.steps.doing = step


async def test_each_change_of_a_dataset_is_sent_with_the_dataset_as_it_was_then(ph: Playhead, web: Web):
    service = ph.rt.services.publish
    fails(ph)
    await ph.run({"a.md": "x", "b.md": "y"})
    [first] = await events(web, "dataset.published")
    assert (first["name"], first["current"], first["seq"], first["refused"]) == ("docs", 1, 1, None)
    await until_shown(ph, 1)

    fails(ph, "a.md")
    await ph.run({"a.md": "x2", "b.md": "y2"})
    [refused] = await events(web, "dataset.refused")
    assert (refused["current"], refused["draft"]) == (1, None)
    assert (refused["refused"]["n"], refused["refused"]["refusal"]["code"]) == (2, "units_failed")

    fails(ph)
    await ph.run({"a.md": "x3", "b.md": "y3"})
    [second] = await events(web, "dataset.published")
    assert (second["current"], second["refused"]) == (3, None)

    await service.roll_back("docs", 1)
    back, held = await events(web, "dataset.rolled_back", "dataset.held")
    assert [(one["current"], one["seq"], one["held"]) for one in (back, held)] == [(1, 3, True)] * 2
    await service.roll_back("docs", 3)
    [back] = await events(web, "dataset.rolled_back")
    assert (back["current"], back["held"]) == (3, True), "it was held before, so there is no second event"


async def until_shown(ph: Playhead, n: int) -> None:
    async def is_shown() -> bool:
        return [one.shown for one in (await ph.rt.services.publish.dataset("docs")).sinks] == [n]

    await until(is_shown)


async def two_publications(ph: Playhead) -> None:
    for n, text in enumerate("xy", 1):
        await ph.run({"a.md": text})
        await until_shown(ph, n)


async def test_a_run_that_cannot_be_published_at_all_is_refused_once(ph: Playhead, web: Web):
    fails(ph)
    await two_publications(ph)
    service = ph.rt.services.publish
    await service.roll_back("docs", 1)
    pruned = await ph.run({"a.md": "z"})
    await until(lambda: len(web.asked) == 4)
    web.asked.clear()
    await ph.rt.services.prune.prune(PruneFilter([UUID(pruned)]))

    await service.release("docs")
    with pytest.raises(Conflict):
        await service.publish("docs", PublishRequest([UUID(pruned)], automatic=True))
    [refused] = await events(web, "dataset.refused")
    assert refused["refused"]["refusal"]["code"] == "execution_pruned"
    [part] = refused["refused"]["parts"]
    assert part["execution_id"] == pruned
    assert await ph.rt.catalog.automatic_runs() == []
    [listed] = await service.refused()
    assert listed.n == refused["refused"]["n"] == 3
    # The next publication is not disturbed by the one that was refused.
    fails(ph)
    await ph.run({"a.md": "w"})
    [published] = await events(web, "dataset.published")
    assert (published["current"], published["refused"]) == (4, None)


async def test_a_lag_of_a_sink_is_sent_once(ph: Playhead, web: Web, tmp_path: Path):
    service = ph.rt.services.publish
    fails(ph)
    await two_publications(ph)
    await until(lambda: not service.drafts._driving)  # else the second publication goes on following
    service.drafts._follow = None  # as if no worker with the adapter ran
    await service.roll_back("docs", 1)
    await until(lambda: len(web.asked) == 4)
    web.asked.clear()
    assert await ph.rt.catalog.report_lags(60) == []

    await older_switches(ph, tmp_path)
    [lagging] = await events(web, "dataset.sink_lagging")
    assert (lagging["current"], lagging["sinks"][0]["shown"]) == (1, 2)
    assert lagging["sinks"][0]["lag_seconds"] > 60
    assert await ph.rt.catalog.report_lags(60) == []
    await service.roll_back("docs", 2)
    await events(web, "dataset.rolled_back")
    await older_switches(ph, tmp_path)
    assert await ph.rt.catalog.report_lags(60) == [], "it still lags"


async def older_switches(ph: Playhead, home: Path) -> None:
    """Move all switches two minutes into the past."""
    statement = "UPDATE switches SET at = at - 120"
    if ph.rt.settings.catalog is None:
        with closing(sqlite3.connect(home / "home" / "playhead.db")) as con, con:
            con.execute(statement)
    else:
        import asyncpg  # type: ignore[import-untyped]

        con = await asyncpg.connect(str(ph.rt.settings.catalog))
        await con.execute(statement)
        await con.close()


async def test_only_hosts_that_the_operator_allows_can_be_named(ph: Playhead):
    source = 'version: "1.0"\nname: other' + CONFIG.replace("URL", "https://evil.example/token-123")
    answer = await ph.http.post(
        "/api/v1/configs", content=source, headers={"Content-Type": "application/yaml"}
    )
    assert answer.status_code == 400, answer.text
    [fault] = [one for one in answer.json()["diagnostics"] if one["severity"] == "error"]
    assert (fault["code"], fault["path"]) == ("E316", "datasets.docs.webhook")
    assert "host evil.example:443 is not allowed" in fault["message"]
    assert "token-123" not in answer.text
