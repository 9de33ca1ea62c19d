"""Objects of other programs: without a sidecar, with a broken one, too large, or with an invalid key."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from playhead.ids import uuid7
from tests.inprocess import Playhead, opened
from tests.stored import put, remove

pytestmark = pytest.mark.slow

LIMIT = 100_000
CONFIG = """
entry: a
routes:
  a: {adapters: [{type: do}], outbound: {stage: done}}
"""
BROKEN: dict[str, bytes | None] = {
    "missing": None,
    "empty": b"",
    "no JSON": b"{",
    "not UTF-8": b'{"content_type": "\xff"}',
    "a list": b"[1, 2]",
    "null": b"null",
    "deep": b"[" * 100_000,
    "of wrong types": b'{"content_type": 7, "attributes": [1], "size": "x", "sha256": null}',
    "of external types": json.dumps({"content_type": "text/html\r\nX: y", "attributes": {"a": 1}}).encode(),
    "NaN": b'{"attributes": {"a": NaN}}',
    "large": b'{"a": "' + b"x" * 2_000_000 + b'"}',
}


@pytest.fixture
async def ph(tmp_path: Path) -> AsyncIterator[Playhead]:
    async with opened(tmp_path, max_object_bytes=LIMIT) as playhead:
        playhead.steps.doing = lambda item, ctx: f"{item.content_type} {dict(item.attributes)}"
        await playhead.apply(CONFIG)
        yield playhead


async def test_sidecars_that_are_missing_or_broken_fail_no_replay(ph: Playhead):
    source = str(uuid7())
    keys = {name: ph.put(source, f"pages/{name}.html") for name in BROKEN}
    for name, sidecar in BROKEN.items():
        if sidecar is not None:
            (ph.objects / f"{keys[name]}.meta.json").write_bytes(sidecar)
    replayed = await ph.replay(source, "pages", "a")
    assert replayed["objects_found"] == replayed["objects_published"] == len(BROKEN)
    await ph.work(replayed["execution_id"])
    # Of one sidecar only the content type is invalid; its attributes are kept.
    attributes = dict.fromkeys(BROKEN, "{}") | {"of external types": "{'a': 1}"}
    assert await ph.stored(replayed["execution_id"], "done") == {
        f"done/{name}.html": f"text/html {attributes[name]}" for name in BROKEN
    }
    listed = [o["path"] for o in await ph.items("storage/objects", execution_id=source)]
    assert listed == sorted(f"{name}.html" for name in BROKEN)

    for name, sidecar in BROKEN.items():
        content = await ph.http.get("/api/v1/storage/objects/content", params={"key": keys[name]})
        assert (content.status_code, content.content) == (200, b"data"), name
        assert content.headers["Content-Type"].startswith("text/html"), name
        assert "X" not in content.headers, name
        told = await ph.http.get("/api/v1/storage/objects/metadata", params={"key": keys[name]})
        if sidecar is None:
            assert (told.status_code, told.json()["error_code"]) == (404, "object_not_found")
            assert "no sidecar: it was stored by another program" in told.json()["detail"]
        else:
            assert (told.status_code, told.content) == (200, sidecar[: len(told.content)]), name


async def test_a_corrupted_sidecar_of_playhead_does_not_change_the_processing(ph: Playhead):
    execution = await ph.submit({"a.html": "x", "b.html": "y"})
    put(ph.objects, f"{execution}/input/a.html.meta.json", b"{")
    remove(ph.objects, f"{execution}/input/b.html.meta.json")
    await ph.work(execution)
    assert await ph.stored(execution, "done") == dict.fromkeys(("done/a.html", "done/b.html"), "text/html {}")


NO_KEYS = {
    "control character": "pages/a\nb",
    "backslash": "pages/a\\b",
    "normal form C": "pages/e\u0301.txt",
    "at most 200": f"pages/{'x' * 201}",
    "at most 900": f"pages/{'/'.join(['d' * 190] * 5)}/a",
}


async def test_keys_outside_the_grammar_are_found_and_fail_by_name(ph: Playhead):
    source = str(uuid7())
    for rest in NO_KEYS.values():
        ph.put(source, rest)
    ph.put(source, "pages/fine.txt")
    replayed = await ph.replay(source, "pages", "a")
    assert (replayed["objects_found"], replayed["objects_published"]) == (6, 1)
    assert (replayed["objects_failed"], replayed["status"]) == (5, "partial_failure")
    for why in NO_KEYS:
        assert [line for line in replayed["errors"] if why in line], replayed["errors"]
    await ph.work(replayed["execution_id"])
    ended = await ph.execution(replayed["execution_id"])
    assert (ended["status"], ended["counts"]["completed"], ended["counts"]["failed"]) == ("failed", 1, 5)
    letters: list[dict[str, Any]] = await ph.items("dead-letters", execution_id=replayed["execution_id"])
    assert {letter["error_code"] for letter in letters} == {"invalid_key"}


async def test_an_object_over_the_limit_is_a_dead_letter_that_names_the_limit(ph: Playhead):
    source = str(uuid7())
    ph.put(source, "pages/large.txt", "x" * (LIMIT + 1))
    ph.put(source, "pages/fine.txt", "x" * LIMIT)
    replayed = (await ph.replay(source, "pages", "a"))["execution_id"]
    await ph.work(replayed)
    assert await ph.dead(replayed) == {"pages/large.txt": "object_too_large"}
    [letter] = await ph.items("dead-letters")
    assert "PLAYHEAD_MAX_OBJECT_BYTES" in letter["error"]
    assert list(await ph.stored(replayed, "done")) == ["done/fine.txt"]
