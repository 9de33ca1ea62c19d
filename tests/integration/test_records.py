"""What is answered after the records of an execution were deleted, in a whole Playhead."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any
from uuid import UUID

import pytest

from playhead.environment import Environment
from playhead.errors import NotFound
from playhead.services.diff import DiffService
from playhead.services.lineage import LineageService
from playhead.services.why import WhyService
from tests.inprocess import Playhead
from tests.integration.test_prune import (
    CONFIG,
    FILES,
    ph as ph,  # the fixture
    prune,
    pruned,
    until_deleted,
)
from tests.lab import Wrapper
from tests.stored import stored
from tests.waiting import until


async def deleted(ph: Playhead, execution: str) -> str:
    """Prune an execution and delete its records; returns when."""
    await pruned(ph, execution)
    await pruned(ph, execution, records=True)
    when = (await ph.execution(execution))["records_deleted_at"]
    assert isinstance(when, str)
    return when


async def test_a_dry_run_counts_the_records(ph: Playhead):
    execution, other = await ph.run(FILES), await ph.run(FILES)
    await pruned(ph, execution)

    dry = await prune(ph, config="docs", records=True, dry_run=True)

    assert (dry["executions"], dry["records"], dry["objects"]) == (1, 4 + 6, 0)
    assert len(await ph.messages(execution)) == 4
    answer = await pruned(ph, config="docs", records=True)
    assert answer == dry | {"dry_run": False}
    assert len(await ph.messages(other)) == 4
    kept = (await prune(ph, other, records=True))["kept"]
    assert kept == [{"execution_id": other, "reason": "stored"}]


async def test_the_counts_of_the_execution_remain(ph: Playhead):
    execution = await ph.run({**FILES, "bad.txt": "b"})
    before = await ph.execution(execution)
    routes = await ph.items(f"executions/{execution}/routes")

    when = await deleted(ph, execution)

    after = await ph.execution(execution)
    [gone] = after["pruned"]
    assert after == before | {"pruned": [gone], "records_deleted_at": when}
    assert after["counts"]["failed"] == 1
    assert await ph.items(f"executions/{execution}/routes") == routes
    assert [one["execution_id"] for one in await ph.items("executions")] == [execution]


READERS: list[tuple[str, dict[str, str]]] = [
    ("executions/{0}/lineage", {}),
    ("executions/{0}/code", {}),
    ("executions/{0}/why", {"path": "a.txt"}),
    ("executions/{0}/diff/{1}", {}),
    ("executions/{1}/diff/{0}", {}),
    ("dead-letters", {"execution_id": "{0}"}),
    ("dead-letters/groups", {"execution_id": "{0}"}),
    ("storage/objects/content", {"key": "{0}/ones/a.txt"}),
    ("storage/objects/metadata", {"key": "{0}/ones/a.txt"}),
    ("lineage", {"object_key": "{0}/ones/a.txt"}),
    ("lineage/chain", {"object_key": "{0}/ones/a.txt"}),
    ("lineage/chain/summary", {"object_key": "{0}/ones/a.txt"}),
    ("lineage/counts", {"object_key": "{0}/ones/a.txt"}),
]


async def test_readers_say_when_the_records_were_deleted(ph: Playhead):
    execution, other = await ph.run(FILES), await ph.run(FILES)
    when = await deleted(ph, execution)

    for path, query in READERS:
        query = {name: value.format(execution) for name, value in query.items()}
        refused = await ph.get(path.format(execution, other), 410, **query)

        assert refused["error_code"] == "records_deleted", path
        assert when in refused["detail"], path
        assert execution in refused["detail"], path


async def test_a_replay_of_a_deleted_execution_says_that_what_is_above_is_not_known(ph: Playhead):
    source = await ph.run(FILES)
    replay = (await ph.replay(source, "ones", "two"))["execution_id"]
    await ph.work(replay)
    when = await deleted(ph, source)

    roots = await ph.messages(replay)
    assert {one["input_records_deleted_at"] for one in roots} == {when}
    key = f"{replay}/twos/a.txt"
    [link] = await ph.items("lineage/chain", object_key=key, direction="up")
    assert link["input_records_deleted_at"] == when
    summary = await ph.get("lineage/chain/summary", object_key=key)
    assert (len(summary["groups"]), summary["records_deleted_at"]) == (1, when)
    below = await ph.get("lineage/counts", object_key=f"{source}/ones/a.txt")
    assert (below["messages"], below["is_complete"]) == (1, False)
    why = await ph.get(f"executions/{replay}/why", path="a.txt")
    assert (why["outcome"], why["records_deleted_at"]) == ("completed", when)
    assert [one["route"] for one in why["routes"]] == ["two"]
    refused = await ph.get(f"executions/{replay}/why", 410, path="other.txt")
    assert refused["error_code"] == "records_deleted"


async def test_what_failed_in_a_replay_cannot_be_selected_without_its_records(ph: Playhead):
    source = await ph.run({"a.txt": "a", "bad.txt": "b"})
    first = await ph.replay(source, "input", "one")
    await ph.work(first["execution_id"])
    await deleted(ph, first["execution_id"])
    batch = first["replay_batch_id"]

    body = {"from_execution_id": source, "from_stage": "input", "to_route": "one", "from_path": None}
    refused = await ph.post("replay", body | {"only": "failed", "in_replay": batch}, 410)

    assert refused["error_code"] == "records_deleted"
    shown = await ph.get(f"replays/{batch}")
    assert shown["records_deleted_at"] is not None
    assert (shown["objects_published"], shown["report"]) == (2, "none")
    assert (await ph.get(f"replays/{batch}/report", 410))["error_code"] == "records_deleted"
    assert (await ph.get(f"lineage/batch/{batch}", 410))["error_code"] == "records_deleted"
    refused = await ph.post("dead-letters/resend", {"execution_id": first["execution_id"]}, 410)
    assert refused["error_code"] == "records_deleted"


async def test_a_resent_dead_letter_says_that_its_input_was_pruned(ph: Playhead):
    source = await ph.run({"a.txt": "a", "bad.txt": "b"})
    replay = (await ph.replay(source, "input", "one"))["execution_id"]
    await ph.work(replay)
    when = await deleted(ph, source)

    assert await ph.post("dead-letters/resend", {"execution_id": replay}, 202) == {"resent": 1}
    await ph.work(replay)

    assert await ph.dead(replay) == {"input/bad.txt": "object_pruned"}
    [letter] = await ph.items("dead-letters", execution_id=replay)
    assert when in letter["error"]


class Late(Wrapper):
    """A catalog in which the records of an execution are deleted while a reader reads them."""

    def __init__(self, ph: Playhead, execution: str, during: str) -> None:
        super().__init__(ph.rt.catalog)

        async def read(*args: Any, **given: Any) -> Any:
            if not await ph.rt.catalog.records_deleted([UUID(execution)]):
                await deleted(ph, execution)
            return await getattr(self.wrapped, during)(*args, **given)

        setattr(self, during, read)


async def test_readers_say_so_if_records_are_deleted_while_they_read(ph: Playhead):
    def lineage(one: str, other: str) -> Awaitable[object]:
        return LineageService(Late(ph, one, "lineage_list"), ph.rt.store).list(execution=UUID(one))

    def diff(one: str, other: str) -> Awaitable[object]:
        catalog = Late(ph, one, "recorded")
        return DiffService(catalog, ph.rt.store, Environment("reader")).summary(UUID(other), UUID(one))

    def objects(one: str, other: str) -> Awaitable[object]:
        catalog = Late(ph, one, "recorded")
        return DiffService(catalog, ph.rt.store, Environment("reader")).objects(UUID(other), UUID(one))

    def why(one: str, other: str) -> Awaitable[object]:
        return WhyService(Late(ph, one, "takers"), ph.rt.store).explain(UUID(one), "a.txt")

    for reader in (lineage, diff, objects, why):
        one, other = await ph.run(FILES), await ph.run(FILES)
        with pytest.raises(NotFound) as refused:
            await reader(one, other)
        assert refused.value.code == "records_deleted", reader


async def test_retention_deletes_records_after_their_objects(ph: Playhead):
    execution = await ph.run(FILES)
    retention = "retention: {keep_days: 0.00001, records: 90 days}"
    await ph.apply(CONFIG.format(retention=retention))
    # The objects of the second one are deleted by a later round than those of the first.
    for one in (execution, await ph.run(FILES)):
        await until(lambda one=one: not stored(ph.objects, one))  # type: ignore[misc]
        await until_deleted(ph)
    assert len(await ph.messages(execution)) == 4

    await ph.apply(CONFIG.format(retention=retention.replace("90", "0.00001")))

    async def is_deleted() -> bool:
        return (await ph.execution(execution))["records_deleted_at"] is not None

    await until(is_deleted)
    await until_deleted(ph)
    assert (await ph.execution(execution))["counts"]["completed"] == 4
