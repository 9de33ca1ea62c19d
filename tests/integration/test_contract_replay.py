"""The replay contract in every shape: what is taken, where it goes, what is counted, what is said."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from playhead import Context, Item
from playhead.ids import uuid7
from playhead.ports.broker import PublishResult
from playhead.ports.store import Blob
from tests.counted import counts
from tests.inprocess import Playhead, Tampered, opened
from tests.store_memory import MemoryStore
from tests.stored import remove, stored
from tests.waiting import until

DOCS = """
entry: shout
error_handling: {max_attempts: 1}
routes:
  shout:
    adapters: [{type: stamp, config: {text: "!"}}]
    outbound: {stage: shouted, to: [split]}
  split:
    inbound: {queue: cutting}
    adapters: [{type: words}]
    outbound: {stage: boost/compacted, to: [index]}
  index: {adapters: [{type: do}]}
  away: {external: true, inbound: {queue: others}}
"""
OTHER = """
name: other
entry: extra
routes:
  extra: {adapters: [{type: stamp, config: {text: "?"}}], outbound: {stage: asked}}
"""
FILES = {"a-b.txt": "one two", "a.txt": "three", "a/x.txt": "four"}
CUT = ["a-b/0001.txt", "a-b/0002.txt", "a/0001.txt", "a/x/0001.txt"]
NO_ANSWER = PublishResult("uncertain", "no answer")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home in which `docs` has run over `FILES`, and the execution."""
    home = tmp_path_factory.mktemp("ran")

    async def run() -> str:
        async with opened(home) as ph:
            await ph.apply(DOCS)
            await ph.apply(OTHER)
            return await ph.run(FILES)

    return home, asyncio.run(run())


@pytest.fixture
def source(ran: tuple[Path, str]) -> str:
    return ran[1]


@pytest.fixture
async def ph(ran: tuple[Path, str], tmp_path: Path) -> AsyncIterator[Playhead]:
    shutil.copytree(ran[0], tmp_path / "home")
    async with opened(tmp_path / "home") as playhead:
        yield playhead


# -- what is taken ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["boost/compacted", "boost"])
async def test_the_stage_of_an_object_is_the_declared_one_however_it_was_named(
    ph: Playhead, source: str, stage: str
):
    answer = await ph.replay(source, stage, "index")
    assert (answer["objects_found"], answer["from_stage"]) == (4, stage)
    await ph.work(answer["execution_id"])
    assert sorted((s.item.stage, s.path) for s in ph.steps.seen) == [("boost/compacted", p) for p in CUT]


@pytest.mark.parametrize(
    ("path", "taken"),
    [
        (None, ["a-b.txt", "a.txt", "a/x.txt"]),
        ("", ["a-b.txt", "a.txt", "a/x.txt"]),
        ("a", ["a/x.txt"]),
        ("a/", ["a/x.txt"]),
        ("a.txt", ["a.txt"]),
        ("a.txt/", ["a.txt"]),
        ("a/x.txt", ["a/x.txt"]),
    ],
)
async def test_a_path_names_a_folder_or_an_object_and_is_echoed_as_given(
    ph: Playhead, source: str, path: str | None, taken: list[str]
):
    answer = await ph.replay(source, "shouted", "split", path)
    assert answer["from_path"] == path
    assert answer["objects_found"] == answer["objects_published"] == len(taken)
    assert await ph.waiting("cutting") == [f"shouted/{p}" for p in taken]  # in byte order of the keys


@pytest.mark.parametrize("path", ["a.tx", "a-", "x.txt", "a/x", "A", "a.txt/x"])
async def test_a_path_that_is_only_the_beginning_of_a_name_finds_nothing(
    ph: Playhead, source: str, path: str
):
    answer = await ph.replay(source, "shouted", "split", path, status=404)
    assert answer["error_code"] == "no_objects"


async def test_a_path_that_is_an_object_and_a_folder_is_both_and_markers_are_left_out(ph: Playhead):
    """Only stores that are not made of folders can hold that."""
    store, execution = MemoryStore(), uuid7()
    ph.replay_over(store=store)
    for rest in ("pages/b", "pages/b/c", "pages/b/", "pages/b.meta.json", "pages/bc", "pages/b/c.meta.json"):
        await store.write([[Blob(f"{execution}/{rest}", b"x")]])
    answer = await ph.replay(str(execution), "pages", "docs/split", "b")
    assert answer["objects_found"] == 2
    assert await ph.waiting("cutting") == ["pages/b", "pages/b/c"]


async def test_a_stage_never_matches_one_whose_name_it_begins(ph: Playhead):
    execution = uuid7()
    ph.put(execution, "stage1/a.txt")
    ph.put(execution, "stage10/b.txt")
    answer = await ph.replay(str(execution), "stage1", "docs/split")
    assert (answer["objects_found"], await ph.waiting("cutting")) == (1, ["stage1/a.txt"])


async def test_an_object_is_no_stage(ph: Playhead, source: str):
    answer = await ph.replay(source, "shouted/a.txt", "split", status=404)
    assert answer["error_code"] == "stage_not_found"


async def test_objects_put_into_a_known_stage_by_hand_count(ph: Playhead, source: str):
    ph.put(source, "shouted/by-hand.txt", "five six")
    answer = await ph.replay(source, "shouted", "split")
    assert answer["objects_found"] == 4
    await ph.work(answer["execution_id"])
    stored = await ph.stored(answer["execution_id"])
    assert [stored[f"boost/compacted/by-hand/{n}.txt"] for n in ("0001", "0002")] == ["five", "six"]


async def test_a_folder_that_no_config_declares_is_a_stage_all_the_same(ph: Playhead, source: str):
    ph.put(source, "extra/deep/x.txt")
    assert (await ph.replay(source, "extra/deep", "split"))["objects_found"] == 1
    assert await ph.waiting("cutting") == ["extra/deep/x.txt"]


async def test_a_declared_stage_without_objects_is_no_objects(ph: Playhead, source: str):
    for key in stored(ph.objects, f"{source}/shouted"):
        remove(ph.objects, key)
    assert (await ph.replay(source, "shouted", "split", status=404))["error_code"] == "no_objects"


async def test_a_running_execution_is_replayed_as_far_as_it_is(ph: Playhead, source: str):
    execution = await ph.submit(FILES)
    async with ph.working("shout"):
        await until_counts(ph, execution, "completed", 3)
    answer = await ph.replay(execution, "shouted", "split")
    assert (answer["objects_found"], answer["status"]) == (3, "publishing_complete")
    assert (await ph.execution(execution))["status"] == "running"
    async with ph.working():
        first, second = await ph.ended(execution), await ph.ended(answer["execution_id"])
    assert (first["status"], first["counts"]["total"]) == ("completed", 10)
    assert (second["status"], second["counts"]["total"]) == ("completed", 7)


# -- where it goes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "queue"),
    [
        ("split", "cutting"),
        ("docs/split", "cutting"),
        ("other/extra", "other.extra"),
        ("extra", "other.extra"),  # a bare name that the source's config never had
    ],
)
async def test_a_target_is_a_route_or_a_config_and_a_route(
    ph: Playhead, source: str, target: str, queue: str
):
    answer = await ph.replay(source, "shouted", target)
    assert (answer["to_route"], answer["to_queue"]) == (target, queue)
    assert len(await ph.waiting(queue)) == 3


async def test_a_bare_route_is_that_of_the_sources_own_config_before_all_others(ph: Playhead, source: str):
    await ph.apply(OTHER.replace("extra", "split"))
    assert (await ph.replay(source, "shouted", "split"))["to_queue"] == "cutting"


async def test_the_work_of_another_configs_route_is_stored_under_that_config(ph: Playhead, source: str):
    answer = await ph.replay(source, "shouted", "extra", "a.txt")
    await ph.work(answer["execution_id"])
    shown = await ph.execution(answer["execution_id"])
    assert (shown["config"], shown["kind"], shown["parent_execution_id"]) == ("other", "replay", source)
    assert await ph.stored(answer["execution_id"]) == {"asked/a.txt": "three!?"}


async def test_an_ambiguous_bare_route_is_refused_with_the_candidates(ph: Playhead, source: str):
    await ph.apply(OTHER.replace("name: other", "name: third"))
    answer = await ph.replay(source, "shouted", "extra", status=400)
    assert answer["error_code"] == "route_ambiguous"
    assert "other/extra" in answer["detail"]
    assert "third/extra" in answer["detail"]
    await ph.post("configs/third/deactivate")
    assert (await ph.replay(source, "shouted", "extra"))["to_queue"] == "other.extra"


async def test_a_bare_route_that_the_config_has_lost_is_not_looked_for_elsewhere(ph: Playhead, source: str):
    await ph.apply(DOCS.replace("shout:", "cry:").replace("entry: shout", "entry: cry"))
    await ph.apply(OTHER.replace("extra", "shout"))
    answer = await ph.replay(source, "input", "shout", status=404)
    assert answer["error_code"] == "route_not_found"
    assert "earlier version" in answer["detail"]
    assert "cry" in answer["detail"]
    assert (await ph.replay(source, "input", "other/shout"))["to_queue"] == "other.shout"


@pytest.mark.parametrize("target", ["split", "docs/split"])
async def test_a_deactivated_config_takes_no_replay_but_lets_its_objects_go(
    ph: Playhead, source: str, target: str
):
    await ph.post("configs/docs/deactivate")
    assert (await ph.replay(source, "shouted", target, status=409))["error_code"] == "config_inactive"
    assert (await ph.replay(source, "shouted", "other/extra"))["objects_published"] == 3
    await ph.post("configs/docs/activate")
    assert (await ph.replay(source, "shouted", target))["objects_published"] == 3


async def test_the_version_is_that_of_the_moment_of_the_replay(ph: Playhead, source: str):
    """A new version applied while messages wait changes nothing for them."""
    before = (await ph.replay(source, "input", "shout", "a.txt"))["execution_id"]
    await ph.apply(DOCS.replace('"!"', '"#"'))
    after = (await ph.replay(source, "input", "shout", "a.txt"))["execution_id"]
    assert [m.headers["config_version"] for m in await ph.peek("docs.shout")] == ["1", "2"]
    async with ph.working():
        first, second = await ph.ended(before), await ph.ended(after)
    assert (first["config_version"], second["config_version"]) == (1, 2)
    assert (await ph.stored(before))["boost/compacted/a/0001.txt"] == "three!"
    assert (await ph.stored(after))["boost/compacted/a/0001.txt"] == "three#"


# -- executions of other programs ------------------------------------------------------------------


async def test_an_external_execution_is_shown_without_a_row_and_adopted_by_a_replay(ph: Playhead):
    execution = str(uuid7())
    ph.put(execution, "pages/with.txt", "one")
    sidecar = {"content_type": "text/html", "attributes": {"title": "T"}, "unknown": 1}
    ph.put(execution, "pages/with.txt.meta.json", json.dumps(sidecar))
    ph.put(execution, "pages/without.txt", "two")
    known = len(await ph.items("executions"))
    shown = await ph.execution(execution)
    assert (shown["kind"], shown["status"], shown["config"]) == ("adopted", "completed", None)
    assert [s["stage"] for s in await ph.items(f"executions/{execution}/stages")] == ["pages"]
    assert len(await ph.items("storage/objects", execution_id=execution)) == 2
    assert len(await ph.items("executions")) == known
    answer = await ph.replay(execution, "pages", "docs/split")
    assert answer["objects_found"] == 2
    assert {e["kind"] for e in await ph.items("executions")} == {"run", "adopted", "replay"}
    shown = await ph.execution(execution)
    assert (shown["kind"], shown["config_version"], shown["config_hash"]) == ("adopted", None, None)
    await ph.work(answer["execution_id"])
    assert await ph.stored(answer["execution_id"]) == {
        "boost/compacted/with.txt/0001.txt": "one",  # no suffix of the type that its sidecar tells
        "boost/compacted/without/0001.txt": "two",
    }
    replayed = answer["execution_id"]
    for name, attributes in (("with.txt", {"title": "T"}), ("without", {})):
        made = await ph.get("storage/objects/metadata", key=f"{replayed}/boost/compacted/{name}/0001.txt")
        assert made["attributes"] == attributes


async def test_external_objects_outside_the_stages_are_in_no_listing_and_no_replay(ph: Playhead):
    execution = str(uuid7())
    ph.put(execution, "pages/x.txt")
    ph.put(execution, "input")
    assert [s["stage"] for s in await ph.items(f"executions/{execution}/stages")] == ["pages"]
    assert (await ph.replay(execution, "input", "docs/split", status=404))["error_code"] == "no_objects"


async def test_what_others_made_has_ended_before_and_after_it_is_adopted(ph: Playhead):
    execution = str(uuid7())
    ph.put(execution, "pages/x.txt")
    for _ in range(2):
        body = await ph.post(f"executions/{execution}/cancel", status=409)
        assert body["error_code"] == "execution_ended"
        assert await ph.post("dead-letters/resend", {"execution_id": execution}, 202) == {"resent": 0}
        await ph.replay(execution, "pages", "docs/split")
    body = await ph.post(f"executions/{uuid7()}/cancel", status=404)
    assert body["error_code"] == "execution_not_found"


async def test_a_bare_route_from_an_adopted_execution_is_looked_up_in_all_configs(ph: Playhead):
    execution = str(uuid7())
    ph.put(execution, "pages/x.txt")
    assert (await ph.replay(execution, "pages", "split"))["to_queue"] == "cutting"
    assert (await ph.replay(execution, "pages", "extra"))["to_queue"] == "other.extra"


async def test_a_refused_replay_adopts_nothing(ph: Playhead):
    execution = str(uuid7())
    ph.put(execution, "pages/x.txt")
    known = len(await ph.items("executions"))
    await ph.replay(execution, "pages", "nowhere", status=404)
    await ph.replay(execution, "pages", "split", "gone", status=404)
    assert len(await ph.items("executions")) == known


async def test_a_replay_succeeds_though_the_step_before_its_stage_is_broken_now(ph: Playhead, source: str):
    def broken(item: Item, ctx: Context) -> None:
        if ctx.route == "shout":
            raise RuntimeError("broken after the first run")

    ph.steps.doing = broken
    await ph.apply(DOCS.replace('type: stamp, config: {text: "!"}', "type: do"))

    again = (await ph.replay(source, "shouted", "split"))["execution_id"]
    await ph.work(again)
    failing = (await ph.replay(source, "input", "shout"))["execution_id"]
    await ph.work(failing)

    assert (await ph.execution(again))["status"] == "completed"
    assert {row["route"] for row in await ph.messages(again)} == {"split", "index"}
    assert (await ph.execution(failing))["status"] == "failed"


# -- replays of replays ----------------------------------------------------------------------------


async def test_a_replay_of_a_replay_reads_its_outputs_and_has_it_as_parent(ph: Playhead, source: str):
    executions = [source]
    for stage, route in (("input", "shout"), ("shouted", "shout"), ("shouted", "split")):
        answer = await ph.replay(executions[-1], stage, route, "a.txt")
        assert answer["objects_found"] == 1
        executions.append(answer["execution_id"])
        await ph.work(executions[-1])
    last = executions[-1]
    assert (await ph.stored(last))["boost/compacted/a/0001.txt"] == "three!!"
    shown = await ph.execution(last)
    assert (shown["kind"], shown["parent_execution_id"]) == ("replay", executions[-2])


async def test_all_that_descends_from_a_replay_belongs_to_its_batch(ph: Playhead, source: str):
    answer = await ph.replay(source, "input", "shout")
    await ph.work(answer["execution_id"])
    batch = answer["replay_batch_id"]
    rows = await ph.items(f"lineage/batch/{batch}")
    assert Counter(r["route"] for r in rows) == {"shout": 3, "split": 3, "index": 4}
    assert {r["replay_batch_id"] for r in rows} == {batch}
    assert {str(s.ctx.replay) for s in ph.steps.seen} == {batch}
    sidecar = await ph.get("storage/objects/metadata", key=f"{answer['execution_id']}/shouted/a.txt")
    assert (sidecar["replay_batch_id"], sidecar["source_key"]) == (batch, f"{source}/input/a.txt")


async def test_the_source_is_not_touched(ph: Playhead, source: str):
    before = (await ph.execution(source), await ph.messages(source), await ph.stored(source))
    await ph.work((await ph.replay(source, "input", "shout"))["execution_id"])
    assert (await ph.execution(source), await ph.messages(source), await ph.stored(source)) == before


# -- what travels ----------------------------------------------------------------------------------


async def test_a_replayed_message_has_the_pinned_headers_id_and_payload(ph: Playhead, source: str):
    answer = await ph.replay(source, "shouted", "split", "a.txt")
    [message] = await ph.peek("cutting")
    [row] = await ph.messages(answer["execution_id"])
    assert message.headers == {
        "execution_id": answer["execution_id"],
        "correlation_id": row["correlation_id"],
        "replay_batch_id": answer["replay_batch_id"],
        "config": "docs",
        "config_version": "1",
        "route": "split",
    }
    assert message.payload == {"object_key": f"{source}/shouted/a.txt"}
    [delivery] = await ph.rt.broker.receive("cutting", 10)
    assert delivery.message_id == f"{row['correlation_id']}.0"
    assert UUID(row["correlation_id"]).version == 7


# -- unavailable backends --------------------------------------------------------------------------


@pytest.mark.slow
async def test_unconfirmed_messages_count_as_failed_and_are_settled_later(ph: Playhead, source: str):
    broker = Tampered(ph.rt.broker)
    ph.replay_over(broker=broker, settle=1)
    broker.instead = lambda dispatch: NO_ANSWER
    answer = await ph.replay(source, "shouted", "split")
    numbers = (answer["objects_found"], answer["objects_published"], answer["objects_failed"])
    assert (numbers, answer["status"]) == ((3, 0, 3), "partial_failure")
    assert sorted(answer["errors"]) == [
        f"{source}/shouted/{path}: uncertain, will be settled: no answer" for path in sorted(FILES)
    ]
    batch = answer["replay_batch_id"]
    shown = await ph.get(f"replays/{batch}")
    assert (shown["state"], shown["status"]) == ("publishing", None)
    broker.instead = lambda dispatch: None
    await until_published(ph, batch)
    shown = await ph.get(f"replays/{batch}")
    assert (shown["objects_published"], shown["objects_failed"], shown["errors"]) == (3, 0, None)
    assert (shown["state"], shown["status"]) == ("publishing_complete", "publishing_complete")
    await ph.work(answer["execution_id"])
    assert (await ph.execution(answer["execution_id"]))["counts"]["completed"] == 7


async def test_what_the_broker_refuses_is_counted_exactly(ph: Playhead):
    """Every seventh of twenty."""
    execution = uuid7()
    for n in range(20):
        ph.put(execution, f"pages/{n:02}.txt", "word")
    broker = Tampered(ph.rt.broker)
    ph.replay_over(broker=broker)
    refused = {f"pages/{n:02}.txt" for n in (6, 13)}
    broker.instead = lambda dispatch: (
        PublishResult("refused", "too odd") if dispatch.object_key.partition("/")[2] in refused else None
    )
    answer = await ph.replay(str(execution), "pages", "docs/split")
    numbers = (answer["objects_found"], answer["objects_published"], answer["objects_failed"])
    assert (numbers, answer["status"]) == ((20, 18, 2), "partial_failure")
    assert len(answer["errors"]) == 2
    assert all("too odd" in line for line in answer["errors"])
    assert len(await ph.waiting("cutting")) == 18
    replayed = answer["execution_id"]
    await ph.work(replayed)
    ended = await ph.execution(replayed)
    assert (ended["status"], ended["counts"]["failed"], ended["counts"]["completed"]) == ("failed", 2, 36)
    assert await ph.dead(replayed) == dict.fromkeys(refused, "publish_refused")
    # Sent again, they are worked, and the numbers of the replay are better for it.
    assert (await ph.post("dead-letters/resend", {"execution_id": replayed}, 202))["resent"] == 2
    await ph.work(replayed)
    assert (await ph.execution(replayed))["counts"]["completed"] == 40
    shown = await ph.get(f"replays/{answer['replay_batch_id']}")
    assert (shown["objects_published"], shown["objects_failed"], shown["errors"]) == (20, 0, None)


@pytest.mark.slow
async def test_a_late_answer_duplicates_no_work(ph: Playhead, source: str):
    """The broker takes every message, but what it says is not heard at first: they are sent again."""
    broker = Tampered(ph.rt.broker)
    broker.answer = lambda dispatch: NO_ANSWER
    ph.replay_over(broker=broker, settle=1)
    answer = await ph.replay(source, "shouted", "split")
    assert (answer["objects_published"], answer["objects_failed"]) == (0, 3)
    broker.answer = lambda dispatch: None
    await until_published(ph, answer["replay_batch_id"])
    assert len(broker.sent) > 3
    await ph.work(answer["execution_id"])
    ended = await ph.execution(answer["execution_id"])
    assert (ended["status"], ended["counts"]["completed"], ended["counts"]["total"]) == ("completed", 7, 7)
    assert {r["attempts"] for r in await ph.messages(answer["execution_id"])} == {1}
    shown = await ph.get(f"replays/{answer['replay_batch_id']}")
    assert (shown["objects_found"], shown["objects_published"], shown["objects_failed"]) == (3, 3, 0)


async def test_a_worker_that_has_a_message_settles_it(ph: Playhead, source: str):
    broker = Tampered(ph.rt.broker)
    broker.answer = lambda dispatch: NO_ANSWER
    ph.replay_over(broker=broker, settle=1)
    answer = await ph.replay(source, "shouted", "split")
    await ph.work(answer["execution_id"])  # though no publish was ever confirmed
    await until_published(ph, answer["replay_batch_id"])
    assert (await ph.execution(answer["execution_id"]))["counts"]["completed"] == 7


# -- who waits, and who stops ----------------------------------------------------------------------


async def test_a_cancelled_replay_answers_those_who_wait_and_publishes_nothing_more(
    ph: Playhead, source: str
):
    broker = Tampered(ph.rt.broker)
    broker.instead = lambda dispatch: NO_ANSWER if dispatch.object_key.endswith("/a.txt") else None
    ph.replay_over(broker=broker)
    calling = asyncio.create_task(ph.replay(source, "shouted", "split"))
    batch = await until_recorded(ph, source, 3)
    execution = (await ph.get(f"replays/{batch}"))["execution_id"]
    assert (await ph.post(f"executions/{execution}/cancel"))["status"] == "cancelled"
    answer = await calling
    assert answer["status"] == "partial_failure"
    assert answer["objects_found"] == 3 == answer["objects_published"] + answer["objects_failed"]
    assert any("cancelled" in line for line in answer["errors"])
    broker.instead = lambda dispatch: None
    sent = len(broker.sent)
    for _ in range(2):
        await ph.rt.reconciler.cycle()
        await ph.rt.reconciler.find_lost()
    await ph.rt.work(until_idle=True)
    assert len(broker.sent) == sent
    shown = await ph.execution(execution)
    assert shown["counts"] == counts(cancelled=3)
    assert await ph.stored(execution) == {}
    assert (await ph.get(f"replays/{batch}"))["state"] == "cancelled"


# -- within ----------------------------------------------------------------------------------------


async def until_counts(ph: Playhead, execution: str, name: str, number: int) -> None:
    async def there() -> bool:
        return bool((await ph.execution(execution))["counts"][name] == number)

    await until(there)


async def until_published(ph: Playhead, batch: str) -> None:
    """Until nothing of a replay is failed or uncertain."""

    async def there() -> bool:
        return bool((await ph.get(f"replays/{batch}"))["status"] == "publishing_complete")

    await until(there)


async def until_recorded(ph: Playhead, source: str, number: int) -> str:
    """Wait until a replay from `source` has found this number of objects; return its batch."""

    async def there() -> bool:
        found = await ph.items("replays", from_execution_id=source)
        return bool(found) and found[0]["objects_found"] == number

    await until(there)
    return str((await ph.items("replays", from_execution_id=source))[0]["replay_batch_id"])
