"""Names of executions, replay batches, messages and keys, over the in-memory catalog."""

from __future__ import annotations

from uuid import UUID

import pytest

from playhead.errors import BadRequest, NotFound
from playhead.model import Config, Route
from playhead.services.resolve import ResolveService
from tests.catalog_memory import MemoryCatalog
from tests.lab import Lab

OTHER = Config("other", "keep", {"keep": Route("keep", "other.keep")})


@pytest.fixture
async def lab() -> Lab:
    lab = Lab(MemoryCatalog(), lambda: 0)  # type: ignore[arg-type]
    await lab.beat("w1", "w2")
    return lab


@pytest.fixture
def names(lab: Lab) -> ResolveService:
    return ResolveService(lab.catalog)


async def run_with_id(lab: Lab, identity: UUID) -> UUID:
    version = await lab.save()
    await lab.catalog.open_run(identity, "docs", version, tags=(), owner="w1", lease=lab.LEASE)
    return identity


async def test_latest_is_the_newest_run_and_never_a_replay(lab: Lab, names: ResolveService):
    first, second = await lab.sealed("a.md"), await lab.sealed("a.md")
    replay = await lab.replayed(first)
    assert await names.execution("latest") == await names.execution("latest:run") == second
    assert await names.execution("latest:replay") == replay.execution_id


async def test_latest_with_a_config_is_the_newest_run_of_that_config(lab: Lab, names: ResolveService):
    run = await lab.sealed("a.md")
    other = await lab.sealed("a.md", config=OTHER)
    await lab.replayed(run)
    assert await names.execution("latest:docs") == run
    assert await names.execution("latest:other") == await names.execution("latest") == other


async def test_a_replay_is_named_by_its_batch_by_its_execution_and_by_the_end_of_either(
    lab: Lab, names: ResolveService
):
    replay = await lab.replayed(await lab.sealed("a.md"))
    batch, execution = replay.replay_batch_id, replay.execution_id
    for name in (str(batch), batch.hex.upper(), batch.hex[-8:], str(execution), execution.hex[-8:]):
        assert await names.replay(name) == batch
    newer = await lab.replayed(replay.from_execution_id)
    assert await names.replay("latest") == await names.replay("latest:replay") == newer.replay_batch_id


@pytest.mark.parametrize(
    ("name", "why"),
    [("latest", "no replay yet"), ("7f3a91c2", "ends with 7f3a91c2"), ("tag:t", "does not name a replay")],
)
async def test_a_name_of_no_replay_is_not_found(names: ResolveService, name: str, why: str):
    with pytest.raises(NotFound, match=why) as raised:
        await names.replay(name)
    assert raised.value.code == "replay_not_found"


async def test_a_run_is_not_a_replay_and_the_error_lists_its_replays(lab: Lab, names: ResolveService):
    run = await lab.sealed("a.md")
    for name in (str(run), run.hex[-8:]):
        with pytest.raises(NotFound, match=f"playhead replays {run}") as raised:
            await names.replay(name)
        assert raised.value.code == "replay_not_found"


async def test_a_tag_names_the_newest_execution_with_it(lab: Lab, names: ResolveService):
    await lab.sealed("a.md", tags=["t"])
    newest = await lab.sealed("a.md", tags=["t"])
    await lab.sealed("a.md")
    assert await names.execution("tag:t") == newest


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("latest", "no run yet"),
        ("latest:replay", "no replay yet"),
        ("latest:docs", "no run of a config 'docs'"),
        ("tag:t", "tag 't'"),
        ("7f3a91c2", "ends with 7f3a91c2"),
        ("abc", "does not name an execution"),
        ("latest:", "does not name an execution"),
        ("newest", "does not name an execution"),
    ],
)
async def test_a_name_of_no_execution_is_not_found(names: ResolveService, name: str, why: str):
    with pytest.raises(NotFound, match=why) as raised:
        await names.execution(name)
    assert raised.value.code == "execution_not_found"


async def test_a_whole_id_is_not_looked_up(lab: Lab, names: ResolveService):
    unknown = lab.unknown()
    for spelling in (str(unknown), unknown.hex.upper(), f"urn:uuid:{unknown}"):
        assert await names.execution(spelling) == await names.batch(spelling) == unknown
        assert await names.message(spelling) == await names.dead_letter(spelling) == unknown


async def test_the_end_of_an_id_names_it_in_any_spelling(lab: Lab, names: ResolveService):
    run = await run_with_id(lab, UUID("0198c2a4-7d10-7c3e-8f00-5a1b2c3d4e5f"))
    for end in ("4e5f", "3d4e5f", "5A1B2C3D4E5F", "8f00-5a1b2c3d4e5f", "98c2a4-7d10-7c3e-8f00-5a1b2c3d4e5f"):
        assert await names.execution(end) == run
    replay = await lab.replayed(run)
    assert await names.batch(replay.replay_batch_id.hex[-10:]) == replay.replay_batch_id


async def test_an_end_of_several_ids_is_an_error_that_lists_them(lab: Lab, names: ResolveService):
    runs = [await run_with_id(lab, UUID(f"0198c2a4-7d10-7c3e-8f00-{n:06x}3d4e5f")) for n in range(12)]
    with pytest.raises(BadRequest) as raised:
        await names.execution("4e5f")
    assert raised.value.code == "id_ambiguous"
    assert "12 executions end with 4e5f" in raised.value.detail
    assert str(runs[-1]) in raised.value.detail
    assert str(runs[0]) not in raised.value.detail
    assert raised.value.detail.endswith("and 2 more. Type more of the id")
    assert await names.execution("0b3d4e5f") == runs[11]


async def test_the_end_of_a_messages_id_names_a_dead_letter_or_needs_the_execution(
    lab: Lab, names: ResolveService
):
    run = await lab.started("a.md", "b.md")
    dead, pending = run.ids
    await lab.kill(dead)
    assert await names.message(dead.hex[-12:]) == await names.dead_letter(dead.hex[-12:]) == dead
    assert await names.message(pending.hex[-12:], run.execution) == pending
    with pytest.raises(NotFound, match="write the whole id or name its execution"):
        await names.message(pending.hex[-12:])
    with pytest.raises(NotFound, match="in execution") as raised:
        await names.message(pending.hex[-12:], lab.unknown())
    assert raised.value.code == "message_not_found"
    with pytest.raises(NotFound) as raised:
        await names.dead_letter("x")
    assert raised.value.code == "dead_letter_not_found"


async def test_a_key_may_begin_with_any_name_of_an_execution(lab: Lab, names: ResolveService):
    run = await lab.sealed("a.md", tags=["t"])
    for name in ("latest", "latest:docs", "tag:t", run.hex[-8:], str(run)):
        assert await names.key(f"{name}/input/a.md") == f"{run}/input/a.md"
    for other in ("input/a.md", "latest", "/a", ""):
        assert await names.key(other) == other
