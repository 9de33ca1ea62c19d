"""A store that refuses single objects and serves others: the others do not wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from playhead.errors import Unavailable, store_unavailable
from playhead.ports.catalog.work import Released
from playhead.ports.store import Blob, ReadResult, WriteResult, any_of
from playhead.work.attempt import AttemptOutcome
from playhead.work.backoff import REFUSED_DELAY_SECONDS, UNAVAILABLE_DELAY_SECONDS
from playhead.work.intake import IntakeResult
from tests.attempts import Worker, completed
from tests.lab import Started
from tests.store_memory import MemoryStore


class Archive(MemoryStore):
    """Refuses to read the keys in `refused`, and to write below them."""

    refused: frozenset[str] = frozenset()
    answers = True

    async def check(self) -> str:
        if not self.answers:
            raise store_unavailable("it is unavailable")
        return await super().check()

    async def read(self, keys: Sequence[str]) -> ReadResult:
        found = await super().read(keys)
        return any_of(
            [
                store_unavailable(f"can't read {key}: it is archived") if key in self.refused else one
                for key, one in zip(keys, found, strict=True)
            ]
        )

    async def write(self, groups: Sequence[Sequence[Blob]], **how: Any) -> WriteResult:
        is_refused = [any(blob.key.startswith(tuple(self.refused)) for blob in group) for group in groups]
        await super().write([group for group, no in zip(groups, is_refused, strict=True) if not no], **how)
        return any_of([store_unavailable("it is closed") if no else None for no in is_refused])


class ArchiveWorker(Worker):
    """A worker `w1` and a run of three messages in its queue."""

    store: Archive
    run: Started
    keys: Sequence[str]

    @classmethod
    async def open(cls) -> ArchiveWorker:
        worker = cls(store=Archive())
        worker.run = await worker.started("a.md", "b.md", "c.md")
        worker.keys = [f"{worker.run.execution}/input/{name}.md" for name in "abc"]
        return worker

    async def end_all(self, taken: IntakeResult) -> None:
        """End each attempt: with one output if its input could be read."""
        await self.end(
            *(
                AttemptOutcome(one, result=one.problem)
                if one.problem
                else completed(one, f"{one.claim.path}.txt")
                for one in taken.claimed
            )
        )

    async def states(self) -> list[str]:
        return [await self.lab.state(each) for each in self.run.ids]

    async def dispatch_again(self) -> None:
        self.store.refused = frozenset()
        self.clock.advance(REFUSED_DELAY_SECONDS + 1)
        await self.lab.beat("w1")
        await self.broker.publish(await self.catalog.due("w1", limit=10))


async def test_a_message_whose_input_is_refused_is_retried_and_the_others_are_processed():
    worker = await ArchiveWorker.open()
    worker.store.refused = frozenset([worker.keys[1]])

    taken = await worker.take()

    assert taken.unavailable is None  # the route goes on
    assert [one.data is None for one in taken.claimed] == [False, True, False]
    await worker.end_all(taken)
    assert await worker.states() == ["completed", "retry", "completed"]

    await worker.dispatch_again()
    (again,) = (await worker.take()).claimed
    assert (again.claim.attempt, again.claim.spent) == (2, 1)  # the first attempt does not count
    assert again.data is not None


async def test_a_message_whose_output_is_refused_is_retried_and_the_others_are_completed():
    worker = await ArchiveWorker.open()
    worker.store.refused = frozenset([f"{worker.run.execution}/pages/b"])

    await worker.end_all(await worker.take())
    assert await worker.states() == ["completed", "retry", "completed"]

    await worker.dispatch_again()
    taken = await worker.take()
    assert [(one.claim.attempt, one.claim.spent) for one in taken.claimed] == [(2, 1)]
    await worker.end_all(taken)
    assert await worker.states() == ["completed"] * 3


@pytest.mark.parametrize("answers", [True, False])
async def test_a_store_that_refuses_all_inputs_of_a_batch_is_unavailable_only_if_its_check_fails(
    answers: bool,
):
    worker = await ArchiveWorker.open()
    worker.store.refused = frozenset(worker.keys)
    worker.store.answers = answers

    taken = await worker.take()

    assert (taken.unavailable is None) == answers
    delays = {one.problem.delay for one in taken.claimed if isinstance(one.problem, Released)}
    assert delays == {REFUSED_DELAY_SECONDS if answers else UNAVAILABLE_DELAY_SECONDS}


@pytest.mark.parametrize("answers", [True, False])
async def test_a_store_that_refuses_all_outputs_of_a_batch_is_unavailable_only_if_its_check_fails(
    answers: bool,
):
    worker = await ArchiveWorker.open()
    taken = await worker.take()
    worker.store.refused = frozenset([f"{worker.run.execution}/pages"])
    worker.store.answers = answers

    if answers:
        await worker.end_all(taken)
        assert await worker.states() == ["retry"] * 3
    else:
        with pytest.raises(Unavailable, match="closed"):
            await worker.end_all(taken)


@pytest.mark.parametrize("answers", [True, False])
async def test_an_external_object_waits_for_its_refused_sidecar_only_if_the_store_is_unavailable(
    answers: bool,
):
    worker = await ArchiveWorker.open()
    adopted = worker.lab.unknown()
    key = f"{adopted}/pages/x.md"
    await worker.store.write([[Blob(key, b"x")], [Blob(f"{key}.meta.json", b'{"attributes": {"a": 1}}')]])
    await worker.catalog.adopt(adopted)
    await worker.broker.publish((await worker.lab.started_replay(adopted, key, stage="pages")).dispatches)
    worker.store.refused = frozenset([f"{key}.meta.json"])
    worker.store.answers = answers

    (one,) = [one for one in (await worker.take()).claimed if one.claim.object_key == key]

    assert (one.problem is None) == answers
    assert one.sidecar.attributes == {}


def test_a_result_without_any_success_raises_the_first_reason():
    reason = store_unavailable("it is unavailable")
    with pytest.raises(Unavailable, match="it is unavailable"):
        any_of([reason, store_unavailable("it too")])
    founds: list[ReadResult] = [[], [None], [b"x", reason], [reason, None]]
    for found in founds:
        assert any_of(found) == found
