"""Results that are used again at another place: readers see them as after a full run."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from playhead.adapters.sqlite_search import search
from playhead.bootstrap.backends import data_folder
from tests.inprocess import Playhead, opened

CONFIG = """
entry: keep
datasets: {docs: {publish: automatic, max_removed: 1}}
routes:
  keep:
    adapters: [{type: passthrough}]
    outbound: {stage: documents, to: [split]}
  split:
    adapters: [{type: split_markdown}]
    outbound: {stage: chunks, to: [copy]}
  copy:
    adapters: [{type: passthrough}]
    outbound: {stage: copies, to: [index]}
  index:
    adapters: [{type: sqlite_search, config: {path: search.db}}]
"""
DAYS = 6


@pytest.fixture
async def ph(catalog_setting: dict[str, Any], tmp_path: Path) -> AsyncIterator[Playhead]:
    async with opened(tmp_path / "home", **catalog_setting) as playhead:
        await playhead.apply(CONFIG)
        yield playhead


async def published(ph: Playhead, files: dict[str, str], *routes: str, **form: str) -> str:
    """Run files, publish the run, and return the id of the publication.

    Args:
        routes: only these are worked. Without any, messages of other executions are worked, too.
    """
    run = await ph.submit(files, **form)
    async with ph.working(*routes):
        await ph.ended(run)
    await ph.rt.finish_outcome()
    found = await ph.get("datasets/docs")
    assert found["unpublished"] == []
    made = await ph.get(f"datasets/docs/publications/{found['current']}")
    assert [part["execution_id"] for part in made["parts"]] == [run]
    return str(made["execution_id"])


def found(ph: Playhead) -> list[str]:
    """Return the paths of the rows that a search finds."""
    return sorted(one.path for one in search(data_folder(ph.rt.settings) / "search.db", "words", limit=1_000))


async def test_a_renamed_document_stays_published(ph: Playhead):
    files = {"a.md": "# A\n\nwords a", "c.md": "# C\n\nwords c"}
    await published(ph, files)
    files["z.md"] = files.pop("c.md")

    shown = await ph.stored(await published(ph, files, changed_since="previous"))

    chunks = {"a/0001.md", "z/0001.md"}
    assert shown.keys() == {f"{stage}/{one}" for stage in ("input", "documents") for one in files} | {
        f"{stage}/{one}" for stage in ("chunks", "copies") for one in chunks
    }
    assert found(ph) == sorted(chunks)


async def test_a_moved_object_is_listed_where_the_dataset_has_it(ph: Playhead):
    files = {"b.md": "# B\n\nwords b", "c.md": "# C\n\nwords c"}
    await published(ph, files)
    files["a.md"] = files.pop("c.md")
    shown = await published(ph, files, changed_since="previous")

    of = {"execution_id": shown, "stage": "chunks", "limit": 1}
    first = await ph.get("storage/objects", **of)
    listed = first["items"] + (await ph.get("storage/objects", **of, cursor=first["next_cursor"]))["items"]

    moved, unchanged = listed
    assert [one["path"] for one in listed] == ["a/0001.md", "b/0001.md"]
    assert moved["key"] == f"{shown}/chunks/a/0001.md"
    assert moved["taken_over_from"].endswith("/chunks/c/0001.md")
    assert (unchanged["key"].endswith("/chunks/b/0001.md"), unchanged["taken_over_from"]) == (True, None)
    assert b"words c" in await ph.content("storage/objects/content", key=moved["key"])


async def test_a_replay_of_what_readers_see_replaces_the_result_of_a_moved_object(ph: Playhead):
    files = dict.fromkeys(("b.md", "c.md"), "# Same\n\nwords")
    await published(ph, files)
    files["a.md"] = files.pop("c.md")
    shown = await published(ph, files, changed_since="previous")

    replay = (await ph.replay(shown, "chunks", "copy"))["execution_id"]
    await ph.work(replay)
    await ph.post("datasets/docs/publications", {"executions": [replay]}, 202)
    await ph.rt.finish_outcome()

    made = await ph.get("datasets/docs/publications/3")
    assert (made["units"]["good"], made["units"]["removed"]) == (2, 0)
    copies = await ph.items("storage/objects", execution_id=made["execution_id"], stage="copies")
    assert [one["key"] for one in copies] == [f"{replay}/copies/{name}/0001.md" for name in "ab"]


async def test_a_replay_replaces_a_moved_result_that_was_made_before_it(ph: Playhead):
    text = "# Same\n\nwords"
    first = await ph.run({"a.md": text})
    await ph.rt.finish_outcome()
    await published(ph, {"c.md": text})
    replay = (await ph.replay(first, "chunks", "copy"))["execution_id"]
    # The result of c.md is taken over, so the run does not need the route in which the replay waits.
    await published(ph, {"a.md": text}, "keep", "split", "index", changed_since="previous")

    await ph.work(replay)
    n = (await ph.post("datasets/docs/publications", {"executions": [replay]}, 202))["n"]
    await ph.rt.finish_outcome()

    made = await ph.get(f"datasets/docs/publications/{n}")
    assert (made["state"], made["refusal"], made["units"]["good"]) == ("published", None, 1)


@pytest.mark.parametrize("seed", range(3))
async def test_readers_see_what_a_full_run_makes_although_results_have_moved(ph: Playhead, seed: int):
    chosen = random.Random(seed)
    files = {f"{n}.md": [f"{n}.{part}" for part in range(chosen.randrange(1, 4))] for n in range(5)}
    form: dict[str, str] = {}
    for _ in range(DAYS):
        texts = {
            path: "\n\n".join(f"# Part {one}\n\nwords of {one}" for one in parts)
            for path, parts in files.items()
        }
        shown = await ph.stored(await published(ph, texts, **form))
        rows = found(ph)

        full = await published(ph, texts)

        assert shown == await ph.stored(full)
        assert rows == found(ph)
        form = {"changed_since": "previous"}
        for _ in range(2):
            change(files, chosen)


def change(files: dict[str, list[str]], chosen: random.Random) -> None:
    """Rename, delete or copy a document, or move a part of it to another one."""
    one, other = chosen.sample(sorted(files), 2)
    match chosen.choice(["rename", "delete", "copy", "move", "merge"]):
        case "rename":
            files[f"{chosen.randrange(100, 999)}.md"] = files.pop(one)
        case "delete" if len(files) > 3:
            del files[one]
        case "copy":
            files[f"{chosen.randrange(100, 999)}.md"] = [*files[one]]
        case "move" if len(files[one]) > 1:
            files[other].insert(0, files[one].pop(chosen.randrange(len(files[one]))))
        case "merge" if len(files) > 3:
            files[other] += files.pop(one)
