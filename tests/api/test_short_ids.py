"""Operations accept the end of an id, and names such as `latest`, wherever they accept an id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.api.server import Playhead


@pytest.fixture
async def run(playhead: Playhead) -> str:
    """A run with a dead letter."""
    return await playhead.run({"a": b"two words", "b": b"bad"}, tags=("nightly",))


@pytest.mark.parametrize("part", ["", "/stages", "/routes", "/code", "/lineage", "/replays"])
async def test_an_execution_may_have_any_name(playhead: Playhead, run: str, part: str):
    await playhead.replay(run, "shouted", "split")
    whole = await playhead.get(f"executions/{run}{part}")
    ends = (run[-4:], run[-12:].upper(), run[-20:])
    for name in (*ends, "latest", "latest:run", "latest:words", "tag:nightly"):
        assert await playhead.get(f"executions/{name}{part}") == whole, name


async def test_a_filter_may_have_any_name_of_an_execution(playhead: Playhead, run: str):
    replay = await playhead.replay(run, "shouted", "split")
    other = await playhead.run({"c": b"other words"})
    await playhead.replay(other, "shouted", "split")
    for name in (run, run[-8:], "tag:nightly"):
        [made] = await playhead.items("executions", parent=name)
        assert made["execution_id"] == replay["execution_id"]
        [batch] = await playhead.items("replays", from_execution_id=name)
        assert batch["replay_batch_id"] == replay["replay_batch_id"]
        [letter] = await playhead.items("dead-letters", execution_id=name)
        assert letter["execution_id"] == run
        stored = await playhead.items("storage/objects", execution_id=name, stage="shouted")
        assert [one["key"] for one in stored] == [f"{run}/shouted/a.md"]
    await playhead.get("search", 404, index="none.db", words="x", execution=run[-8:])


async def test_a_batch_and_a_dead_letter_may_be_named_by_the_end_of_the_id(playhead: Playhead, run: str):
    batch = (await playhead.replay(run, "shouted", "split"))["replay_batch_id"]
    for path in ("replays/{}", "lineage/batch/{}"):
        assert await playhead.get(path.format(batch[-6:])) == await playhead.get(path.format(batch))
    [letter] = await playhead.items("dead-letters")
    whole, end = letter["correlation_id"], letter["correlation_id"][-8:]
    for path in ("dead-letters/{}", "lineage/{}", "lineage/{}/chain"):
        assert await playhead.get(path.format(end)) == await playhead.get(path.format(whole))
    assert await playhead.post(f"dead-letters/{end}/resend", status=202) == {"resent": 1}


async def test_dead_letters_are_selected_by_the_ends_of_ids_and_names_of_executions(
    playhead: Playhead, run: str
):
    [letter] = await playhead.items("dead-letters")
    ends: list[Any] = [letter["correlation_id"][-8:]]
    assert await playhead.post("dead-letters/resend", {"correlation_ids": ends}, 202) == {"resent": 1}
    await playhead.work()
    assert await playhead.post("dead-letters/resend", {"execution_id": "latest"}, 202) == {"resent": 1}


async def test_another_message_needs_its_execution(playhead: Playhead, run: str):
    [done, *_] = await playhead.items(f"executions/{run}/lineage", status="completed")
    end = done["correlation_id"][-8:]
    for path in (f"lineage/{end}", f"lineage/{end}/chain"):
        refused = await playhead.get(path, 404)
        assert refused["error_code"] == "message_not_found"
        assert "name its execution" in refused["detail"]
        await playhead.get(path, execution_id="latest")


async def test_a_key_may_begin_with_any_name_of_an_execution(playhead: Playhead, run: str):
    for name in (run, run[-8:], "latest"):
        found = await playhead.http.get("/api/v1/storage/objects/content", params={"key": f"{name}/input/a"})
        assert found.text == "two words"
        await playhead.get("storage/objects/metadata", key=f"{name}/input/a")
        assert await playhead.items("lineage", object_key=f"{name}/input/a")


async def test_the_body_of_a_replay_has_a_whole_id_as_its_contract_says(playhead: Playhead, run: str):
    body = {"from_execution_id": run[-8:], "from_stage": "shouted", "to_route": "split"}
    refused = await playhead.post("replay", body, 422)
    assert refused["detail"][0]["type"] == "uuid_parsing"
    assert "needs a whole id: not its end, `latest` or `tag:NAME`" in refused["detail"][0]["msg"]
