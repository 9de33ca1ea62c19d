"""Prune and retention in a whole Playhead: what is deleted, what is kept, and what is answered afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from playhead import Item, Reject, acting
from playhead.errors import Forbidden
from playhead.ids import uuid7
from playhead.model import PruneFilter
from playhead.model.access import Caller
from playhead.ports.catalog.access import AuditFilter
from tests.inprocess import Playhead, opened
from tests.stored import is_stored, put, stored
from tests.waiting import until

CONFIG = """
entry: one
{retention}
routes:
  one:
    adapters: [{{type: do}}]
    outbound: {{stage: ones, to: [two]}}
    error_handling: {{max_attempts: 1}}
  two:
    adapters: [{{type: stamp}}]
    outbound: {{stage: twos}}
"""
FILES = {"a.txt": "a", "folder/b.txt": "bb"}


def _do(item: Item, ctx: Any) -> Any:
    if item.path.startswith("bad"):
        raise Reject("bad")
    return item.data


@pytest.fixture
async def ph(tmp_path: Path) -> AsyncIterator[Playhead]:
    async with opened(tmp_path, lease_seconds=0.1) as playhead:
        playhead.steps.doing = _do
        await playhead.apply(CONFIG.format(retention=""))
        yield playhead


async def prune(ph: Playhead, *executions: str, **where: Any) -> Any:
    body = {"execution_ids": list(executions)} if executions else {}
    return await ph.post("prune", body | where, 200)


async def pruned(ph: Playhead, *executions: str, **where: Any) -> Any:
    """Prune, and wait until everything is deleted."""
    answer = await prune(ph, *executions, **where)
    await until_deleted(ph)
    return answer


async def until_deleted(ph: Playhead) -> None:
    async def deleted() -> bool:
        return not await ph.rt.catalog.open_prunings()

    await until(deleted)


def files(ph: Playhead, execution: str) -> list[str]:
    return sorted(key.partition("/")[2] for key in stored(ph.objects, execution))


async def test_a_prune_deletes_objects_sidecars_and_folders_and_keeps_the_records(ph: Playhead):
    execution, other = await ph.run(FILES), await ph.run(FILES)
    before, messages = await ph.execution(execution), await ph.messages(execution)
    kept = files(ph, other)
    dry = await prune(ph, execution, dry_run=True)
    assert (dry["executions"], dry["objects"], dry["bytes"]) == (1, 6, 3 + 3 + 5)
    assert (dry["dry_run"], dry["is_deleted"], dry["execution_ids"]) == (True, False, [execution])
    assert len(files(ph, execution)) == 12

    answer = await pruned(ph, execution)

    assert answer == dry | {"dry_run": False}
    assert not stored(ph.objects, execution)
    assert files(ph, other) == kept
    assert len(kept) == 12
    shown = await ph.execution(execution)
    [gone] = shown.pop("pruned")
    assert before.pop("pruned") == []
    assert shown == before
    assert gone["stage"] is None
    for message in await ph.messages(execution):
        assert message["outputs_pruned_at"] == message["input_pruned_at"] == gone["pruned_at"]
    assert [m["output_keys"] for m in await ph.messages(execution)] == [m["output_keys"] for m in messages]
    assert (await prune(ph, execution))["executions"] == 0


async def test_answers_say_when_an_object_was_pruned(ph: Playhead):
    execution = await ph.run(FILES)
    key = f"{execution}/ones/a.txt"
    sidecar = await ph.get("storage/objects/metadata", key=key)
    await pruned(ph, execution)
    [gone] = (await ph.execution(execution))["pruned"]
    when = gone["pruned_at"]

    refused = await ph.get("storage/objects/content", 410, key=key)
    assert refused["error_code"] == "object_pruned"
    assert when in refused["detail"]
    assert sidecar["sha256"] in refused["detail"]
    known = await ph.get("storage/objects/metadata", key=key)
    assert known == {name: sidecar[name] for name in known if name != "pruned_at"} | {"pruned_at": when}
    assert {"size", "sha256", "content_type", "correlation_id", "attributes"} <= known.keys()
    assert await ph.items("storage/objects", execution_id=execution) == []
    refused = await ph.replay(execution, "ones", "two", status=409)
    assert refused["error_code"] == "stage_pruned"
    assert when in refused["detail"]
    why = await ph.get(f"executions/{execution}/why", path="a.txt")
    assert why["outcome"] == "pruned"
    assert why["explanation"] == (
        f"1 of 2 messages, route one: outputs were in stage ones, and were pruned on {when}"
    )
    last = await ph.get(f"executions/{execution}/why", path="twos/a.txt")
    assert (last["outcome"], last["explanation"]) == ("pruned", f"the object was pruned on {when}")
    chain = await ph.items("lineage/chain", object_key=f"{execution}/twos/a.txt", direction="down")
    assert chain == []
    chain = await ph.items("lineage/chain", object_key=f"{execution}/twos/a.txt", direction="up")
    assert [link["route"] for link in chain] == ["one", "two"]


async def test_objects_of_other_programs_stay(ph: Playhead):
    execution = await ph.run(FILES)
    own = ph.put(execution, "ones/external.txt")
    adopted = str(uuid7())
    other = ph.put(adopted, "found/x.txt")
    unknown = ph.put(uuid7(), "found/x.txt")
    await ph.replay(adopted, "found", "docs/two")
    await ph.work((await ph.items("executions"))[0]["execution_id"])

    answer = await pruned(ph, older_than_seconds=0)

    assert answer["executions"] == 2
    assert answer["kept"] == []
    assert [is_stored(ph.objects, key) for key in (own, other, unknown)] == [True, True, True]
    assert files(ph, execution) == ["ones/external.txt"]
    named = await prune(ph, adopted, unknown.partition("/")[0])
    assert {one["reason"] for one in named["kept"]} == {"adopted"}
    assert named["executions"] == 0
    assert (await ph.post("prune", {"execution_ids": [str(uuid7())]}, 404))["error_code"] == (
        "execution_not_found"
    )
    refused = await ph.post(f"executions/{unknown.partition('/')[0]}/pin", None, 409)
    assert "another program" in refused["detail"]


def limited(*configs: str) -> acting.Acting:
    return acting.Acting(Caller("key", "k", "ci", frozenset({"prune"}), frozenset(configs)), "http")


async def test_a_limited_caller_prunes_only_what_is_inside_its_limit(ph: Playhead):
    await ph.apply("name: other\n" + CONFIG.format(retention=""))
    own, other, adopted = await ph.run(FILES), await ph.run(FILES, config="other"), uuid7()
    ph.put(adopted, "found/x.txt")
    ids = [UUID(own), UUID(other)]
    outside: list[dict[str, Any]] = [
        {"config": "other"},
        {"older_than_seconds": 0.0},
        {"keep_last": 1},
        {"execution_ids": [ids[1]]},
        {"execution_ids": ids},
        {"execution_ids": [ids[0], adopted]},
        {"execution_ids": [adopted]},
        {"execution_ids": [ids[1]], "records": True},
    ]
    service = ph.rt.services.prune

    with acting.acting(limited("docs")):
        for where in outside:
            for ask in (service.plan, service.begin, service.prune):
                with pytest.raises(Forbidden) as refused:
                    await ask(PruneFilter(**where))
                assert refused.value.code == "outside_limit", where
        assert not await ph.rt.catalog.audit(AuditFilter(action="prune"))
        assert (await service.prune(PruneFilter(config="docs", execution_ids=ids))).execution_ids == ids[:1]
    with acting.acting(limited("docs", "other")):
        assert (await service.prune(PruneFilter(execution_ids=ids))).execution_ids == ids[1:]

    assert not stored(ph.objects, own)
    assert is_stored(ph.objects, f"{adopted}/found/x.txt")


async def test_a_dead_letter_of_a_replay_whose_input_was_pruned_dies_again_and_says_when(ph: Playhead):
    execution = await ph.run({"a.txt": "a", "bad.txt": "b"})
    replay = (await ph.replay(execution, "input", "one"))["execution_id"]
    await ph.work(replay)
    await pruned(ph, execution)
    [gone] = (await ph.execution(execution))["pruned"]

    assert await ph.post("dead-letters/resend", {"execution_id": replay}, 202) == {"resent": 1}
    await ph.work(replay)

    assert await ph.dead(replay) == {"input/bad.txt": "object_pruned"}
    [letter] = await ph.items("dead-letters", execution_id=replay)
    assert gone["pruned_at"] in letter["error"]
    refused = await ph.post("dead-letters/resend", {"execution_id": execution}, 409)
    assert refused["error_code"] == "execution_pruned"
    assert await ph.post("dead-letters/resend", {"route": "one"}, 202) == {"resent": 1}


async def test_an_object_that_was_stored_late_is_deleted_too(ph: Playhead):
    """A write that was suspended for long may end after its object was deleted."""
    execution = await ph.run(FILES)
    service, store = ph.rt.services.prune, ph.rt.store
    delete, late = store.delete, f"{execution}/ones/a.txt"

    async def delete_and_store_again(keys: Any) -> None:
        await delete(keys)
        if not is_stored(ph.objects, late) and keys:
            store.delete = delete  # type: ignore[method-assign]
            put(ph.objects, late, b"a")

    store.delete = delete_and_store_again  # type: ignore[method-assign]
    await pruned(ph, execution)
    assert service
    assert files(ph, execution) == []


async def test_inputs_that_are_written_after_their_run_was_pruned_are_deleted(ph: Playhead):
    """The process of an upload may be suspended for long while it writes."""
    store = ph.rt.store
    write = store.write

    async def write_late(groups: Any, *, written: Any = None) -> Any:
        store.write = write  # type: ignore[method-assign]
        [run] = await ph.items("executions")
        await ph.rt.services.recover.cancel(UUID(run["execution_id"]))
        assert (await pruned(ph, run["execution_id"]))["objects"] == 1
        return await write(groups)

    store.write = write_late  # type: ignore[method-assign]
    refused = await ph.http.post("/api/v1/configs/docs/run", json={"payload": 1})
    assert refused.json()["error_code"] == "execution_ended"
    await until(lambda: not stored(ph.objects))


async def test_an_execution_that_is_replayed_while_a_prune_begins_is_named_as_kept(ph: Playhead):
    execution, catalog = await ph.run(FILES), ph.rt.catalog
    begin = catalog.begin_prune

    async def replay_first(candidates: Any) -> Any:
        await ph.replay(execution, "ones", "two")
        return await begin(candidates)

    catalog.begin_prune = replay_first  # type: ignore[method-assign]
    answer = await prune(ph, execution)
    assert answer["executions"] == 0
    assert answer["kept"] == [{"execution_id": execution, "reason": "replayed"}]


# -- retention -------------------------------------------------------------------------------------


async def test_retention_prunes_what_is_older_than_keep_days(ph: Playhead):
    old = await ph.run(FILES)
    assert (await ph.execution(old))["replayable_until"] is None
    await ph.apply(CONFIG.format(retention="retention: {keep_days: 30}"))
    shown = await ph.execution(old)
    assert shown["replayable_until"][:10] > shown["ended_at"][:10]
    assert await ph.rt.reconciler.cycle(), "it has the lease"
    await ph.rt._retain()
    assert len(files(ph, old)) == 12
    await ph.apply(CONFIG.format(retention="retention: {keep_days: 0.00001}"))
    await until(lambda: not stored(ph.objects, old))
    await until_deleted(ph)
    [gone] = (await ph.execution(old))["pruned"]
    assert gone["stage"] is None
    assert (await ph.execution(old))["replayable_until"] is None


async def test_workers_apply_no_retention_that_only_servers_apply(tmp_path: Path):
    settings: dict[str, Any] = {"lease_seconds": 0.1, "retention": "server"}
    async with opened(tmp_path, **settings) as worker:
        worker.steps.doing = _do
        await worker.apply(CONFIG.format(retention="retention: {keep_days: 0.0000001}"))
        old = await worker.run(FILES)
        assert await worker.rt.reconciler.cycle(), "it has the lease of the reconciler"
        await worker.rt._retain()
        assert len(files(worker, old)) == 12
        async with opened(tmp_path, kind="serve", **settings):
            await until(lambda: not stored(worker.objects, old))


async def test_stages_are_what_retention_deletes(ph: Playhead):
    execution = await ph.run(FILES)
    retention = "retention: {keep_days: 0.00001, stages: [ones, input]}"
    await ph.apply(CONFIG.format(retention=retention))
    await until(lambda: not stored(ph.objects, f"{execution}/ones"))
    await until_deleted(ph)
    assert {key.partition("/")[0] for key in files(ph, execution)} == {"twos"}
    assert {one["stage"] for one in (await ph.execution(execution))["pruned"]} == {"input", "ones"}


async def test_an_object_that_cannot_be_deleted_delays_no_other_execution(ph: Playhead):
    stuck, free = await ph.run(FILES), await ph.run(FILES)
    put(ph.objects, f"{stuck}/ones/a.txt", b"a")  # a file, in a folder that can refuse to remove it
    folder = ph.objects / stuck / "ones"
    if not _protect(folder):
        pytest.skip("this user may delete everything")
    try:
        await prune(ph, stuck, free)
        await until(lambda: not stored(ph.objects, free))
        assert (ph.objects / stuck / "ones/a.txt").exists()
        await ph.replay(stuck, "ones", "two", status=409)
    finally:
        folder.chmod(0o700)
    await until(lambda: not stored(ph.objects, stuck))


def _protect(folder: Path) -> bool:
    folder.chmod(0o500)
    with suppress(PermissionError):
        (folder / "probe").touch()
        (folder / "probe").unlink()
        folder.chmod(0o700)
        return False
    return True
