"""A chain of adapters, run for one item."""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, strategies as st
from pydantic import BaseModel, ConfigDict, Field

from playhead import Context, Item, Output, Reject, Retry, adapter
from playhead.errors import MessageError
from playhead.ids import uuid7
from playhead.model import Condition, Route, Skip, Step
from playhead.ports.adapter import spec_of
from playhead.steps.chain import LIMITS, Chain, Limits, Product, Result, UnknownAdapter
from playhead.testing import run_adapter
from tests.waiting import until

ROOT = Path(__file__).parents[2]
CTX = Context(uuid7(), uuid7(), "docs", 3, "convert", 2, None, "/nowhere", logging.getLogger("test"))
PAGE = Item("guide/page.html", b"<p>", "text/html", {"title": "A page"}, key="e/input/guide/page.html")


def chain_of(
    *steps: Callable[..., Any] | tuple[Callable[..., Any], dict[str, Any]],
    stage: str | None = "out",
    limits: Limits = LIMITS,
) -> Chain:
    """Return a chain of adapters; each is given alone or with further fields of its step."""
    pairs = [step if isinstance(step, tuple) else (step, {}) for step in steps]
    specs = [spec_of(target) for target, _ in pairs]
    assert all(specs)
    route = Route(
        "convert",
        "docs.convert",
        tuple(Step(spec.name, **rest) for spec, (_, rest) in zip(specs, pairs, strict=True) if spec),
        stage=stage,
    )
    return Chain(route, {spec.name: spec for spec in specs if spec}, limits=limits)


def giving(value: Any, *, name: str = "giving", produces: str | None = None):
    """Return an adapter that always returns this value."""

    @adapter(name, produces=produces)
    def step(item: Item) -> Any:
        return value() if callable(value) else value

    return step


def run(step: Callable[..., Any], item: Item = PAGE, **rest: Any) -> list[Product]:
    return chain_of((step, rest)).run(item, CTX).products


def paths(products: list[Product]) -> list[str]:
    return [p.path for p in products]


@adapter("upper")
def upper(item: Item) -> str:
    return item.text.upper()


@adapter("lines", produces="text/plain")
def lines(item: Item) -> Iterator[str]:
    yield from item.text.splitlines()


@adapter("later")
async def later(item: Item) -> Output:
    await asyncio.sleep(0)
    return item.derive(item.data + b"!", thread=threading.current_thread().name)


# -- what a step may give --------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["x", b"x", Output(b"x")])
def test_one_output_is_stored_under_the_inputs_path(value):
    assert run(giving(value, produces="text/markdown")) == [
        Product("guide/page.md", b"x", "text/markdown", {"title": "A page"})
    ]


@pytest.mark.parametrize("make", [list, tuple, iter, lambda values: (v for v in values)])
def test_outputs_of_an_iterable_are_stored_in_a_folder(make):
    products = run(giving(lambda: make(["a", b"b", Output(b"c")]), produces="text/markdown"))
    assert paths(products) == ["guide/page/0001.md", "guide/page/0002.md", "guide/page/0003.md"]
    assert [p.data for p in products] == [b"a", b"b", b"c"]


def test_a_single_output_of_an_iterable_is_stored_in_a_folder_too():
    assert paths(run(giving(["a"]))) == ["guide/page/0001.html"]


@pytest.mark.parametrize("value", [None, [], ()])
def test_an_adapter_may_return_no_output(value):
    assert run(giving(value)) == []


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (PAGE, "returned Item"),
        ({"a": "b"}, "returned dict"),
        (7, "returned int"),
        (bytearray(b"x"), "returned bytearray"),
        (memoryview(b"x"), "returned memoryview"),
        (["a", None], "element 2 of its result is None"),
        ([PAGE], "element 1 of its result is of type Item"),
        ([["a"]], "of type list"),
        (Output("text"), "must be bytes"),  # type: ignore[arg-type]
        (Output(b"", path=b"x"), "Output.path"),  # type: ignore[arg-type]
        (Output(b"", content_type="markdown"), "not a content type"),
        (Output(b"", content_type="text/plain\r\nSet-Cookie: a=b"), "not a content type"),
        (Output(b"", attributes=[]), "must be a mapping"),  # type: ignore[arg-type]
        ("\ud800", "UTF-8"),
    ],
)
def test_another_return_type_is_bad_output_that_names_route_and_adapter(value, words):
    with pytest.raises(MessageError, match=words) as caught:
        run(giving(value))
    assert caught.value.code == "bad_output"
    assert caught.value.detail.startswith("route 'convert', adapter 'giving': ")


async def test_an_endless_iterable_is_bad_output():
    @adapter("endless")
    async def endless(item: Item) -> AsyncIterator[str]:
        while True:
            yield "a"

    for chain in (chain_of(giving(lambda: repeat("a"))), chain_of(endless)):
        with pytest.raises(MessageError, match="too many outputs for one item") as caught:
            await chain.run_async(PAGE, CTX)
        assert caught.value.code == "bad_output"


async def test_the_limit_of_outputs_applies_to_an_item_and_not_to_each_intermediate_output():
    """Two steps of 1,500 outputs each made 2,250,000 outputs of one item, though 100,000 was the limit."""
    ten, again = giving(["a"] * 10, name="ten"), giving(["b"] * 10, name="again")
    chain = chain_of(ten, again, limits=Limits(outputs=99))
    for run_chain in (lambda: asyncio.to_thread(chain.run, PAGE, CTX), lambda: chain.run_async(PAGE, CTX)):
        with pytest.raises(MessageError, match="'again': returned too many outputs for one item"):
            await run_chain()
    assert len(chain_of(ten, again, limits=Limits(outputs=100)).run(PAGE, CTX).products) == 100


def test_items_that_pass_a_step_because_of_its_condition_count_towards_the_limit_of_outputs():
    mixed = giving(["a"] * 5 + [Output(b"b", content_type="text/html")] * 5, produces="text/plain")
    again = giving(["c"] * 10, name="again"), {"condition": IS_TEXT}
    assert len(chain_of(mixed, again, limits=Limits(outputs=55)).run(PAGE, CTX).products) == 55
    with pytest.raises(MessageError, match="'again': returned too many outputs for one item"):
        chain_of(mixed, again, limits=Limits(outputs=54)).run(PAGE, CTX)


async def test_the_bytes_that_a_step_returns_for_an_item_are_limited():
    for data in (b"x" * 10, "x" * 10, Output(b"x" * 10)):
        parts = giving(lambda data=data: repeat(data))
        with pytest.raises(MessageError, match="too many bytes for one item") as caught:
            await chain_of(parts, limits=Limits(bytes=1000)).run_async(PAGE, CTX)
        assert caught.value.code == "bad_output"
    # Each step has the whole limit, as an item that is passed on unchanged is no additional memory.
    same = giving("x" * 900, name="same")
    assert len(chain_of(same, upper, limits=Limits(bytes=1000)).run(PAGE, CTX).products) == 1


def test_a_coroutine_from_a_plain_function_is_bad_output():
    with pytest.raises(MessageError, match="async def"):
        run(giving(lambda: later(PAGE)))


# -- paths and content types -----------------------------------------------------------------------


def test_a_path_from_the_adapter_is_used_unchanged():
    products = run(giving([Output(b"", "x/y"), "z", Output(b"", "other.json")], produces="text/plain"))
    assert paths(products) == ["x/y", "guide/page/0002.txt", "other.json"]
    assert {p.content_type for p in products} == {"text/plain"}


def test_a_content_type_comes_from_the_output_the_adapter_the_path_or_the_input_in_this_order():
    def kind(output: Output, produces: str | None = None) -> str:
        return run(giving(output, produces=produces))[0].content_type

    assert kind(Output(b"", "a.json", "text/csv"), "text/plain") == "text/csv"
    assert kind(Output(b"", "a.json"), "text/plain") == "text/plain"
    assert kind(Output(b"", "a.json")) == "application/json"
    assert kind(Output(b"", "a.bin")) == "text/html"
    assert kind(Output(b"")) == "text/html"


@pytest.mark.parametrize(
    "path", ["", "/a", "a//b", "../a", "a\\b", "a\n", "a.meta.json", "x" * 201, "e\u0301", "\ud800"]
)
def test_a_path_outside_the_grammar_is_an_invalid_key(path):
    with pytest.raises(MessageError, match="the output path") as caught:
        run(giving(Output(b"", path)))
    assert caught.value.code == "invalid_key"


def test_a_path_that_is_too_long_with_its_new_suffix_is_an_invalid_key():
    with pytest.raises(MessageError, match="201 bytes") as caught:
        run(giving("x", produces="text/markdown"), Item("x" * 198, b""))
    assert caught.value.code == "invalid_key"


def test_two_outputs_of_a_message_with_one_path_are_a_conflict():
    with pytest.raises(MessageError, match=r"'a' twice for 'guide/page.html'.*Output\(path=") as caught:
        run(giving([Output(b"1", "a"), Output(b"2", "b"), Output(b"3", "a")]))
    assert caught.value.code == "output_conflict"


# -- attributes ------------------------------------------------------------------------------------


def test_attributes_pass_on_unless_overwritten():
    item = Item("a.txt", b"", attributes={"title": "old", "kept": [1]})
    (product,) = run(giving(Output(b"", attributes={"title": "new", "more": {"x": None}})), item)
    assert product.attributes == {"title": "new", "kept": [1], "more": {"x": None}}
    assert item.attributes == {"title": "old", "kept": [1]}


def test_attributes_are_copied_as_the_json_that_will_be_stored():
    shared = {"list": (1, 2)}
    one, two = run(giving([Output(b"", attributes=shared), Output(b"", attributes=shared)]))
    assert one.attributes["list"] == [1, 2]
    assert one.attributes["list"] is not two.attributes["list"]


@pytest.mark.parametrize(
    "attributes",
    [
        {"a": object()},
        {"a": {1}},
        {"a": float("nan")},
        {"a": "\ud800"},
        {1: "a"},
        {"a": [{2: 1}]},
        {"a": b"x"},
    ],
)
def test_attributes_that_are_not_json_are_bad_output(attributes):
    with pytest.raises(MessageError, match="not JSON") as caught:
        run(giving(Output(b"", attributes=attributes)))
    assert caught.value.code == "bad_output"


def test_attributes_that_contain_themselves_are_bad_output():
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(MessageError, match="not JSON"):
        run(giving(Output(b"", attributes={"loop": loop})))


def test_attributes_over_64_kib_are_bad_output():
    room = 65536 - len(b'{"a":""}')
    plain = Item("a.txt", b"")
    assert len(run(giving(Output(b"", attributes={"a": "é" * (room // 2)})), plain)) == 1
    with pytest.raises(MessageError, match="65537 bytes") as caught:
        run(giving(Output(b"", attributes={"a": "x" * (room + 1)})), plain)
    assert caught.value.code == "bad_output"


# -- several steps ---------------------------------------------------------------------------------


def test_each_output_is_an_item_of_the_next_step():
    seen: list[Item] = []

    @adapter("note")
    def note(item: Item) -> bytes:
        seen.append(item)
        return item.data

    products = (
        chain_of(lines, note)
        .run(Item("a.txt", b"x\ny", attributes={"t": 1}, stage="old", key="k"), CTX)
        .products
    )
    assert seen == [
        Item("a/0001.txt", b"x", "text/plain", {"t": 1}, "old", None),
        Item("a/0002.txt", b"y", "text/plain", {"t": 1}, "old", None),
    ]
    assert paths(products) == ["a/0001.txt", "a/0002.txt"]


def test_fan_outs_nest():
    words = adapter("words", produces="text/csv")(lambda item: item.text.split())
    products = chain_of(lines, words).run(Item("a.txt", b"x y\nz"), CTX).products
    assert [(p.path, p.data) for p in products] == [
        ("a/0001/0001.csv", b"x"),
        ("a/0001/0002.csv", b"y"),
        ("a/0002/0001.csv", b"z"),
    ]


def test_outputs_of_inner_steps_may_have_the_same_path_if_the_last_paths_differ():
    same = giving([Output(b"1", "a"), Output(b"2", "a")])
    apart = adapter("apart")(lambda item: Output(b"", item.text))
    assert paths(chain_of(same, apart).run(PAGE, CTX).products) == ["1", "2"]
    with pytest.raises(MessageError, match="twice"):
        chain_of(same, upper).run(PAGE, CTX)


def test_an_item_that_ends_early_reaches_no_later_step():
    result = chain_of(giving(None), giving(lambda: pytest.fail("reached"), name="next")).run(PAGE, CTX)
    assert result == Result([], Skip("no_output", "giving returned no output"))


def test_a_route_without_a_stage_must_return_no_output():
    completed = Result([])  # an item that ends here is not skipped
    assert chain_of(giving(None), stage=None).run(PAGE, CTX) == completed
    assert chain_of(upper, giving(None), stage=None).run(PAGE, CTX) == completed
    with pytest.raises(MessageError, match="outbound") as caught:
        chain_of(upper, stage=None).run(PAGE, CTX)
    assert caught.value.code == "bad_output"


# -- conditions ------------------------------------------------------------------------------------

IS_TEXT = Condition("content_type", "equals", "text/plain")
IS_TEXT_OR_DROP = Condition("content_type", "equals", "text/plain", otherwise="drop")


def test_an_item_that_skips_a_step_stays_unchanged_and_keeps_its_key():
    seen: list[Item] = []
    look = adapter("look")(lambda item: seen.append(item))
    chain_of((upper, {"condition": IS_TEXT}), look).run(PAGE, CTX)
    assert seen == [PAGE]


def test_an_item_that_skips_the_last_step_is_stored_unchanged():
    assert run(upper, condition=IS_TEXT) == [
        Product("guide/page.html", b"<p>", "text/html", {"title": "A page"})
    ]
    assert run(upper, Item("a.txt", b"x"), condition=IS_TEXT)[0].data == b"X"


@pytest.mark.parametrize("stage", ["out", None])
def test_a_condition_can_drop_an_item_and_is_the_reason_why_it_is_skipped(stage):
    dropped = Result(
        [], Skip("condition_false", "the condition of upper dropped it: its content type is text/html")
    )
    assert chain_of((upper, {"condition": IS_TEXT_OR_DROP}), stage=stage).run(PAGE, CTX) == dropped
    last = giving(None)
    assert chain_of((upper, {"condition": IS_TEXT_OR_DROP}), last, stage=stage).run(PAGE, CTX) == dropped


def test_an_item_that_skips_the_last_step_of_a_route_without_a_stage_ends():
    assert chain_of((upper, {"condition": IS_TEXT}), stage=None).run(PAGE, CTX).products == []


def test_the_condition_is_checked_for_each_output_of_a_fan_out():
    big = Condition("size", "gt", 1)
    products = chain_of(lines, (upper, {"condition": big})).run(Item("a.txt", b"x\nyy"), CTX).products
    assert [p.data for p in products] == [b"x", b"YY"]


# -- config and ctx --------------------------------------------------------------------------------


class Settings(BaseModel):
    size: int = Field(3, alias="max_size")
    text: str = "x"


@adapter("settled")
def settled(item: Item, config: Settings, ctx: Context) -> str:
    return f"{config.size} {config.text} {ctx.attempt}"


def test_config_is_the_model_and_ctx_describes_the_message():
    assert run(settled, config={"max_size": 7})[0].data == b"7 x 2"
    assert run(settled)[0].data == b"3 x 2"


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


@adapter("open")
def open_(item: Item, config: Open) -> None: ...


@pytest.mark.parametrize(
    ("step", "config", "words"),
    [
        (settled, {"max_size": "many"}, "max_size"),
        (settled, {"sise": 3}, "unknown: sise"),
        (open_, {"anything": 1}, "unknown: anything"),
        (upper, {"anything": 1}, "takes no config"),
    ],
)
def test_a_config_that_no_longer_matches_the_model_counts_as_an_unknown_adapter(step, config, words):
    with pytest.raises(UnknownAdapter, match=words) as caught:
        chain_of((step, {"config": config}))
    assert len(caught.value.names) == 1
    assert caught.value.code == "step_invalid"


def test_all_missing_adapters_are_named():
    route = Route("r", "q", (Step("upper"), Step("one"), Step("two")), stage="s")
    with pytest.raises(UnknownAdapter, match="one, two") as caught:
        Chain(route, {"upper": spec_of(upper)})  # type: ignore[dict-item]
    assert caught.value.names == ("one", "two")


def test_a_chain_lists_its_adapters_in_order():
    assert [spec.name for spec in chain_of(lines, upper).specs] == ["lines", "upper"]


# -- errors of adapters ----------------------------------------------------------------------------


@pytest.mark.parametrize("error", [Reject("no"), Retry("later", after=1), KeyError("k"), KeyboardInterrupt()])
def test_an_exception_of_an_adapter_is_raised_unchanged(error):
    @adapter("failing")
    def failing(item: Item) -> None:
        raise error

    @adapter("failing_late")
    def failing_late(item: Item) -> Iterator[str]:
        yield "x"
        raise error

    for step in (failing, failing_late):
        with pytest.raises(type(error)) as caught:
            run(step)
        assert caught.value is error


@pytest.mark.parametrize("error", [StopIteration("end"), SystemExit(3)])
def test_errors_that_would_stop_an_event_loop_become_ordinary_ones(error):
    @adapter("failing")
    def failing(item: Item) -> None:
        raise error

    @adapter("failing_async")
    async def failing_async(item: Item) -> None:
        raise error

    with pytest.raises(RuntimeError, match=type(error).__name__):
        run(failing)
    for steps in ((failing_async,), (failing, later)):
        with pytest.raises(RuntimeError, match=type(error).__name__):
            asyncio.run(chain_of(*steps).run_async(PAGE, CTX))


# -- async -----------------------------------------------------------------------------------------


async def test_a_chain_with_an_async_step_is_async_and_runs_plain_ones_in_threads():
    @adapter("thread")
    def thread(item: Item) -> Output:
        return item.derive(item.data, plain=threading.current_thread().name)

    chain = chain_of(thread, later)
    assert chain.is_async
    assert not chain_of(thread).is_async
    with pytest.raises(RuntimeError, match="run_async"):
        chain.run(PAGE, CTX)
    (product,) = (await chain.run_async(PAGE, CTX)).products
    assert product.data == b"<p>!"
    assert product.attributes["thread"] == threading.current_thread().name
    assert product.attributes["plain"] == "playhead-adapter"


async def test_a_plain_step_that_hangs_in_an_async_chain_can_be_abandoned():
    release = threading.Event()
    waiting = adapter("waiting")(lambda item: release.wait(30) and None)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await chain_of(waiting, later).run_async(PAGE, CTX)
    release.set()


async def test_outputs_of_async_generators_are_stored_in_a_folder():
    @adapter("many", produces="text/plain")
    async def many(item: Item) -> AsyncIterator[str]:
        yield "a"
        await asyncio.sleep(0)
        yield "b"

    assert paths((await chain_of(many).run_async(PAGE, CTX)).products) == [
        "guide/page/0001.txt",
        "guide/page/0002.txt",
    ]


async def test_a_plain_chain_can_also_run_async():
    assert (await chain_of(upper).run_async(PAGE, CTX)).products[0].data == b"<P>"


# -- classes ---------------------------------------------------------------------------------------


@adapter("counting")
class Counting:
    made: list[Counting] = []  # noqa: RUF012 - the test looks at it

    def __init__(self, config: Settings) -> None:
        self.made.append(self)
        self.threads: set[threading.Thread] = set()
        self.calls = 0
        self.closed = 0

    def __call__(self, item: Item, ctx: Context) -> str:
        self.threads.add(threading.current_thread())
        self.calls += 1
        return str(self.calls)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def made() -> list[Counting]:
    Counting.made.clear()
    return Counting.made


def test_a_class_is_created_once_per_chain_at_the_first_message(made):
    chain = chain_of(Counting)
    assert made == []
    assert [chain.run(PAGE, CTX).products[0].data for _ in range(3)] == [b"1", b"2", b"3"]
    assert len(made) == 1
    chain_of(Counting).run(PAGE, CTX)
    assert len(made) == 2


def in_threads(chain: Chain, count: int = 8, times: int = 20) -> None:
    """Run items in several threads that begin at the same moment."""
    gate = threading.Barrier(count)

    def work() -> None:
        gate.wait()
        for _ in range(times):
            chain.run(PAGE, CTX)

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_each_thread_has_its_own_instance(made):
    in_threads(chain_of(Counting))
    assert [each.calls for each in made] == [20] * 8
    assert all(len(each.threads) == 1 for each in made)


def test_threads_share_the_instance_of_a_thread_safe_class(made):
    @adapter("shared", thread_safe=True)
    class Shared(Counting):
        pass

    in_threads(chain_of(Shared))
    assert len(made) == 1
    assert len(made[0].threads) == 8


def test_the_instance_of_a_thread_that_has_ended_is_closed(made):
    chain = chain_of(Counting)
    in_threads(chain, count=3)
    chain.run(PAGE, CTX)
    assert sorted(each.closed for each in made) == [0, 1, 1, 1]
    chain.close()
    assert [each.closed for each in made] == [1] * 4


async def test_calls_of_a_plain_class_in_an_async_chain_reuse_the_instances_of_idle_threads(made):
    chain = chain_of(Counting, later)
    for _ in range(5):
        await asyncio.gather(*(chain.run_async(PAGE, CTX) for _ in range(3)))
    assert sum(each.calls for each in made) == 15
    assert len(made) <= 3
    assert all(len(each.threads) == 1 for each in made)
    chain.close()
    await until(lambda: not any(thread.is_alive() for each in made for thread in each.threads))


def test_the_class_of_the_page_about_adapters_records_each_of_3000_items(tmp_path):
    page = (ROOT / "docs/howto/own-adapter.md").read_text(encoding="utf-8")
    (source,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.S) if "# kept.py" in block)
    module = ModuleType("kept")
    exec(source, vars(module))
    chain = chain_of(module.Ledger)
    contexts = [replace(CTX, correlation_id=uuid7(), data_dir=str(tmp_path)) for _ in range(3000)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda ctx: chain.run(PAGE, ctx), contexts))
    chain.close()
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as db:
        assert db.execute("SELECT count(*) FROM seen").fetchone() == (3000,)


def test_close_closes_all_instances_and_may_be_called_twice(made):
    chain = chain_of(Counting)
    chain.close()
    chain.run(PAGE, CTX)
    chain.close()
    chain.close()
    assert [each.closed for each in made] == [1]


def test_a_class_that_cannot_be_created_fails_the_message_and_is_created_again_later():
    tries: list[int] = []

    @adapter("fragile")
    class Fragile:
        def __init__(self) -> None:
            tries.append(1)
            if len(tries) == 1:
                raise OSError("not yet")

        def __call__(self, item: Item) -> str:
            return "x"

    chain = chain_of(Fragile)
    with pytest.raises(OSError, match="not yet"):
        chain.run(PAGE, CTX)
    assert chain.run(PAGE, CTX).products[0].data == b"x"


def test_a_failing_close_is_logged_and_the_other_instances_are_closed(made, caplog):
    @adapter("stubborn")
    class Stubborn:
        def __call__(self, item: Item) -> bytes:
            return item.data

        def close(self) -> None:
            raise OSError("stuck")

    chain = chain_of(Stubborn, Counting)
    chain.run(PAGE, CTX)
    chain.close()
    assert [each.closed for each in made] == [1]
    assert "adapter_close_failed" in caplog.text
    assert "stuck" in caplog.text


# -- for any text ----------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=8), max_size=20), st.sampled_from([None, "text/plain", "image/webp"]))
def test_a_fan_out_loses_no_output_and_uses_no_path_twice(pieces, produces):
    products = run(giving(pieces, produces=produces))
    assert [p.data for p in products] == pieces
    assert len(set(paths(products))) == len(pieces)
    assert all(p.path.startswith("guide/page/") for p in products)


@adapter("async_counting")
class AsyncCounting:
    closed: list[asyncio.AbstractEventLoop] = []  # noqa: RUF012 - the test looks at it

    async def __call__(self, item: Item) -> bytes:
        return item.data

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.closed.append(asyncio.get_running_loop())


async def test_an_async_close_runs_on_the_loop_of_the_instance():
    AsyncCounting.closed.clear()
    chain = chain_of(AsyncCounting)
    await chain.run_async(PAGE, CTX)
    await asyncio.to_thread(chain.close)
    await until(lambda: bool(AsyncCounting.closed))
    await chain.close_async()

    assert AsyncCounting.closed == [asyncio.get_running_loop()]


def test_run_adapter_awaits_an_async_close():
    AsyncCounting.closed.clear()
    run_adapter(AsyncCounting, PAGE)

    assert len(AsyncCounting.closed) == 1
