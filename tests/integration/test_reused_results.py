"""Results that are used again: a run with them has the outputs of a run without them, byte for byte.

Documents are edited at random: paragraphs are inserted, deleted, moved and changed, documents are renamed,
copied, removed and swapped. Each round is run with reuse, and in full with a config of another name. The
steps depend on the bytes, on the path, on the attributes, or on several of them.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.inprocess import Playhead, opened
from tests.servers.schema import emptied_schema

DOCUMENTS = int(os.environ.get("PLAYHEAD_TEST_DOCUMENTS", "25"))
ROUNDS = int(os.environ.get("PLAYHEAD_TEST_ROUNDS", "4"))
STEPS = """
from collections.abc import Iterator

from playhead import Item, Output, adapter


@adapter("paragraphs", produces="text/markdown")
def paragraphs(item: Item) -> Iterator[Output]:
    for n, text in enumerate(filter(None, item.text.split("\\n\\n"))):
        yield item.derive(text, place=n, words=len(text.split()))


@adapter("shout", produces="text/plain")
def shout(item: Item) -> str | None:
    if "nothing" in item.text:
        return None
    return item.text.upper()


@adapter("measure", produces="application/json", batch=8)
def measure(items: list[Item]) -> list[Output]:
    CALLS.extend(item.text for item in items)
    return [item.derive('{"length": %d}' % len(item.data), model="m1") for item in items]


@adapter("sign", produces="text/plain")
def sign(item: Item) -> str:
    return f"{item.path}: {item.text}"


@adapter("place", produces="text/plain")
def place(item: Item) -> Output:
    return item.derive(f"{item.attributes['place']}: {item.text}", place=-1)


@adapter("halves", produces="text/plain")
def halves(item: Item) -> list[str]:
    return [item.text[: len(item.text) // 2], item.text[len(item.text) // 2 :]]


@adapter("fixed")
def fixed(item: Item) -> Output:
    return Output(item.data, path=f"all/{item.text.split()[0]}-{item.path.replace('/', '-')}")


CALLS: list[str] = []
"""
ROUTES = """
version: "1.0"
name: NAME
entry: split
routes:
  split:
    adapters: [{type: paragraphs}]
    outbound: {stage: parts, to: [shout, measure, sign, place, halves, fixed]}
  shout:
    adapters: [{type: shout}]
    outbound: {stage: shouted, to: [again]}
  again:
    adapters: [{type: shout}, {type: sign, condition: {field: size, operator: gt, value: 30}}]
    outbound: {stage: signed-again}
  measure:
    adapters: [{type: measure}]
    outbound: {stage: measured}
  sign:
    adapters: [{type: sign}]
    outbound: {stage: signed}
  place:
    adapters: [{type: place, condition: {field: attributes.words, operator: gt, value: 2, otherwise: drop}}]
    outbound: {stage: placed, to: [measure-placed]}
  measure-placed:
    adapters: [{type: measure}]
    outbound: {stage: measured-placed}
  halves:
    adapters: [{type: halves}]
    outbound: {stage: halved}
  fixed:
    adapters: [{type: fixed}]
    outbound: {stage: named}
"""
_WORDS = ("nothing", "apple", "bear", "cow", "dog", "elk", "fox", "goat", "hen", "ibis")


@pytest.fixture(params=["sqlite", "postgres"])
async def ph(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Playhead]:
    steps = tmp_path / "random_steps.py"
    steps.write_text(STEPS)
    async with AsyncExitStack() as stack:
        on: dict[str, Any] = {}
        if request.param == "postgres":
            on["catalog"] = await stack.enter_async_context(emptied_schema())
        yield await stack.enter_async_context(opened(tmp_path / "home", more=[steps], **on))


def paragraph(rng: random.Random) -> str:
    return " ".join(rng.choice(_WORDS) for _ in range(rng.randint(1, 9)))


def edit(rng: random.Random, documents: dict[str, list[str]]) -> None:
    """Change documents in one of the ways of people."""
    names = sorted(documents)
    name = rng.choice(names)
    parts = documents[name]
    match rng.choice(["insert", "delete", "move", "change", "rename", "copy", "remove", "swap", "suffix"]):
        case "insert":
            parts.insert(rng.randint(0, len(parts)), paragraph(rng))
        case "delete" if len(parts) > 1:
            parts.pop(rng.randrange(len(parts)))
        case "move" if len(parts) > 1:
            documents[rng.choice(names)].append(parts.pop(rng.randrange(len(parts))))
        case "change":
            parts[rng.randrange(len(parts))] = paragraph(rng)
        case "rename":
            documents[f"moved/{rng.randrange(10**6)}.md"] = documents.pop(name)
        case "copy":
            documents[f"copy/{rng.randrange(10**6)}.md"] = list(parts)
        case "remove" if len(documents) > 3:
            del documents[name]
        case "swap":
            other = rng.choice(names)
            documents[name], documents[other] = documents[other], documents[name]
        case "suffix":
            documents[f"{name.rpartition('.')[0]}-{rng.randrange(10**6)}.txt"] = documents.pop(name)


async def run_to_end(ph: Playhead, files: dict[str, str], config: str, **asked: Any) -> str:
    sent = [("files", (name, text.encode())) for name, text in files.items()]
    answer = await ph.http.post(f"/api/v1/configs/{config}/run", files=sent, data=asked)
    assert answer.status_code == 202, answer.text
    execution = str(answer.json()["execution_id"])
    await ph.work(execution)
    return execution


async def made(ph: Playhead, execution: str) -> dict[str, tuple[bytes, str, Any]]:
    """The outputs of an execution: bytes, type and attributes by `stage/path`."""
    catalog, store = ph.rt.catalog, ph.rt.store
    rows = [
        row
        for row in await catalog.recorded(f"{execution}/", f"{execution}0", limit=1_000_000)
        if not row.key.startswith(f"{execution}/input/")
    ]
    sources = await catalog.sources([row.key for row in rows])
    data = await store.read([sources[row.key].location or row.key for row in rows])
    return {
        row.key.partition("/")[2]: (bytes(found), row.content_type, sources[row.key].attributes)
        for row, found in zip(rows, data, strict=True)
        if isinstance(found, bytes)
    }


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [int(os.environ.get("PLAYHEAD_TEST_SEED", "1"))])
async def test_outputs_after_random_edits_are_those_of_a_full_run(ph: Playhead, seed: int):
    rng = random.Random(seed)
    documents = {f"docs/{n}.md": [paragraph(rng) for _ in range(rng.randint(1, 6))] for n in range(DOCUMENTS)}
    for name in ("reused", "full"):
        await ph.apply(ROUTES.replace("NAME", name))
    calls = ph.rt.adapters["measure"].target.__globals__["CALLS"]

    for n in range(ROUNDS):
        files = {name: "\n\n".join(parts) for name, parts in documents.items()}
        calls.clear()
        asked: dict[str, Any] = {"reuse": "true"} if n % 2 else {"changed_since": "previous"} if n else {}
        run = await run_to_end(ph, files, "reused", **asked)
        processed = len(calls)
        full = await run_to_end(ph, files, "full")

        assert await made(ph, run) == await made(ph, full)
        if n:
            assert processed < (len(calls) - processed) / 2, "most results were used again"
        assert (await ph.execution(run))["counts"]["failed"] == 0
        for _ in range(max(1, DOCUMENTS // 10)):
            edit(rng, documents)


async def test_earlier_results_are_indexed_only_if_an_input_has_changed(ph: Playhead):
    await ph.apply(ROUTES.replace("NAME", "docs"))
    files = {"a.md": "apple bear", "b.md": "cow"}
    earlier = UUID(await run_to_end(ph, files, "docs"))

    async def indexed(files: dict[str, str]) -> list[int]:
        async def inputs() -> AsyncIterator[tuple[str, bytes]]:
            for path, text in files.items():
                yield path, text.encode()

        seen: list[int] = []
        submit = ph.rt.services.submit
        run = await submit.run("docs", inputs(), changed_since=earlier, indexed=seen.append)
        await ph.work(str(run.execution_id))
        return seen

    assert await indexed(files) == []
    assert await indexed({**files, "c.md": "apple bear"}) != []
