"""Stored objects over HTTP: listed as a replay finds them, streamed as data, never as a web page."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

from playhead.errors import store_unavailable
from playhead.ids import uuid7
from playhead.ports.catalog.runs import Input

if TYPE_CHECKING:
    from tests.api.server import Playhead


@pytest.fixture
async def execution(playhead: Playhead) -> str:
    return await playhead.run({"a/x.md": b"one two", "a-b.md": b"three", "a.md": b"four"})


async def _paths(playhead: Playhead, **query: Any) -> list[tuple[str, str]]:
    return [(o["stage"], o["path"]) for o in await playhead.items("storage/objects", **query)]


async def test_objects_are_listed_in_byte_order_page_by_page(playhead: Playhead, execution: str):
    wanted = [("shouted", "a-b.md"), ("shouted", "a.md"), ("shouted", "a/x.md")]
    for limit in (1, 2, 3, 100):
        assert await _paths(playhead, execution_id=execution, stage="shouted", limit=limit) == wanted


async def test_an_object_is_listed_with_key_size_and_time(playhead: Playhead, execution: str):
    [found] = await playhead.items("storage/objects", execution_id=execution, stage="input", path="a/")
    assert found.pop("modified_at").endswith("Z")
    expected = {"key": f"{execution}/input/a/x.md", "stage": "input", "path": "a/x.md", "size": 7}
    assert found == expected | {"taken_over_from": None}


async def test_a_path_may_be_a_folder_an_object_or_both(playhead: Playhead, execution: str):
    await playhead.put(f"{execution}/shouted/a")
    both = await _paths(playhead, execution_id=execution, stage="shouted", path="a")
    assert both == [("shouted", "a"), ("shouted", "a/x.md")]
    one = await _paths(playhead, execution_id=execution, stage="shouted", path="a.md")
    assert one == [("shouted", "a.md")]
    assert await _paths(playhead, execution_id=execution, stage="shouted", path="none") == []


async def test_the_declared_stage_is_derived_from_the_path_for_every_request(
    playhead: Playhead, execution: str
):
    everything = await _paths(playhead, execution_id=execution)
    assert {stage for stage, _ in everything} == {"input", "shouted", "split/words"}
    inside = await _paths(playhead, execution_id=execution, stage="split", path="words/a-b")
    assert inside == [("split/words", "a-b/0001.txt")]


async def test_sidecars_folder_markers_and_objects_being_written_are_hidden(
    playhead: Playhead, execution: str
):
    writing = uuid7()
    await playhead.catalog.open_run(writing, "words", 1, tags=(), owner="other", lease=15)
    await playhead.catalog.bind_inputs(
        writing, [Input("half.md", 4, sha256(b"data").digest(), "text/markdown")]
    )
    await playhead.put(f"{writing}/input/half.md")
    await playhead.put(f"{writing}/input/")
    await playhead.put(f"{writing}/input/by-hand.md")
    assert await _paths(playhead, execution_id=str(writing)) == [("input", "by-hand.md")]
    for what in ("content", "metadata"):
        await playhead.get(f"storage/objects/{what}", 404, key=f"{writing}/input/half.md")


async def test_an_unknown_stage_is_404_and_an_empty_one_is_not(playhead: Playhead, execution: str):
    answer = await playhead.get("storage/objects", 404, execution_id=execution, stage="shout")
    assert answer["error_code"] == "stage_not_found"
    assert "shouted" in answer["detail"]
    failed = await playhead.run({"a": b"bad"})
    assert await _paths(playhead, execution_id=failed, stage="split/words") == []


async def test_content_is_an_attachment_that_a_browser_does_not_run(playhead: Playhead, execution: str):
    key = f"{execution}/shouted/a/x.md"
    answer = await playhead.http.get("/api/v1/storage/objects/content", params={"key": key})
    assert (answer.status_code, answer.content) == (200, b"ONE TWO")
    assert answer.headers["Content-Type"] == "text/markdown"
    assert answer.headers["Content-Length"] == "7"
    assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''x.md"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"].startswith("sandbox")


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (1, (206, b"O", "bytes 0-0/7")),
        (6, (206, b"ONE TW", "bytes 0-5/7")),
        (7, (200, b"ONE TWO", None)),
        (1_048_576, (200, b"ONE TWO", None)),
    ],
)
async def test_the_first_bytes_are_sent_with_the_size_of_the_object(
    playhead: Playhead, execution: str, limit: int, expected: tuple[int, bytes, str | None]
):
    query = {"key": f"{execution}/shouted/a/x.md", "limit": str(limit)}
    answer = await playhead.http.get("/api/v1/storage/objects/content", params=query)
    status, content, part = expected
    assert (answer.status_code, answer.content) == (status, content)
    assert answer.headers.get("Content-Range") == part
    assert answer.headers["Content-Length"] == str(len(content))
    assert answer.headers["Content-Type"] == "text/markdown"


async def test_an_empty_object_has_no_further_bytes(playhead: Playhead, execution: str):
    await playhead.put(f"{execution}/by-hand/empty", b"")
    query = {"key": f"{execution}/by-hand/empty", "limit": "10"}
    answer = await playhead.http.get("/api/v1/storage/objects/content", params=query)
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(
    ("name", "sidecar", "kind"),
    [
        ("é \"';.html", None, "text/html"),
        ("x.md", {"content_type": "text/html; charset=utf-8"}, "text/html; charset=utf-8"),
        ("x.md", {"content_type": "text/html\r\nSet-Cookie: a=b"}, "text/markdown"),
        *(
            ("x.md", {"content_type": odd}, "text/markdown")
            for odd in (
                *(
                    "text/html\r\n\r\n<script>",
                    "text/html\n",
                    "text/html\x00",
                    "text/é",
                    "text/\ud800",
                    "a/b;c=d\r",
                ),
                *(
                    "a/" + "b" * 199,
                    "a/b" + "; c=d" * 100_000,
                    "text/html, text/plain",
                    " text/html",
                    "text",
                    "",
                ),
            )
        ),
        ("x.md", {"content_type": "a/" + "b" * 198}, "a/" + "b" * 198),
        ("x.md", {"content_type": 1}, "text/markdown"),
        ("x.md", [], "text/markdown"),
        ("none", None, "application/octet-stream"),
    ],
)
async def test_objects_of_other_programs_get_their_type_from_sidecar_or_suffix(
    playhead: Playhead, name: str, sidecar: Any, kind: str
):
    key = f"{uuid7()}/pages/{name}"
    await playhead.put(key, b"")
    if sidecar is not None:
        await playhead.put(key + ".meta.json", json.dumps(sidecar).encode())
    answer = await playhead.http.get("/api/v1/storage/objects/content", params={"key": key})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Type"] == kind
    assert answer.headers["Content-Disposition"].isascii()


@pytest.mark.parametrize(
    "name", ['a"b', "a;b.html", "a'b", "a b", "é.md", "%0d%0a", "日本.html", "a%b\u202elmth.exe"]
)
async def test_the_name_of_an_object_cannot_inject_a_header(playhead: Playhead, name: str):
    key = f"{uuid7()}/s/{name}"
    await playhead.put(key)
    await playhead.put(key + ".meta.json", b"{}")
    for what, saved in (("content", name), ("metadata", name + ".meta.json")):
        answer = await playhead.http.get(f"/api/v1/storage/objects/{what}", params={"key": key})
        assert answer.status_code == 200
        said = answer.headers["Content-Disposition"]
        assert re.fullmatch(r"attachment; filename\*=UTF-8''[A-Za-z0-9_.~%-]+", said)
        assert unquote(said.partition("''")[2]) == saved
        assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


async def test_the_sidecar_is_returned_as_stored(playhead: Playhead, execution: str):
    key = f"{execution}/shouted/a.md"
    answer = await playhead.http.get("/api/v1/storage/objects/metadata", params={"key": key})
    [stored] = await playhead.store.read([key + ".meta.json"])
    assert answer.content == stored
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json()["source_key"] == f"{execution}/input/a.md"


async def test_an_object_without_a_sidecar_has_no_metadata(playhead: Playhead):
    key = f"{uuid7()}/pages/x.md"
    await playhead.put(key)
    answer = await playhead.get("storage/objects/metadata", 404, key=key)
    assert answer["error_code"] == "object_not_found"
    assert "no sidecar" in answer["detail"]


async def test_an_unavailable_store_is_503_and_not_a_partial_answer(playhead: Playhead, execution: str):
    playhead.store_outage.error = store_unavailable("gone")
    key = f"{execution}/shouted/a.md"
    for what in ("content", "metadata"):
        assert (await playhead.get(f"storage/objects/{what}", 503, key=key))[
            "error_code"
        ] == "store_unavailable"


async def test_the_versions_of_an_object_are_those_of_its_family(playhead: Playhead, execution: str):
    first = await playhead.replay(execution, "shouted", "split", "a.md")
    second = await playhead.replay(execution, "shouted", "split")
    await playhead.work()
    third = await playhead.replay(second["execution_id"], "split/words", "upper")
    other = await playhead.run({"a.md": b"four"})
    await playhead.work()
    ids = [execution, first["execution_id"], second["execution_id"]]

    for member in ids:
        found = await playhead.items(
            "storage/objects/versions", key=f"{member}/split/words/a/0001.txt", limit=2
        )
        assert [one["execution_id"] for one in found] == ids
        assert [one["kind"] for one in found] == ["run", "replay", "replay"]
        assert {one["sha256"] for one in found} == {sha256(b"FOUR").hexdigest()}
        assert found[0]["key"] == f"{execution}/split/words/a/0001.txt"

    both = await playhead.items("storage/objects/versions", key=f"{execution}/split/words/a/x/0001.txt")
    assert [one["execution_id"] for one in both] == [execution, second["execution_id"]]
    none = await playhead.items("storage/objects/versions", key=f"{third['execution_id']}/input/none")
    assert none == []
    assert len(await playhead.items("storage/objects/versions", key=f"{other}/input/a.md")) == 1
