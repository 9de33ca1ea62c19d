"""Days of a pipeline whose documents change, and an oracle of what a full run would store.

Documents are split into chunks, which are embedded. The oracle keeps for each document which code has cut it.
It knows nothing of messages and publications.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from playhead.model import Declaration, PublishRequest
from tests.inprocess import Playhead, opened

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
        if part.strip() != "nothing":
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


@asynccontextmanager
async def documents(tmp_path: Path, **on: Any) -> AsyncIterator[Days]:
    """The first day: all documents are processed and published. `on` are settings of the process."""
    steps = tmp_path / "cut_steps.py"
    steps.write_text(STEPS)
    async with opened(tmp_path / "home", more=[steps], **on) as playhead:
        await playhead.apply(CONFIG)
        fix(playhead, 1)
        rng = random.Random(int(os.environ.get("PLAYHEAD_TEST_SEED", "1")))
        texts = {
            f"{('tables', 'letters', 'notes')[n % 3]}/{n}.md": "nothing"
            if n % 7 == 3
            else f"text {rng.random()} | more {rng.random()}"
            for n in range(DOCUMENTS)
        }
        days = Days(playhead, rng, Oracle(texts))
        await days.run(set(texts))
        yield days


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
            parts = [part for one in text.split("|") if (part := one.strip()) != "nothing"]
            for n, part in enumerate(parts, 1):
                chunk = f"{part} (cut {self.cut_by[name]})"
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

    async def run(self, changed: set[str], *, older: Collection[str] = (), publishes: bool = True) -> str:
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
        if publishes:
            await self.publish(run)
            await self.check("current:docs")
        return run

    async def run_edited(self) -> set[str]:
        """Change documents, and run them; return those that were processed."""
        changed = self.edit()
        await self.run(changed)
        return changed

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

    def those(self, folder: str) -> set[str]:
        """The documents of a folder."""
        return {name for name in self.oracle.texts if name.startswith(f"{folder}/")}

    async def declared(self) -> list[Declaration]:
        """What is declared about results of the dataset."""
        return (await self.ph.rt.services.publish.dataset("docs")).declared_valid

    def older(self) -> set[str]:
        return {name for name, code in self.oracle.cut_by.items() if code != self.oracle.code}
