"""Backends that become unavailable during work, with the real components of one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest

from playhead.bootstrap import open_runtime
from playhead.bootstrap.process import Runtime
from playhead.errors import broker_unavailable
from playhead.model import Execution
from playhead.ports.broker import Delivery
from playhead.ports.catalog.browse import DeadLetterFilter, ExecutionFilter
from playhead.settings import Settings
from tests.lab import Wrapper, working
from tests.waiting import until

CONFIG = b"""
version: "1.0"
name: docs
entry: first
routes:
  first:
    timeout_seconds: 20
    adapters: [{type: act}]
    outbound: {stage: done}
error_handling: {max_attempts: 2, retry_delay_seconds: 0}
"""
STEPS = """
from playhead import Reject, adapter

seen = []

@adapter("act")
def act(item):
    seen.append(item.path)
    if item.text == "surrogate":
        raise Reject("no such title: \\ud800")
    if item.text == "mute":
        raise Mute
    if item.text == "long":
        raise ValueError("x" * 5_000_000)
    return item.text.upper()

class Mute(Exception):
    def __str__(self):
        raise RuntimeError("this error has no text")
"""
PATIENCE = 60.0


def _steps(home: Path) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    file = home / "steps.py"
    file.write_text(STEPS)
    return file


@asynccontextmanager
async def runtime(home: Path, **settings: Any) -> AsyncIterator[Runtime]:
    steps = _steps(home)
    given: dict[str, Any] = {
        "home": home,
        "adapters": (str(steps),),
        "visibility_seconds": 1,
        "heartbeat_seconds": 0.2,
    }
    async with open_runtime(Settings(**given | settings), kind="worker") as rt:
        await rt.services.configs.apply(CONFIG)
        yield rt


async def submit(rt: Runtime, **inputs: str) -> UUID:
    async def given() -> AsyncIterator[tuple[str, bytes]]:
        for path, data in inputs.items():
            yield path, data.encode()

    return (await rt.services.submit.run("docs", given())).execution_id


async def ended(rt: Runtime, execution: UUID) -> Execution:
    async def look() -> bool:
        return (await rt.services.executions.get(execution)).status != "running"

    await until(look, "the execution to end")
    return await rt.services.executions.get(execution)


async def attempts(rt: Runtime, execution: UUID) -> int:
    return (await rt.services.lineage.list(execution=execution)).items[0].attempts


async def test_a_worker_that_starts_without_its_store_claims_nothing_until_the_store_is_back(tmp_path: Path):
    async with runtime(tmp_path / "home") as rt:
        objects, aside = tmp_path / "home" / "objects", tmp_path / "aside"
        execution = await submit(rt, a="text")

        async def published() -> bool:
            return (await rt.broker.depth("docs.first")).ready == 1

        await until(published, "the message")
        objects.rename(aside)
        async with working(rt):

            async def received() -> bool:
                return (await rt.broker.depth("docs.first")).in_flight == 1

            await until(received, "the delivery")
            await asyncio.sleep(0.1)
            assert await attempts(rt, execution) == 0
            aside.rename(objects)
            assert (await ended(rt, execution)).status == "completed"


async def test_a_message_claimed_while_the_store_is_unavailable_is_processed_later(tmp_path: Path):
    async with runtime(tmp_path / "home") as rt, working(rt):
        objects, aside = tmp_path / "home" / "objects", tmp_path / "aside"
        execution = await submit(rt, a="surrogate")
        assert (await ended(rt, execution)).counts.failed == 1
        objects.rename(aside)
        await rt.services.recover.resend(None, DeadLetterFilter(execution))

        async def released() -> bool:
            [row] = (await rt.services.lineage.list(execution=execution)).items
            return row.status == "retry"

        await until(released, "the release after the claim")
        assert await attempts(rt, execution) == 1, "only an attempt that calls a step counts"
        aside.rename(objects)
        assert (await ended(rt, execution)).counts.failed == 1
        [letter] = (await rt.services.queues.dead_letters()).items
        assert "no such title" in str(letter.error)


@pytest.mark.parametrize("text", ["surrogate", "mute", "long"])
async def test_an_error_text_that_no_database_accepts_is_still_a_dead_letter(tmp_path: Path, text: str):
    async with runtime(tmp_path / "home") as rt, working(rt):
        execution = await submit(rt, bad=text)
        assert (await ended(rt, execution)).counts.failed == 1
        [letter] = (await rt.services.queues.dead_letters()).items
        assert letter.error
        assert len(letter.error) < 100_000
        assert (await ended(rt, await submit(rt, good="text"))).status == "completed"


@pytest.mark.parametrize(("inputs", "left"), [(1, []), (300, ["cancelled"])])
async def test_a_run_with_unreadable_inputs_does_not_stay_open(tmp_path: Path, inputs: int, left: list[str]):
    """A fault in the first input is reported before the run starts."""

    async def torn() -> AsyncIterator[tuple[str, bytes]]:
        for n in range(inputs):
            yield f"{n}.txt", b"text"
        raise OSError("the upload is gone")

    async with runtime(tmp_path / "home") as rt:
        with pytest.raises(OSError, match="gone"):
            await rt.services.submit.run("docs", torn())

        async def is_closed() -> bool:
            found = (await rt.services.executions.list(ExecutionFilter(), None, 10)).items
            return [execution.status for execution in found] == left

        await until(is_closed, "the cancellation")


class Gone(Wrapper):
    """The real broker, which becomes unavailable after it has delivered its messages."""

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        raise broker_unavailable("it is gone")

    async def check(self) -> str:
        raise broker_unavailable("it is gone")


async def test_a_worker_shuts_down_while_the_broker_is_unavailable(tmp_path: Path):
    async with runtime(tmp_path / "home") as rt:
        rt.broker = cast(Any, Gone(rt.broker))
        async with working(rt):
            execution = await submit(rt, a="text")

            async def done() -> bool:
                rows = await rt.services.lineage.list(execution=execution)
                return [row.status for row in rows.items] == ["completed"]

            await until(done, "the message to be completed")
