"""What a caller with the scope `replay` may replay: external effects and publications need more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from playhead.model.access import KeyRequest, Scope

if TYPE_CHECKING:
    from tests.api.server import Playhead

OUT = """
version: "1.0"
name: out
entry: copy
datasets: {texts: {}}
routes:
  copy: {adapters: [{type: upper}], outbound: {stage: copied, to: [send]}}
  send: {inbound: {queue: out.send}, external: true}
"""


@pytest.fixture
async def source(playhead: Playhead) -> str:
    await playhead.apply(OUT)
    return await playhead.run({"a.md": b"a"}, config="out")


async def key(playhead: Playhead, name: str, *scopes: Scope) -> dict[str, str]:
    created = await playhead.services.access.create(KeyRequest(name, list(scopes)))
    await playhead.services.identity.beat()
    return {"Authorization": f"Bearer {created.key}"}


async def replay(
    playhead: Playhead, headers: dict[str, str], path: str = "replay", **body: Any
) -> tuple[int, Any]:
    answer = await playhead.http.post(f"/api/v1/{path}", json=body, headers=headers)
    return answer.status_code, answer.json()


async def test_external_effects_are_run_again_only_with_their_scope(playhead: Playhead, source: str):
    asked = {"from_execution_id": source, "from_stage": "input", "to_route": "out/copy"}
    oncall = await key(playhead, "oncall", "replay")
    status, refused = await replay(playhead, oncall, **asked)
    assert (status, refused["error_code"]) == (409, "effects_refused")
    for effects in ("run", {"send": "run"}):
        status, refused = await replay(playhead, oncall, **asked, effects=effects)
        assert (status, refused["error_code"]) == (403, "scope_missing")
        assert "effects" in refused["detail"]
    status, made = await replay(playhead, oncall, **asked, effects={"send": "skip"})
    assert (status, made["objects_published"]) == (200, 1)
    operator = await key(playhead, "operator", "replay", "effects")
    assert (await replay(playhead, operator, **asked))[0] == 200
    assert (await replay(playhead, operator, **asked, effects="run"))[0] == 200


async def test_a_plan_of_another_caller_gives_no_scope(playhead: Playhead, source: str):
    asked = {"from_execution_id": source, "from_stage": "input", "to_route": "out/copy"}
    operator = await key(playhead, "operator", "replay", "effects")
    _, plan = await replay(playhead, operator, "replay/plan", **asked)
    oncall = await key(playhead, "oncall", "replay")
    status, refused = await replay(playhead, oncall, plan_id=plan["plan_id"])
    assert (status, refused["error_code"]) == (409, "effects_refused")
    _, own = await replay(playhead, oncall, "replay/plan", **asked)
    assert own["would_refuse"] == ["send"]


async def test_a_replay_that_is_published_needs_the_scope_of_publishing(playhead: Playhead, source: str):
    asked: dict[str, Any] = {"from_execution_id": source, "from_stage": "input", "to_route": "out/copy"}
    oncall = await key(playhead, "oncall", "replay", "effects")
    status, refused = await replay(playhead, oncall, **asked, publish=True)
    assert (status, refused["error_code"]) == (403, "scope_missing")
    assert "operate" in refused["detail"]


async def test_two_callers_do_not_share_idempotency_keys(playhead: Playhead, source: str):
    asked = {"from_execution_id": source, "from_stage": "copied", "to_route": "out/copy", "effects": "skip"}
    batches = set()
    for name in ("ada", "bo"):
        headers = await key(playhead, name, "replay") | {"Idempotency-Key": "same"}
        for _ in range(2):
            _, made = await replay(playhead, headers, **asked)
            batches.add((name, made["replay_batch_id"]))
    assert len({batch for _, batch in batches}) == len(batches) == 2
