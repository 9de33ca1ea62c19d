"""A fix for a part of the documents carries over to the runs of the following days (`others_valid`).

Documents are split into chunks, which are embedded. Each day, some documents change, and a run processes what
has changed. Twice, a fault of the step `chunk` is fixed: a replay makes the chunks of the affected documents
again, and a person declares that all others are valid. An oracle keeps for each document which code has cut
it, and computes what a full run would store. It knows nothing of messages and publications.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from playhead.model import Declaration, PublishRequest
from tests.inprocess import Playhead, opened
from tests.servers.schema import emptied_schema

DOCUMENTS = int(os.environ.get("PLAYHEAD_TEST_DOCUMENTS", "24"))
STEPS = """
from collections.abc import Iterator

from playhead import Item, Output, Reject, adapter

CODE = 1
FAILS: set[str] = set()
CALLS: list[tuple[str, str, int]] = []


@adapter("clean", produces="text/markdown")
def clean(item: Item) -> str:
    CALLS.append(("clean", item.path, CODE))
    return item.text.strip()


@adapter("chunk", produces="text/plain")
def chunk(item: Item) -> Iterator[Output]:
    CALLS.append(("chunk", item.path, CODE))
    if item.path in FAILS:
        raise Reject("cannot be cut")
    for part in item.text.split("|"):
        yield item.derive(f"{part.strip()} (cut {CODE})")


@adapter("embed", produces="application/json", batch=8)
def embed(items: list[Item]) -> list[Output]:
    CALLS.extend(("embed", item.path, CODE) for item in items)
    return [item.derive("[%d]" % len(item.data)) for item in items]


@adapter("send", effects="external")
def send(item: Item) -> str:
    return item.text


@adapter("ask", reuse=False)
def ask(item: Item) -> str:
    return item.text
"""
CONFIG = """
entry: clean
datasets: {docs: {routes: [chunk, embed]}}
routes:
  clean:
    adapters: [{type: clean}]
    outbound: {stage: docs, to: [chunk]}
  chunk:
    adapters: [{type: chunk}]
    outbound: {stage: chunks, to: [embed]}
  embed:
    adapters: [{type: embed}]
    outbound: {stage: vectors}
"""
REASON = "only tables were cut wrong"


@pytest.fixture(params=["sqlite", "postgres"])
async def ph(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Playhead]:
    steps = tmp_path / "cut_steps.py"
    steps.write_text(STEPS)
    async with AsyncExitStack() as stack:
        on: dict[str, Any] = {}
        if request.param == "postgres":
            on["catalog"] = await stack.enter_async_context(emptied_schema())
        playhead = await stack.enter_async_context(opened(tmp_path / "home", more=[steps], **on))
        await playhead.apply(CONFIG)
        yield playhead


def steps_of(ph: Playhead) -> dict[str, Any]:
    found: dict[str, Any] = ph.rt.adapters["chunk"].target.__globals__
    return found


def fix(ph: Playhead, code: int) -> None:
    """Let all processes load new code of the step `chunk`."""
    steps_of(ph)["CODE"] = code
    ph.rt.adapters["chunk"] = replace(ph.rt.adapters["chunk"], code=f"sha256:{code}")  # type: ignore[index]


@dataclass
class Oracle:
    """What a full run would store: the documents, and which code has cut each of them."""

    texts: dict[str, str]
    code: int = 1
    cut_by: dict[str, int] = field(default_factory=dict)

    def outputs(self) -> dict[str, str]:
        found = {}
        for name, text in self.texts.items():
            found[f"docs/{name}"] = text
            stem = name.removesuffix(".md")
            for n, part in enumerate(text.split("|"), 1):
                chunk = f"{part.strip()} (cut {self.cut_by[name]})"
                found[f"chunks/{stem}/{n:04}.txt"] = chunk
                found[f"vectors/{stem}/{n:04}.json"] = f"[{len(chunk)}]"
        return found


class Days:
    """The days of a pipeline."""

    def __init__(self, ph: Playhead, rng: random.Random, oracle: Oracle) -> None:
        self.ph = ph
        self.rng = rng
        self.oracle = oracle
        self.calls: list[tuple[str, str, int]] = steps_of(ph)["CALLS"]

    def edit(self, keep: Collection[str] = ()) -> set[str]:
        """Change, add and remove documents, except some; return those that must be processed."""
        texts, rng = self.oracle.texts, self.rng
        changed = set(rng.sample(sorted(texts.keys() - set(keep)), 4))
        gone = changed.pop()
        del texts[gone]
        self.oracle.cut_by.pop(gone, None)
        for name in changed:
            texts[name] = f"{texts[name]} | edited {rng.random()}"
        name = f"{rng.choice(['tables', 'letters', 'notes'])}/new-{rng.randrange(10**9)}.md"
        texts[name] = f"new {rng.random()} | document"
        return changed | {name}

    async def run(self, changed: set[str], *, older: Collection[str] = ()) -> str:
        """Run all documents; `changed` are processed, and `older` are cut again by the newest code."""
        self.calls.clear()
        texts = self.oracle.texts
        sent = [("files", (name, text.encode())) for name, text in texts.items()]
        since = {} if changed == set(texts) else {"changed_since": "previous"}
        answer = await self.ph.http.post("/api/v1/configs/docs/run", files=sent, data=since)
        assert answer.status_code == 202, answer.text
        run = str(answer.json()["execution_id"])
        await self.ph.work(run)
        self.oracle.cut_by |= dict.fromkeys(changed.union(older), self.oracle.code)
        called = {
            step: sorted(path for name, path, _ in self.calls if name == step) for step in ("clean", "chunk")
        }
        assert called == {"clean": sorted(changed), "chunk": sorted(changed.union(older))}
        chunks = {f"{path.removesuffix('.md')}/" for path in changed.union(older)}
        embedded = [path for name, path, _ in self.calls if name == "embed"]
        assert all(path.rpartition("/")[0] + "/" in chunks for path in embedded)
        await self.check(run)
        await self.publish(run)
        await self.check("current:docs")
        return run

    async def check(self, execution: str) -> None:
        """Compare what an execution has stored with the oracle."""
        ph = self.ph
        found: dict[str, str] = {}
        identity = await ph.rt.services.resolve.execution(execution)
        for stage in ("docs", "chunks", "vectors"):
            page, cursor = [], None
            while True:
                one = await ph.rt.services.objects.list(identity, stage, None, cursor, 1000)
                page += one.items
                cursor = one.next_cursor
                if cursor is None:
                    break
            keys = [one.key for one in page]
            sources = await ph.rt.catalog.sources(keys)
            data = await ph.rt.store.read([sources[key].location or key for key in keys])
            found |= {
                f"{stage}/{one.path}": bytes(text).decode()
                for one, text in zip(page, data, strict=True)
                if isinstance(text, bytes)
            }
        assert found == self.oracle.outputs()

    async def publish(self, *executions: str, **given: Any) -> int:
        request = PublishRequest([UUID(one) for one in executions], **given)
        return (await self.ph.rt.services.publish.publish("docs", request)).n

    async def replay(self, chosen: set[str], fails: Collection[str] = (), **given: Any) -> str:
        """Replay some documents into `chunk`, and publish the replay."""
        steps_of(self.ph)["FAILS"].update(fails)
        self.calls.clear()
        source = await self.ph.rt.services.resolve.execution("current:docs")
        body = {
            "from_execution_id": str(source),
            "from_stage": "docs",
            "to_route": "chunk",
            "paths": sorted(chosen),
        }
        answer = await self.ph.http.post("/api/v1/replay", json=body | given)
        assert answer.status_code == 200, answer.text
        replay = str(answer.json()["execution_id"])
        await self.ph.work(replay)
        assert sorted(path for name, path, _ in self.calls if name == "chunk") == sorted(chosen)
        self.oracle.cut_by |= dict.fromkeys(chosen.difference(fails), self.oracle.code)
        steps_of(self.ph)["FAILS"].clear()
        await self.publish(replay)
        await self.check("current:docs")
        return replay

    def fix(self) -> None:
        self.oracle.code += 1
        fix(self.ph, self.oracle.code)

    async def numbers(self) -> tuple[int, int | None, int]:
        """Results of the route `chunk` in what readers see: all, stale, and declared valid."""
        found = await self.ph.rt.services.publish.publication("docs")
        [one] = [one for one in found.results if one.route == "chunk"]
        return one.results, one.stale, one.declared_valid

    def older(self) -> set[str]:
        return {name for name, code in self.oracle.cut_by.items() if code < self.oracle.code}


@pytest.fixture
async def days(ph: Playhead) -> Days:
    rng = random.Random(int(os.environ.get("PLAYHEAD_TEST_SEED", "1")))
    texts = {
        f"{('tables', 'letters', 'notes')[n % 3]}/{n}.md": f"text {rng.random()} | more {rng.random()}"
        for n in range(DOCUMENTS)
    }
    days = Days(ph, rng, Oracle(texts))
    await days.run(set(texts))
    return days


def those(days: Days, folder: str) -> set[str]:
    return {name for name in days.oracle.texts if name.startswith(f"{folder}/")}


async def declared(ph: Playhead) -> list[Declaration]:
    return (await ph.rt.services.publish.dataset("docs")).declared_valid


@pytest.mark.timeout(300)
async def test_a_fix_for_a_part_carries_over_to_the_runs_of_the_following_days(days: Days):
    ph = days.ph
    await days.run(days.edit())

    # The first fix.
    days.fix()
    tables = those(days, "tables")
    assert await days.numbers() == (len(days.oracle.texts), len(days.oracle.texts), 0)
    first = await days.replay(tables, others_valid=True, reason=REASON)
    others = days.older()
    assert others == set(days.oracle.texts) - tables
    assert await days.numbers() == (len(days.oracle.texts), 0, len(others))
    [one] = await declared(ph)
    assert (one.route, one.from_stage, one.reason, str(one.execution_id)) == ("chunk", "docs", REASON, first)

    for _ in range(2):
        run = await days.run(days.edit())
        assert await days.numbers() == (len(days.oracle.texts), 0, len(days.older()))
        rows = [one for one in await ph.messages(run, route="chunk") if one["declared_valid"]]
        assert {row["input_key"].partition("/docs/")[2] for row in rows} == days.older()
        assert {row["adapters"][0]["code"] for row in rows} != {"sha256:2"}
        assert {row["declared_valid"]["execution_id"] for row in rows} == {first}
        assert {row["declared_valid"]["reason"] for row in rows} == {REASON}

    # The second fix; one of the selected documents fails, and keeps its old result only until the next run.
    days.fix()
    letters = those(days, "letters")
    failed = {min(letters)}
    await days.replay(letters, failed, others_valid=True, reason="only letters")
    assert await days.numbers() == (len(days.oracle.texts), 1, len(days.older()) - 1)
    await days.run(days.edit(keep=failed), older=failed)
    assert await days.numbers() == (len(days.oracle.texts), 0, len(days.older()))

    # The declarations are undone.
    await ph.rt.services.publish.forget("docs", "chunk")
    assert await declared(ph) == []
    older = days.older()
    assert older
    assert await days.numbers() == (len(days.oracle.texts), len(older), 0)
    changed = days.edit()
    await days.run(changed, older=(older & set(days.oracle.texts)) - changed)
    assert await days.numbers() == (len(days.oracle.texts), 0, 0)


@pytest.mark.timeout(120)
async def test_without_a_declaration_results_of_older_code_run_again(days: Days):
    days.fix()
    await days.replay(those(days, "tables"))

    await days.run(set(), older=days.older())
