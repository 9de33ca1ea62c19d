"""Sinks in a run with `changed_since`: what they store is as complete as after any other run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pyarrow.parquet
import pytest

from playhead import Context, Item
from tests.inprocess import Playhead, opened

SEARCH = """
entry: convert
routes:
  convert:
    adapters: [{type: html_to_markdown}]
    outbound: {stage: pages, to: [index]}
  index:
    adapters: [{type: sqlite_search, config: {path: search.db}}]
"""
PARTS = """
entry: split
error_handling: {max_attempts: 1}
routes:
  split:
    adapters: [{type: split_markdown, config: {max_characters: 10}}]
    outbound: {stage: parts, to: [embed]}
  embed:
    adapters: [{type: do}]
    outbound: {stage: vectors, to: [index]}
  index:
    adapters: [{type: parquet_sink, config: {path: rows, replace: folder}}]
"""
MAIL = """
entry: keep
routes:
  keep:
    adapters: [{type: passthrough}]
    outbound: {stage: kept, to: [mail]}
  mail:
    adapters: [{type: mail}]
"""
_MAIL_STEP = """
from playhead import Item, adapter


@adapter("mail", effects="external")
def mail(item: Item) -> None:
    return None
"""


@pytest.fixture
async def ph(tmp_path: Path) -> AsyncIterator[Playhead]:
    mail = tmp_path / "mail.py"
    mail.write_text(_MAIL_STEP)
    async with opened(tmp_path / "home", more=[mail]) as playhead:
        yield playhead


async def since(ph: Playhead, files: Mapping[str, str], earlier: str = "latest") -> str:
    sent = [("files", (name, text.encode())) for name, text in files.items()]
    answer = await ph.http.post("/api/v1/configs/docs/run", files=sent, data={"changed_since": earlier})
    assert answer.status_code == 202, answer.text
    execution = str(answer.json()["execution_id"])
    await ph.work(execution)
    return execution


async def test_a_search_finds_unchanged_items_too(ph: Playhead):
    await ph.apply(SEARCH)
    pages = {f"{n}.html": f"<p>horse number {n}</p>" for n in range(4)}
    await ph.run(pages)

    run = await since(ph, {**pages, "1.html": "<p>horse that is new</p>"})

    hits = await ph.get("search", index="search.db", words="horse")
    assert sorted(hit["key"] for hit in hits["items"]) == [f"{run}/pages/{n}.md" for n in range(4)]
    routes = (await ph.get(f"executions/{run}/routes"))["items"]
    assert {one["route"]: one["counts"]["taken_over"] for one in routes} == {"convert": 3, "index": 0}


async def test_parts_of_a_document_are_not_lost_when_a_failed_one_succeeds(ph: Playhead):
    def fail(item: Item, ctx: Context) -> bytes:
        if "bear" in item.text:
            raise ValueError("the service is down")
        return item.data

    await ph.apply(PARTS)
    ph.steps.doing = fail
    document = {"doc.md": "# A\napple\n# B\nbear\n# C\ncow\n"}
    earlier = await ph.run(document)
    assert len(await ph.dead(earlier)) == 1

    ph.steps.doing = lambda item, ctx: item.data
    await since(ph, document)

    rows = pyarrow.parquet.read_table(ph.rt.settings.home / "data" / "rows").to_pylist()
    assert sorted(row["text"].split()[-1] for row in rows) == ["apple", "bear", "cow"]


async def test_what_must_not_be_repeated_is_taken_over(ph: Playhead):
    await ph.apply(MAIL)
    await ph.run({"a.txt": "a", "b.txt": "b"})

    run = await since(ph, {"a.txt": "a", "b.txt": "changed"})

    routes = (await ph.get(f"executions/{run}/routes"))["items"]
    assert {one["route"]: one["counts"]["taken_over"] for one in routes} == {"keep": 1, "mail": 1}
