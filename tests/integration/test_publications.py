"""What readers see: publications of runs and replays, on a whole Playhead."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from playhead import Context, Item, Output
from playhead.errors import Conflict
from playhead.model import PublishRequest
from tests.inprocess import Playhead, opened

DOCS = """
entry: convert
error_handling: {max_attempts: 1}
datasets: {docs: {}}
routes:
  convert:
    adapters: [{type: passthrough}]
    outbound: {stage: md, to: [segment]}
  segment:
    adapters: [{type: do}]
    outbound: {stage: seg}
"""


@pytest.fixture
async def ph(tmp_path: Path) -> AsyncIterator[Playhead]:
    async with opened(tmp_path / "home") as playhead:
        yield playhead


class Splitter:
    """The step `segment`: one part for each word. `extra` and `fails` change what it does."""

    def __init__(self, ph: Playhead) -> None:
        self.extra: dict[str, int] = {}
        self.fails: set[str] = set()
        self.mark = ""
        ph.steps.doing = self

    def __call__(self, item: Item, ctx: Context) -> list[Output]:
        if item.path in self.fails:
            raise ValueError("no heading")
        words = item.data.decode().split() + ["more"] * self.extra.get(item.path, 0)
        return [Output(f"{w}{self.mark}".encode(), path=f"{item.path}/{n}") for n, w in enumerate(words, 1)]


async def published(ph: Playhead, *executions: str, **given: object) -> int:
    request = PublishRequest([UUID(one) for one in executions], **given)  # type: ignore[arg-type]
    return (await ph.rt.services.publish.publish("docs", request)).n


async def content(ph: Playhead, stage: str = "seg", n: int | None = None) -> dict[str, str]:
    """Return the objects of a publication by path: their execution."""
    found = await ph.rt.services.publish.publication("docs", n)
    catalog = ph.rt.catalog
    number = await catalog.dataset_number("docs", "docs")
    rows = await catalog.published(number, found.n, stage=stage, limit=1000)
    return {row.path: row.key.partition("/")[0] for row in rows}


async def test_the_worked_example(ph: Playhead):
    await ph.apply(DOCS)
    splitter = Splitter(ph)
    one = await ph.run({"a": "x y", "b": "x", "c": "x"})
    assert await published(ph, one) == 1
    assert await content(ph) == {"a/1": one, "a/2": one, "b/1": one, "c/1": one}

    splitter.extra, splitter.fails, splitter.mark = {"a": 1}, {"b"}, "!"
    two = (await ph.replay(one, "md", "segment"))["execution_id"]
    await ph.work(two)
    assert await published(ph, two) == 2
    assert await content(ph) == {"a/1": two, "a/2": two, "a/3": two, "b/1": one, "c/1": two}
    assert await content(ph, n=1) == {"a/1": one, "a/2": one, "b/1": one, "c/1": one}
    found = await ph.rt.services.publish.publication("docs")
    assert found.units.good == 2
    assert found.units.kept == 1
    notes = await ph.rt.services.publish.notes("docs")
    assert [(note.kind, note.path) for note in notes.items] == [("kept", "b")]

    dataset = await ph.rt.services.publish.roll_back("docs")
    assert (dataset.current, dataset.seq, dataset.held) == (1, 3, True)
    assert await content(ph) == {"a/1": one, "a/2": one, "b/1": one, "c/1": one}

    splitter.fails = set()
    three = await ph.run({"a": "x y", "b": "x z"})
    with pytest.raises(Conflict, match="1 of 3 inputs would be removed"):
        await published(ph, three)
    assert await published(ph, three, allow=["removed"]) == 4
    assert await content(ph) == {"a/1": three, "a/2": three, "a/3": three, "b/1": three, "b/2": three}
    assert await content(ph, n=1) == {"a/1": one, "a/2": one, "b/1": one, "c/1": one}
    changes = await ph.rt.services.publish.changes("docs", 1)
    assert [(c.stage, c.path, c.change) for c in changes.items] == [
        ("input", "b", "changed"),
        ("input", "c", "removed"),
        ("md", "b", "changed"),
        ("md", "c", "removed"),
        ("seg", "a/1", "changed"),
        ("seg", "a/2", "changed"),
        ("seg", "a/3", "added"),
        ("seg", "b/1", "changed"),
        ("seg", "b/2", "added"),
        ("seg", "c/1", "removed"),
    ]
    four = (await ph.replay(one, "md", "segment"))["execution_id"]
    await ph.work(four)
    with pytest.raises(Conflict, match=r"1 of 3 objects of replay \S+ are not published") as refused:
        await published(ph, four)
    assert refused.value.code == "source_superseded"
