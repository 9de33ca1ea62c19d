"""Log lines, spans and counters of attempts and executions."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Self
from uuid import UUID

import pytest

from playhead import events
from playhead.errors import Unavailable, catalog_unavailable
from playhead.model import Execution, Skip
from playhead.ports.catalog.work import Finished, Result
from playhead.ports.tracer import Kind, Span, Value
from playhead.services.recover import RecoverService
from playhead.work import ending
from playhead.work.attempt import AttemptOutcome
from tests.attempts import QUEUE, Worker, completed, failed
from tests.catalog_memory import MemoryCatalog
from tests.lab import Clock, Lab
from tests.store_memory import MemoryStore


@dataclass
class RecordedSpan:
    """A span, with its attributes and how often it ended."""

    traceparent: str
    attributes: dict[str, Value] = field(default_factory=dict)
    ends: int = 0

    def set(self, attributes: Mapping[str, Value]) -> None:
        self.attributes.update(attributes)

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


class RecordingTracer:
    """A tracer that keeps its spans."""

    on = True

    def __init__(self) -> None:
        self.spans: list[RecordedSpan] = []

    def start(
        self,
        name: str,
        parent: str | None = None,
        attributes: Mapping[str, Value] | None = None,
        kind: Kind = "internal",
    ) -> Span:
        traceparent = f"00-{'a' * 32}-{len(self.spans) + 1:016x}-01"
        self.spans.append(RecordedSpan(traceparent, dict(attributes or {})))
        return self.spans[-1]

    def current(self) -> str | None:
        return None


async def test_a_lost_message_is_reported_by_its_row_and_not_by_the_headers_of_its_dispatch(
    caplog: pytest.LogCaptureFixture,
):
    worker = Worker()
    message = (await worker.started()).ids[0]
    for dead in ("w2", "w3", "w4"):
        await worker.lab.beat(dead)
        await worker.lab.claim(message, dead, alone=True)
        await worker.catalog.depart(dead)
    (delivery,) = await worker.broker.receive(QUEUE, 10)
    forged = replace(delivery, headers={"config": "theirs", "route": "\0"})

    await worker.take(worker.deliveries.receive([forged]))

    assert worker.env.counters.numbers() == {("docs", "convert"): {"dead": [1]}}
    (line,) = [r for r in caplog.records if r.message == events.MESSAGE_DEAD]
    fields = line.__dict__["fields"]
    assert (fields["config"], fields["route"], fields["code"]) == ("docs", "convert", "worker_lost")


async def test_the_span_of_an_attempt_that_is_too_late_to_bind_ends_as_fenced():
    tracer = RecordingTracer()
    worker = Worker(environment={"tracer": tracer})
    message = (await worker.started()).ids[0]
    claimed = await worker.claim()
    await worker.lab.die("w1")
    await worker.lab.claim(message, "w2")

    await worker.end(completed(claimed, "a.md"))

    (span,) = tracer.spans
    assert (span.attributes["playhead.outcome"], span.ends) == ("fenced", 1)


async def test_a_skipped_message_is_reported_with_its_reason_and_counted_as_completed(
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level(logging.DEBUG, logger="playhead")
    tracer = RecordingTracer()
    worker = Worker(environment={"tracer": tracer})
    message = (await worker.started()).ids[0]

    await worker.end(
        AttemptOutcome(await worker.claim(), "pages", skip=Skip("no_output", "upper returned no output"))
    )

    assert (await worker.lab.row(message)).skip_reason == "upper returned no output"
    (line,) = [r for r in caplog.records if r.message.startswith("message_")]
    assert line.message == events.MESSAGE_SKIPPED
    assert line.__dict__["fields"]["reason"] == "upper returned no output"
    (span,) = tracer.spans
    assert (span.attributes["playhead.outcome"], span.ends) == ("skipped", 1)
    assert worker.env.counters.numbers()["docs", "convert"]["completed"] == [1]


@pytest.mark.parametrize("delay", [None, 1.0])
async def test_a_failure_in_a_cancelled_execution_is_reported_neither_as_a_retry_nor_as_a_dead_letter(
    delay: float | None, caplog: pytest.LogCaptureFixture
):
    tracer = RecordingTracer()
    worker = Worker(environment={"tracer": tracer})
    message = (await worker.started()).ids[0]
    claimed = await worker.claim()
    await worker.catalog.cancel(claimed.claim.execution_id)

    await worker.end(failed(claimed, "no", delay=delay))

    assert await worker.lab.state(message) == "cancelled"
    assert [r.message for r in caplog.records if r.message.startswith("message_")] == []
    assert worker.env.counters.numbers() == {}
    (span,) = tracer.spans
    assert (span.attributes["playhead.outcome"], span.ends) == ("cancelled", 1)


async def test_equal_failures_that_end_together_are_one_warning(caplog: pytest.LogCaptureFixture):
    """A call with 100 items that fails would otherwise log its error 100 times."""
    caplog.set_level(logging.DEBUG, logger="playhead")
    worker = Worker()
    await worker.started(*"abcdef")
    claimed = (await worker.take()).claimed
    texts = ("busy", "busy", "other", "busy", "gone", "gone")
    delays = (1.0, 1.0, 1.0, 1.0, None, None)

    await worker.end(
        *(failed(one, text, delay=delay) for one, text, delay in zip(claimed, texts, delays, strict=True))
    )

    lines = [r for r in caplog.records if r.message.startswith("message_")]
    shown = [
        (r.levelname, r.message, r.__dict__["fields"]["error"], r.__dict__["fields"].get("count"))
        for r in lines
    ]
    assert shown == [
        ("WARNING", "message_retried", "busy", 3),
        ("DEBUG", "message_retried", "busy", None),
        ("WARNING", "message_retried", "other", None),
        ("DEBUG", "message_retried", "busy", None),
        ("ERROR", "message_dead", "gone", None),
        ("ERROR", "message_dead", "gone", None),
    ]
    assert len({r.__dict__["fields"]["correlation_id"] for r in lines}) == 6


class LosesFirstAnswer(MemoryCatalog):
    """Ends attempts, and does not answer the first time."""

    is_lost = False

    async def finish(self, publisher: str, results: Sequence[Result]) -> list[Finished | None]:
        answers = await super().finish(publisher, results)
        if not self.is_lost:
            self.is_lost = True
            raise catalog_unavailable("the connection broke")
        return answers


@pytest.mark.parametrize("delay", [None, 1.0])
async def test_a_failure_whose_answer_was_lost_is_reported_and_counted_as_that_failure(
    delay: float | None, caplog: pytest.LogCaptureFixture
):
    """It was reported as fenced, and not counted."""
    catalog = LosesFirstAnswer(clock=Clock())
    worker = Worker(catalog=catalog)
    await worker.started()
    outcome = failed(await worker.claim(), "no", delay=delay)

    with pytest.raises(Unavailable):
        await worker.end(outcome)
    await worker.steps.completion.end([outcome], await worker.steps.binder.store([outcome]))

    kind = "dead" if delay is None else "retried"
    assert [r.message for r in caplog.records if r.message.startswith("message_")] == [f"message_{kind}"]
    assert worker.env.counters.numbers() == {("docs", "convert"): {kind: [1]}}


class WithoutExecutions(MemoryCatalog):
    """Cannot return executions, and counts the requests."""

    requests = 0

    async def executions_named(self, executions: Sequence[UUID]) -> list[Execution]:
        self.requests += 1
        raise catalog_unavailable("it is unavailable")


@pytest.mark.parametrize(("level", "requests"), [(logging.INFO, 1), (logging.WARNING, 0)])
async def test_numbers_of_ended_executions_are_read_in_one_request_and_only_if_they_are_logged(
    level: int, requests: int, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(level, logger="playhead")
    catalog = WithoutExecutions(clock=Clock())
    ended = [Lab.unknown() for _ in range(3)]

    await ending.log_ended(catalog, ended)

    assert catalog.requests == requests
    lines = [r.__dict__["fields"] for r in caplog.records if r.message == events.EXECUTION_ENDED]
    assert lines == [{"execution_id": str(execution)} for execution in ended if requests]


class WithoutCounts(MemoryCatalog):
    """Cannot return an execution, because it has too many rows to count in time."""

    async def execution(self, execution: UUID) -> Execution | None:
        raise catalog_unavailable("it takes too long")


async def test_an_execution_is_cancelled_without_a_count_before_and_its_end_is_logged_once(
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level(logging.INFO, logger="playhead")
    catalog = WithoutCounts(clock=Clock())
    run = await Lab(catalog, Clock()).started("a.md")

    for _ in range(2):
        assert (await RecoverService(catalog, MemoryStore()).cancel(run.execution)).status == "cancelled"

    (line,) = [r for r in caplog.records if r.message == events.EXECUTION_ENDED]
    fields = line.__dict__["fields"]
    assert (fields["status"], fields["cancelled"]) == ("cancelled", 1)
