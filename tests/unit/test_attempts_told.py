"""What is told of attempts and executions: by whom a message was lost, which span ends, and at what price."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Self
from uuid import UUID

import pytest

from playhead import events
from playhead.backends.broker_memory import MemoryBroker
from playhead.backends.catalog_memory import MemoryCatalog
from playhead.backends.store_memory import MemoryStore
from playhead.counters import Counters
from playhead.engine import ending
from playhead.engine.attempts import AttemptOutcome, Attempts
from playhead.engine.chain import Product
from playhead.errors import catalog_unavailable
from playhead.model import Execution
from playhead.ports.catalog.work import Failed
from playhead.ports.store import Blob
from playhead.ports.tracer import OFF, Kind, Span, Tracer, Value
from playhead.services.recover import RecoverService
from tests.contract.conftest import HEARTBEAT, Clock, Lab

QUEUE = "docs.convert"


@dataclass
class Kept:
    """A span, and what was said of it."""

    traceparent: str
    about: dict[str, Value] = field(default_factory=dict)
    ends: int = 0

    def set(self, attributes: Mapping[str, Value]) -> None:
        self.about.update(attributes)

    def rename(self, name: str) -> None: ...
    def fail(self, why: str) -> None: ...

    def end(self) -> None:
        self.ends += 1

    def current(self) -> AbstractContextManager[object]:
        return nullcontext()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, exc: BaseException | None, tb: object) -> None:
        self.end()


class Spans:
    """A tracer that keeps its spans."""

    on = True

    def __init__(self) -> None:
        self.begun: list[Kept] = []

    def start(
        self,
        name: str,
        parent: str | None = None,
        attributes: Mapping[str, Value] | None = None,
        kind: Kind = "internal",
    ) -> Span:
        self.begun.append(Kept(f"00-{'a' * 32}-{len(self.begun) + 1:016x}-01", dict(attributes or {})))
        return self.begun[-1]

    def current(self) -> str | None:
        return None


class Site:
    """A worker, `w1`, beside another that beats."""

    def __init__(self, tracer: Tracer = OFF) -> None:
        self.clock = Clock()
        self.catalog = MemoryCatalog(clock=self.clock, heartbeat_seconds=HEARTBEAT)
        self.broker = MemoryBroker(clock=self.clock, visibility=1000.0)
        self.store = MemoryStore()
        self.lab = Lab(self.catalog, self.clock)
        self.counters = Counters()
        self.attempts = Attempts(
            *(self.catalog, self.broker, self.store),
            worker="w1",
            working={},
            max_object_bytes=100,
            sleep=asyncio.sleep,
            counters=self.counters,
            tracer=tracer,
        )

    async def started(self) -> UUID:
        """A run of one message, which is in its queue."""
        await self.lab.beat("w1", "w2")
        run = await self.lab.started("a.md")
        await self.store.write([[Blob(f"{run.execution}/input/a.md", b"")]])
        await self.broker.publish(run.calls)
        return run.ids[0]


async def test_a_message_that_its_workers_took_with_them_is_told_by_its_row_whatever_its_call_says(
    caplog: pytest.LogCaptureFixture,
):
    site = Site()
    message = await site.started()
    for doomed in ("w2", "w3", "w4"):
        await site.lab.beat(doomed)
        await site.lab.claim(message, doomed, alone=True)
        await site.catalog.depart(doomed)
    (call,) = await site.broker.receive(QUEUE, 10)

    await site.attempts.take([replace(call, headers={"config": "theirs", "route": "\0"})])

    assert site.counters.numbers() == {("docs", "convert"): {"dead": [1]}}
    (line,) = [r for r in caplog.records if r.message == events.MESSAGE_DEAD]
    told = line.__dict__["fields"]
    assert (told["config"], told["route"], told["code"]) == ("docs", "convert", "worker_lost")


async def test_the_span_of_an_attempt_that_is_too_late_to_bind_ends_as_fenced():
    spans = Spans()
    site = Site(spans)
    message = await site.started()
    (mine,) = (await site.attempts.take(await site.broker.receive(QUEUE, 10))).started
    await site.lab.die("w1")
    await site.lab.claim(message, "w2")

    late = AttemptOutcome(mine, "pages", [Product("a.md", b"late", "text/markdown", {})])
    await site.attempts.end([late], await site.attempts.persist([late]))

    (span,) = spans.begun
    assert (span.about["playhead.outcome"], span.ends) == ("fenced", 1)


@pytest.mark.parametrize("delay", [None, 1.0])
async def test_what_fails_once_its_execution_is_cancelled_is_told_neither_as_a_retry_nor_as_a_dead_letter(
    delay: float | None, caplog: pytest.LogCaptureFixture
):
    spans = Spans()
    site = Site(spans)
    message = await site.started()
    (mine,) = (await site.attempts.take(await site.broker.receive(QUEUE, 10))).started
    await site.catalog.cancel(mine.claim.execution_id)

    failed = AttemptOutcome(
        mine, result=Failed(message, mine.claim.attempt, "adapter_error", "no", delay=delay)
    )
    await site.attempts.end([failed], await site.attempts.persist([failed]))

    assert await site.lab.state(message) == "cancelled"
    assert [r.message for r in caplog.records if r.message.startswith("message_")] == []
    assert site.counters.numbers() == {}
    (span,) = spans.begun
    assert (span.about["playhead.outcome"], span.ends) == ("cancelled", 1)


class Away(MemoryCatalog):
    """Does not say how executions stand, and counts who asks."""

    asked = 0

    async def executions_named(self, executions: Sequence[UUID]) -> list[Execution]:
        self.asked += 1
        raise catalog_unavailable("it is away")


@pytest.mark.parametrize(("level", "asked"), [(logging.INFO, 1), (logging.WARNING, 0)])
async def test_how_executions_ended_is_asked_at_once_and_only_where_it_is_logged(
    level: int, asked: int, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(level, logger="playhead")
    catalog = Away(clock=Clock(), heartbeat_seconds=HEARTBEAT)
    ended = [Lab.unknown() for _ in range(3)]

    await ending.tell_ended(catalog, ended)

    assert catalog.asked == asked
    told = [r.__dict__["fields"] for r in caplog.records if r.message == events.EXECUTION_ENDED]
    assert told == [{"execution_id": str(execution)} for execution in ended if asked]


class Uncounted(MemoryCatalog):
    """Can't say how an execution stands: it has too many rows to be counted in time."""

    async def execution(self, execution: UUID) -> Execution | None:
        raise catalog_unavailable("it takes too long")


async def test_an_execution_is_cancelled_without_being_counted_first_and_its_end_is_told_once(
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level(logging.INFO, logger="playhead")
    catalog = Uncounted(clock=Clock(), heartbeat_seconds=HEARTBEAT)
    run = await Lab(catalog, Clock()).started("a.md")

    for _ in range(2):
        assert (await RecoverService(catalog, MemoryStore()).cancel(run.execution)).status == "cancelled"

    (line,) = [r for r in caplog.records if r.message == events.EXECUTION_ENDED]
    told = line.__dict__["fields"]
    assert (told["status"], told["cancelled"]) == ("cancelled", 1)
