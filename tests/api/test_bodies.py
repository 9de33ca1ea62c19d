"""Bodies that are too large, not JSON, not text, or of another type than declared."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.api.server import Playhead

JSON = {"Content-Type": "application/json"}
X = "01890000-0000-7000-8000-000000000000"


async def _post(
    playhead: Playhead, content: Any, path: str = "replay", headers: Any = JSON
) -> tuple[int, Any]:
    answer = await playhead.http.post(f"/api/v1/{path}", content=content, headers=headers)
    return answer.status_code, answer.json()


def _raw(**values: str) -> str:
    fields = {"from_execution_id": f'"{X}"', "from_stage": '"s"', "to_route": '"r"'} | values
    return "{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}"


async def test_a_payload_of_200_levels_is_accepted(playhead: Playhead):
    deep = "[" * 190 + "]" * 190
    status, _ = await _post(playhead, f'{{"payload": {deep}}}', "configs/words/run")
    assert status == 202


async def test_any_invalid_value_is_echoed(playhead: Playhead):
    status, body = await _post(playhead, _raw(from_path='{"a": "\\u0000é\\u2028"}'))
    assert (status, body["detail"][0]["input"]) == (422, {"a": "\0é\u2028"})


async def test_a_response_to_many_or_long_errors_is_short(playhead: Playhead):
    many = {f"field-{n:02}": "" for n in range(100)}
    status, body = await _post(playhead, json.dumps(many))
    assert (status, len(body["detail"])) == (422, 21)
    assert body["detail"][-1] == {
        "type": "too_many_errors", "loc": [], "msg": "83 more errors are not listed",
    }  # fmt: skip
    for path in ("x" * 10, f"from_{'x' * 1_000}"):
        status, body = await _post(playhead, json.dumps({path: "y" * 1_000}))
        assert (status, len(json.dumps(body)) < 2_500) == (422, True)


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/merge+json"]
)
async def test_json_content_types_with_a_suffix_or_parameters_are_accepted(playhead: Playhead, kind: str):
    assert (await _post(playhead, _raw(), headers={"Content-Type": kind}))[0] == 404


async def _chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(0, size, 1000):
        yield b"a" * 1000


@pytest.mark.parametrize("path", ["replays/latest/cancel", "configs", "dead-letters/resend", "prune"])
async def test_a_body_over_the_limit_that_hides_its_length_is_413(playhead: Playhead, path: str):
    status, body = await _post(playhead, _chunks(playhead.max_body + 1), path)
    assert (status, body["error_code"]) == (413, "body_too_large")


async def test_a_body_of_exactly_the_limit_is_accepted(playhead: Playhead):
    padding = playhead.max_body - len(_raw(from_path='""'))
    assert (await _post(playhead, _raw(from_path=json.dumps("a" * padding))))[0] == 400


@pytest.mark.parametrize("hidden", [False, True])
async def test_uploads_have_their_own_limit(playhead: Playhead, hidden: bool):
    def form(size: int) -> bytes:
        head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        return head + b"a" * size + b"\r\n--b--\r\n"

    async def stream(raw: bytes) -> AsyncIterator[bytes]:
        yield raw

    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    seen = []
    for size in (playhead.max_body + 1, playhead.max_upload + 1):
        content = stream(form(size)) if hidden else form(size)
        seen.append(await _post(playhead, content, "configs/words/run", kind))
    assert seen[0][0] == 202
    assert (seen[1][0], seen[1][1]["error_code"]) == (413, "body_too_large")
