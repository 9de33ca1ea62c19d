"""Batches: items of several messages share a call, and an item fails only because of itself."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from playhead import Item, RateLimited, Reject, Retry, adapter
from playhead.clock import ActiveClock
from playhead.errors import MessageError
from playhead.model import Condition, RateLimit, Route, Step
from playhead.ports.adapter import AdapterSpec, spec_of
from playhead.steps.chain import Chain, CooldownNeeded, Result
from playhead.steps.ratelimits import CallLimits
from playhead.steps.slots import Slots
from playhead.steps.timeouts import Job, TimedOut
from playhead.testing import run_adapter
from tests.lab import Clock, MemoryDeployment
from tests.unit.test_chain import CTX
from tests.waiting import SECONDS, until

Call = Callable[[Sequence[Item]], Any]


class Steps:
    """An adapter with batches that records its calls."""

    def __init__(self, answer: Call, *, batch: int = 100, is_async: bool = False, wait: float = 0.2) -> None:
        self.calls: list[list[str]] = []

        @adapter("plain", batch=batch, wait_seconds=wait)
        def plain(items: Sequence[Item]) -> Any:
            self.calls.append([item.path for item in items])
            return answer(items)

        @adapter("async", batch=batch, wait_seconds=wait)
        async def not_plain(items: Sequence[Item]) -> Any:
            self.calls.append([item.path for item in items])
            await asyncio.sleep(0)
            return answer(items)

        spec = spec_of(not_plain if is_async else plain)
        assert spec
        self.spec: AdapterSpec = spec

    @property
    def sizes(self) -> list[int]:
        return [len(call) for call in self.calls]

    def chain(
        self,
        *,
        concurrency: int = 4,
        timeout: float = 30,
        before: Step | None = None,
        limit: RateLimit | None = None,
        call_limits: CallLimits | None = None,
    ) -> Chain:
        step = Step(self.spec.name, rate_limit=limit)
        steps = (before, step) if before else (step,)
        route = Route("r", "q", steps, stage="s", concurrency=concurrency, timeout_seconds=timeout)
        assert WORDS
        return Chain(route, {self.spec.name: self.spec, "words": WORDS}, call_limits=call_limits)


@adapter("words")
def words(item: Item) -> list[str]:
    return item.text.split()


WORDS = spec_of(words)


def items(count: int) -> list[Item]:
    return [Item(f"{n}.txt", str(n).encode()) for n in range(count)]


def upper(some: Sequence[Item]) -> list[str]:
    return [item.text.upper() for item in some]


def bad_if(*bad: str) -> Call:
    """An API that refuses a call as a whole because of one input."""

    def answer(some: Sequence[Item]) -> list[str]:
        if any(item.path in bad for item in some):
            raise ValueError("400 Bad Request")
        return upper(some)

    return answer


async def run(chain: Chain, some: Sequence[Item], **options: Any) -> list[Result | BaseException]:
    try:
        calls = (chain.run_async(item, CTX, **options) for item in some)
        return await asyncio.gather(*calls, return_exceptions=True)
    finally:
        chain.close()


def failed(results: Sequence[Result | BaseException]) -> dict[int, BaseException]:
    return {n: one for n, one in enumerate(results) if isinstance(one, BaseException)}


@pytest.fixture(params=[False, True], ids=["plain", "async"])
def is_async(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def test_items_are_called_in_full_batches(is_async: bool):
    steps = Steps(upper, is_async=is_async, wait=2)
    results = await run(steps.chain(), items(250))

    assert steps.sizes == [100, 100, 50]
    assert [one.products[0].data for one in results if isinstance(one, Result)] == [
        str(n).encode() for n in range(250)
    ]


async def test_an_item_waits_for_others_only_for_a_while(is_async: bool):
    steps = Steps(upper, is_async=is_async, wait=0.2)
    began = time.monotonic()
    await run(steps.chain(), items(3))

    assert steps.sizes == [3]
    assert 0.2 <= time.monotonic() - began < 5


async def test_as_many_calls_run_at_once_as_the_concurrency_allows():
    at_once: list[int] = []
    running = 0
    lock = threading.Lock()

    def slow(some: Sequence[Item]) -> list[str]:
        nonlocal running
        with lock:
            running += 1
            at_once.append(running)
        time.sleep(0.05)
        with lock:
            running -= 1
        return upper(some)

    await run(Steps(slow, batch=5).chain(concurrency=3), items(50))

    assert max(at_once) == 3


async def test_one_bad_item_is_found_in_a_few_steps(is_async: bool):
    steps = Steps(bad_if("61.txt"), is_async=is_async)
    results = await run(steps.chain(), items(100))

    assert list(failed(results)) == [61]
    assert isinstance(failed(results)[61], ValueError)
    assert len(steps.calls) <= 2 * 7 + 1  # log2(100) < 7


async def test_items_that_all_fail_fail_each_alone():
    steps = Steps(bad_if(*(f"{n}.txt" for n in range(8))), batch=8)
    results = await run(steps.chain(), items(8))

    assert len(failed(results)) == 8
    assert sorted(steps.sizes) == [1] * 8 + [2] * 4 + [4] * 2 + [8]


@pytest.mark.parametrize(
    ("error", "expected"), [(Retry("503", after=3), Retry), (RateLimited("429", after=3), CooldownNeeded)]
)
async def test_an_error_of_the_service_concerns_all_items_of_the_call(
    error: Exception, expected: type[BaseException]
):
    def answer(some: Sequence[Item]) -> list[str]:
        raise error

    steps = Steps(answer)
    results = await run(steps.chain(), items(10))

    assert steps.sizes == [10]
    assert {type(one) for one in failed(results).values()} == {expected}
    assert len(failed(results)) == 10


async def test_each_item_has_its_own_result(is_async: bool):
    answers: list[Any] = ["one", None, ["two", b"three"], Reject("bad"), Retry("later", after=1), 7]
    steps = Steps(lambda some: answers, is_async=is_async)
    results = await run(steps.chain(), items(6))

    assert [[p.data for p in one.products] if isinstance(one, Result) else type(one) for one in results] == [
        [b"one"],
        [],
        [b"two", b"three"],
        Reject,
        Retry,
        MessageError,
    ]
    assert steps.sizes == [6]


async def test_a_service_that_leaves_out_an_item_harms_only_that_item():
    steps = Steps(lambda some: [item.text for item in some if item.path != "3.txt"], batch=8)
    results = await run(steps.chain(), items(8))

    ((number, error),) = failed(results).items()
    assert number == 3
    assert "returned 0 results for 1 items" in str(error)


@pytest.mark.parametrize("returned", ["text", b"bytes", {"a": 1}, None, 7])
async def test_a_result_that_is_no_list_is_bad_output(returned: Any):
    results = await run(Steps(lambda some: returned).chain(), items(1))

    assert "return a list with one result per item" in str(failed(results)[0])


async def test_an_item_that_hangs_costs_its_own_time_out_only():
    go_on = threading.Event()

    def answer(some: Sequence[Item]) -> list[str]:
        if any(item.path == "2.txt" for item in some):
            go_on.wait(30)
        return upper(some)

    steps = Steps(answer, batch=5)
    chain = steps.chain(timeout=0.6)
    results = await run(chain, items(5))

    assert {n: type(one) for n, one in failed(results).items()} == {2: TimedOut}
    assert steps.sizes == [5, 1, 1, 1, 1, 1]
    assert chain.hanging == 2
    go_on.set()
    await until(lambda: not chain.hanging)


async def test_a_call_that_waits_for_its_rate_limit_uses_no_time_of_its_items():
    call_limits = CallLimits(MemoryDeployment().catalog, time.monotonic, asyncio.sleep)
    chain = Steps(upper, batch=2).chain(limit=RateLimit(100, 1, "k"), call_limits=call_limits)
    slots: Slots[int] = Slots(8)
    for n, item in enumerate(items(8)):
        slots.submit(Job(n, partial(chain.run_async, item, CTX), 30, "async", is_async=True))
    await until(lambda: slots.ended_count == 8)
    slots.close()
    chain.close()

    assert [job.error for job in slots.drain() if job.error] == []


@pytest.mark.parametrize("place", ["call", "result"])
@pytest.mark.parametrize("error", [asyncio.CancelledError, KeyboardInterrupt, SystemExit, StopIteration])
async def test_an_error_that_stops_tasks_or_loops_fails_only_its_item(
    error: type[BaseException], place: str, is_async: bool
):
    """`asyncio.gather(…, return_exceptions=True)` may return `CancelledError`, for example."""

    def answer(some: Sequence[Item]) -> list[Any]:
        if place == "call" and "1.txt" in [item.path for item in some]:
            raise error("odd")
        return [error("odd") if item.path == "1.txt" else item.text for item in some]

    results = await asyncio.wait_for(run(Steps(answer, is_async=is_async).chain(), items(4)), SECONDS)

    assert {n: type(one) for n, one in failed(results).items()} == {1: RuntimeError}
    assert error.__name__ in str(results[1])


async def test_a_coroutine_that_hangs_is_cancelled():
    @adapter("wait", batch=2, wait_seconds=0)
    async def wait(items: Sequence[Item]) -> list[str]:
        await asyncio.sleep(30)
        return []

    spec = spec_of(wait)
    assert spec
    chain = Chain(Route("r", "q", (Step("wait"),), stage="s", timeout_seconds=0.1), {"wait": spec})
    results = await run(chain, items(2))

    assert {type(one) for one in failed(results).values()} == {TimedOut}
    await until(lambda: chain.hanging == 0)


async def test_a_suspected_poison_message_is_called_alone():
    steps = Steps(upper)
    chain = steps.chain()
    await asyncio.gather(
        *(chain.run_async(item, CTX, alone=item.path == "2.txt") for item in items(5)),
    )
    chain.close()

    assert sorted(steps.sizes) == [1, 2, 2]
    assert ["2.txt"] in steps.calls


async def test_a_later_step_of_a_chain_takes_the_items_of_all_messages():
    steps = Steps(upper, batch=4)
    some = [Item("a.txt", b"a b c"), Item("b.txt", b"d e")]
    results = await run(steps.chain(before=Step("words")), some)

    found = [[p.data for p in one.products] for one in results if isinstance(one, Result)]
    assert found == [[b"A", b"B", b"C"], [b"D", b"E"]]
    assert steps.sizes == [4, 1]


async def test_the_parts_of_one_item_share_a_call():
    steps = Steps(upper, batch=100)
    (result,) = await run(steps.chain(before=Step("words")), [Item("a.txt", b"word " * 250)])

    assert isinstance(result, Result)
    assert [p.data for p in result.products] == [b"WORD"] * 250
    assert steps.sizes == [100, 100, 50]


async def test_the_error_of_one_part_is_that_of_its_message_and_no_further_call_begins():
    def answer(some: Sequence[Item]) -> list[Any]:
        return [Reject("bad") if item.text == "no" else item.text for item in some]

    steps = Steps(answer, batch=2)
    some = [Item("a.txt", b"yes no " + b"yes " * 20), Item("b.txt", b"one two three")]
    results = await run(steps.chain(before=Step("words"), concurrency=1), some)

    assert {n: type(one) for n, one in failed(results).items()} == {0: Reject}
    assert len(steps.calls) <= 4


async def test_after_the_error_of_one_part_no_halves_of_its_message_are_tried():
    def answer(some: Sequence[Item]) -> list[str]:
        if any(item.text == "bad" for item in some):
            raise ValueError("400 Bad Request")
        return upper(some)

    steps = Steps(answer, batch=8)
    (error,) = await run(steps.chain(before=Step("words")), [Item("a.txt", b"bad " + b"good " * 7)])

    assert isinstance(error, ValueError)
    assert steps.sizes == [8, 4, 2, 1]


async def test_parts_that_a_condition_does_not_admit_keep_their_place():
    steps = Steps(upper)
    condition = Condition("path", "not_equals", "a/0002.txt")
    route = Route("r", "q", (Step("words"), Step("plain", condition=condition)), stage="s")
    assert WORDS
    (result,) = await run(
        Chain(route, {"plain": steps.spec, "words": WORDS}), [Item("a.txt", b"one two three")]
    )

    assert isinstance(result, Result)
    assert [p.data for p in result.products] == [b"ONE", b"two", b"THREE"]


async def test_steps_without_batches_run_as_often_at_once_as_the_concurrency_allows():
    running, may_end, at_once = 0, 0, [0]
    clock = Clock()

    @adapter("slow")
    async def slow(item: Item) -> str:
        nonlocal running
        running += 1
        number = len(at_once)
        at_once.append(running)
        while number > may_end:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        running -= 1
        return item.text

    spec = spec_of(slow)
    assert spec
    steps = Steps(upper, batch=10, is_async=True)
    route = Route("r", "q", (Step("slow"), Step("async")), stage="s", concurrency=2, timeout_seconds=0.5)
    chain = Chain(route, {"slow": spec, "async": steps.spec})
    slots: Slots[int] = Slots(20, clock=ActiveClock(clock))
    jobs = [
        Job(n, partial(chain.run_async, item, CTX), 0.5, "async", is_async=True)
        for n, item in enumerate(items(20))
    ]
    for job in jobs:
        slots.submit(job)
    # The time of a job counts from its first turn on the loop until it waits, so all of them must wait.
    await until(lambda: len([job for job in jobs if job.waits_since is not None]) == 18)
    for begun in range(2, 21, 2):
        # No call lasts for two steps of the clock: those before have ended.
        await until(lambda: (len(at_once), slots.ended_count) == (1 + begun, begun - 2))  # noqa: B023
        clock.advance(0.4)
        slots.expire()
        may_end = begun
    await until(lambda: slots.ended_count == 20)
    slots.close()
    chain.close()

    assert [job.error for job in slots.drain() if job.error] == [], "waiting counts towards no time-out"
    assert max(at_once) == 2


async def test_each_part_of_a_suspected_poison_message_is_called_alone():
    steps = Steps(upper)
    await run(steps.chain(before=Step("words")), [Item("a.txt", b"one two three")], alone=True)

    assert steps.sizes == [1, 1, 1]


async def test_items_that_skip_the_step_join_no_batch():
    steps = Steps(upper)
    route = Route(
        "r",
        "q",
        (Step("plain", condition=Condition("path", "not_equals", "1.txt")),),
        stage="s",
    )
    results = await run(Chain(route, {"plain": steps.spec}), items(3))

    assert steps.calls == [["0.txt", "2.txt"]]
    assert not failed(results)


def test_run_adapter_takes_several_items():
    @adapter("count", batch=10)
    def count(items: Sequence[Item], ctx: Sequence[Any]) -> list[str]:
        assert len({one.correlation_id for one in ctx}) == len(items)
        return [f"{item.text} of {len(items)}" for item in items]

    assert [[one.text for one in some] for some in run_adapter(count, items(3))] == [
        ["0 of 3"],
        ["1 of 3"],
        ["2 of 3"],
    ]
    assert [one.text for one in run_adapter(count, Item("x", b"7"))] == ["7 of 1"]


@pytest.mark.parametrize(
    ("declare", "error"),
    [
        (lambda: adapter("a", batch=0), "batch=0, must be from 1 to 10000"),
        (lambda: adapter("a", batch=2, wait_seconds=-1), "wait_seconds=-1, must be from 0 to 60"),
        (lambda: adapter("a", batch=2)(lambda item: None), "takes items first"),
        (lambda: adapter("a")(lambda items: None), "takes item first"),
        (lambda: adapter("a", batch=2)(_generates), "must not be a generator"),
    ],
)
def test_a_wrong_declaration_is_refused(declare: Callable[[], Any], error: str):
    with pytest.raises((TypeError, ValueError), match=error):
        declare()


def _generates(items: Sequence[Item]) -> Any:
    yield from items
