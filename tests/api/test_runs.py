"""`POST /api/v1/configs/{name}/run`: files or a JSON value in, an execution out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.counted import counts

if TYPE_CHECKING:
    from tests.api.server import Playhead

RUN = "/api/v1/configs/words/run"


async def test_files_become_inputs_under_their_names(playhead: Playhead):
    execution = await playhead.run({"guide/a.md": b"x", "b.md": b"y"}, tags=("nightly", "v2"))
    inputs = await playhead.items("storage/objects", execution_id=execution, stage="input")
    assert [o["path"] for o in inputs] == ["b.md", "guide/a.md"]
    shown = await playhead.get(f"executions/{execution}")
    assert shown["kind"] == "run"
    assert shown["tags"] == ["nightly", "v2"]
    assert shown["status"] == "completed"
    assert shown["counts"] == counts(completed=4)


async def test_the_answer_is_the_execution(playhead: Playhead):
    answer = await playhead.post("configs/words/run", {"payload": 1}, 202)
    assert answer["config"] == "words"
    assert answer["status"] == "running"
    assert set(answer) == set(await playhead.get(f"executions/{answer['execution_id']}"))


@pytest.mark.parametrize("payload", [None, 0, "é\u2028", [1, {"a": None}], {"deep": [[[]]]}])
async def test_a_payload_becomes_one_input(playhead: Playhead, payload: Any):
    answer = await playhead.post("configs/words/run", {"payload": payload, "path": "a/b.json"}, 202)
    key = f"{answer['execution_id']}/input/a/b.json"
    await playhead.work()
    stored = await playhead.http.get("/api/v1/storage/objects/content", params={"key": key})
    assert json.loads(stored.content) == payload
    assert stored.headers["Content-Type"] == "application/json"


async def test_a_version_may_be_named(playhead: Playhead):
    await playhead.apply(playhead.config_source.replace("entry: upper", "entry: split"))
    old = await playhead.post("configs/words/run", {"payload": 1, "config_version": 1}, 202)
    new = await playhead.http.post(RUN, files=[("files", ("a", b""))], data={"config_version": "2"})
    assert (old["config_version"], new.json()["config_version"]) == (1, 2)
    await playhead.post("configs/words/run", {"payload": 1, "config_version": 3}, 404)


async def test_more_than_a_thousand_files_are_accepted(playhead: Playhead):
    part = '--b\r\nContent-Disposition: form-data; name="files"; filename="{}"\r\n\r\n\r\n'
    raw = "".join(part.format(n) for n in range(1200)) + "--b--\r\n"
    answer = await playhead.http.post(
        RUN, content=raw, headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert answer.status_code == 202


FORM = {"Content-Type": "multipart/form-data; boundary=b"}
ONE_FILE = b'--b\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\nx\r\n--b--\r\n'


@pytest.mark.parametrize("charset", ["undefined", "utf-16", "latin-1", '""'])
async def test_a_form_in_another_charset_than_utf8_is_400(playhead: Playhead, charset: str):
    kind = {"Content-Type": f"multipart/form-data; boundary=b; charset={charset}"}
    answer = await playhead.http.post(RUN, content=ONE_FILE % b"a", headers=kind)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "invalid_body"), answer.text
    assert "UTF-8" in answer.json()["detail"]


@pytest.mark.parametrize("charset", ["utf-8", '"UTF-8"', "us-ascii"])
async def test_a_form_may_name_its_charset(playhead: Playhead, charset: str):
    kind = {"Content-Type": f"multipart/form-data; charset={charset}; boundary=b"}
    answer = await playhead.http.post(RUN, content=ONE_FILE % b"a", headers=kind)
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("name", [rb"C:\x", rb"\\host\x", rb"a\x"])
async def test_a_windows_path_is_not_shortened_to_a_file_name(playhead: Playhead, name: bytes):
    answer = await playhead.http.post(RUN, content=ONE_FILE % name, headers=FORM)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "invalid_path"), answer.text
    assert "backslash" in answer.json()["detail"]


async def test_a_form_that_ends_early_starts_nothing(playhead: Playhead):
    answer = await playhead.http.post(RUN, content=(ONE_FILE % b"a")[:-6], headers=FORM)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "invalid_body"), answer.text
    assert await playhead.items("executions") == []


@pytest.mark.parametrize(
    "part",
    [
        b'Content-Disposition: form-data; filename="a"\r\n\r\nx',
        b"Content-Type: text/plain\r\n\r\nx",
        b'Content-Disposition: form-data; name="files"; filename="a"\r\nX: ' + b"x" * 9000 + b"\r\n\r\nx",
        b'Content-Disposition: form-data; name="tags"\r\n\r\n\xff',
        b'Content-Disposition: form-data; name="\xff"\r\n\r\nx',
    ],
)
async def test_a_part_that_cannot_be_read_is_400(playhead: Playhead, part: bytes):
    answer = await playhead.http.post(RUN, content=b"--b\r\n" + part + b"\r\n--b--\r\n", headers=FORM)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "invalid_body"), answer.text


async def test_large_and_small_files_keep_their_bytes(playhead: Playhead):
    sent = {f"{n:03}": bytes([n]) * (n * 31) for n in range(60)}
    execution = await playhead.run(sent)
    for name, data in sent.items():
        key = f"{execution}/input/{name}"
        stored = await playhead.http.get("/api/v1/storage/objects/content", params={"key": key})
        assert stored.content == data
