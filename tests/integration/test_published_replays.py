"""Replays that are requested with their publication: any process publishes them once they have ended."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from playhead.model import ReplayPublication
from playhead.ports.catalog.browse import DeadLetterFilter
from tests.inprocess import Playhead
from tests.integration.test_publications import DOCS, Splitter, published
from tests.waiting import until


@pytest.fixture
async def ph(either: Playhead) -> Playhead:
    await either.apply(DOCS)
    return either


@pytest.fixture
def splitter(ph: Playhead) -> Splitter:
    return Splitter(ph)


@pytest.fixture
async def run(ph: Playhead, splitter: Splitter) -> str:
    run = await ph.run({"a": "x y", "b": "z"})
    assert await published(ph, run) == 1
    return run


async def replayed(ph: Playhead, run: str, **more: Any) -> tuple[str, UUID]:
    """Start a replay with its publication; return its execution and its batch. Nothing is processed yet."""
    body = {"from_execution_id": run, "from_stage": "md", "to_route": "segment", "publish": True, **more}
    answer = await ph.http.post("/api/v1/replay", json=body, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    found = answer.json()
    assert found["publications"] == [{"dataset": "docs", "state": "due", "n": None, "refusal": None}]
    return found["execution_id"], UUID(found["replay_batch_id"])


async def outcome(ph: Playhead, batch: UUID) -> ReplayPublication:
    """Return the publication of a replay as soon as it is decided, refused or cancelled."""

    async def look() -> ReplayPublication:
        [one] = (await ph.rt.services.executions.replay(batch)).publications
        return one

    async def has_ended() -> bool:
        return (await look()).state not in ("due", "preparing")

    await until(has_ended)
    return await look()


async def current(ph: Playhead) -> int | None:
    return (await ph.rt.services.publish.dataset("docs")).current


async def test_a_replay_is_published_when_all_of_its_messages_have_ended(ph: Playhead, run: str):
    execution, batch = await replayed(ph, run, reason="new splitter")
    await ph.work(execution)

    assert await outcome(ph, batch) == ReplayPublication("docs", "published", 2, None)
    made = await ph.rt.services.publish.publication("docs")
    assert (made.n, made.base, made.reason) == (2, 1, "new splitter")
    assert [str(part.execution_id) for part in made.parts] == [execution]
    assert await ph.rt.catalog.replays_to_publish() == []


async def test_a_replay_with_a_failure_is_refused_and_published_after_a_resend(
    ph: Playhead, run: str, splitter: Splitter
):
    splitter.fails = {"b"}
    execution, batch = await replayed(ph, run)
    await ph.work(execution)

    refused = await outcome(ph, batch)
    assert (refused.state, refused.n) == ("refused", 2)
    assert refused.refusal
    assert refused.refusal.code == "units_failed"
    assert "1 of 2 documents failed, first b" in refused.refusal.detail
    dataset = await ph.rt.services.publish.dataset("docs")
    assert (dataset.current, dataset.refused and dataset.refused.n) == (1, 2)

    splitter.fails = set()
    await ph.rt.services.recover.resend(where=DeadLetterFilter(UUID(execution)))
    await ph.work(execution)

    async def is_published() -> bool:
        return (await outcome(ph, batch)).state == "published"

    await until(is_published)
    assert await current(ph) == 3


async def test_a_cancelled_replay_is_not_published(ph: Playhead, run: str):
    _, batch = await replayed(ph, run, pace={"rate": 0.01})
    await ph.rt.services.control.cancel(batch, withdraw=True)

    assert await outcome(ph, batch) == ReplayPublication("docs", "cancelled", None, None)
    assert await ph.rt.catalog.replays_to_publish() == []
    assert (await ph.rt.services.publish.dataset("docs")).refused is None


async def test_a_rollback_after_the_request_holds_the_publication(ph: Playhead, run: str):
    assert await published(ph, run) == 2
    execution, batch = await replayed(ph, run)
    await ph.rt.services.publish.roll_back("docs", 1)
    await ph.work(execution)
    assert await ph.rt.catalog.replays_to_publish() == []
    [one] = (await ph.rt.services.executions.replay(batch)).publications
    assert one.state == "due"

    later, its_batch = await replayed(ph, run)
    await ph.work(later)
    assert (await outcome(ph, its_batch)).state == "published", "it was requested after the rollback"
    # A publication has ended the hold. The first replay is older than the results of the second one.
    refused = await outcome(ph, batch)
    assert (refused.state, refused.refusal and refused.refusal.code) == ("refused", "older_results")


async def test_a_replay_that_was_published_by_hand_is_not_published_again(
    ph: Playhead, run: str, splitter: Splitter
):
    splitter.fails = {"b"}
    execution, batch = await replayed(ph, run)
    await ph.work(execution)
    assert (await outcome(ph, batch)).state == "refused"
    assert await published(ph, execution, on_failure="keep_last") == 3

    splitter.fails = set()
    await ph.rt.services.recover.resend(where=DeadLetterFilter(UUID(execution)))
    await ph.work(execution)
    await ph.ended(execution)

    assert await outcome(ph, batch) == ReplayPublication("docs", "published", 3, None)
    assert await ph.rt.catalog.replays_to_publish() == []


async def test_a_replay_that_no_dataset_shows_cannot_be_published(ph: Playhead, run: str):
    await ph.apply(DOCS.replace("{docs: {}}", "{docs: {routes: [convert]}}"))
    body = {"from_execution_id": run, "from_stage": "md", "to_route": "segment", "publish": True}
    answer = await ph.http.post("/api/v1/replay", json=body)
    assert (answer.status_code, answer.json()["error_code"]) == (404, "dataset_not_found")
    assert "no dataset of config docs has the route segment" in answer.json()["detail"]


async def test_a_process_that_ends_publishes_first(ph: Playhead, run: str):
    execution, batch = await replayed(ph, run)
    loops, ph.rt._loops[:] = ph.rt._loops[:], []
    for loop in loops:
        if loop.get_coro().cr_frame.f_locals.get("once") == ph.rt._publish:  # type: ignore[union-attr]
            loop.cancel()
    ph.rt._loops += loops
    await ph.work(execution)
    await ph.rt.finish_outcome()
    [one] = (await ph.rt.services.executions.replay(batch)).publications
    assert one == ReplayPublication("docs", "published", 2, None)
