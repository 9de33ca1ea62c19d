"""An isolated step in its parent. The child is replaced by a copy of the call, as another process gets it."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence

import pytest

from playhead import Item, adapter
from playhead.errors import MessageError
from playhead.model import Route, Step
from playhead.ports.adapter import spec_of
from playhead.steps.chain import Chain, Limits
from playhead.steps.isolation import Call, ChildStep, Reply
from playhead.steps.outputs import Returned
from tests.unit.test_chain import CTX


class CopyingChild:
    """Returns the text of each item twice, and changes nothing in its parent."""

    is_alive = True

    def __init__(self, step: ChildStep) -> None:
        self.left: list[int] = []

    def call(self, call: Call, over: Callable[[], bool]) -> Reply | None:
        items, _, budgets = pickle.loads(pickle.dumps((call.items, None, call.budgets)))
        assert all(budget.outputs >= 0 for budget in budgets)
        return [Returned((item.text, item.text), True) for item in items]

    def begin_end(self) -> None: ...
    def end(self) -> None: ...
    def kill(self) -> None: ...


@adapter("words")
def words(item: Item) -> list[str]:
    return item.text.split()


@adapter("isolated")
def isolated(item: Item) -> str:
    return item.text


@adapter("batched", batch=2, wait_seconds=0)
def batched(items: Sequence[Item]) -> list[str]:
    return [item.text for item in items]


@pytest.mark.parametrize("limits", [Limits(outputs=10), Limits(bytes=47)])
def test_the_limits_of_a_step_count_all_its_calls_for_one_item(limits: Limits):
    chain = chain_of("isolated", limits)
    assert len(chain.run(Item("a.txt", b"word " * 5), CTX).products) == 10
    with pytest.raises(MessageError, match="returned too many"):
        chain.run(Item("a.txt", b"word " * 6), CTX)


async def test_the_limits_of_a_step_with_batches_count_all_its_calls_for_one_item():
    chain = chain_of("batched", Limits(10))
    assert len((await chain.run_async(Item("a.txt", b"word " * 5), CTX)).products) == 10
    with pytest.raises(MessageError, match="returned too many"):
        await chain.run_async(Item("a.txt", b"word " * 6), CTX)
    chain.close()


def chain_of(name: str, limits: Limits) -> Chain:
    specs = {spec.name: spec for spec in map(spec_of, (words, isolated, batched)) if spec}
    route = Route("r", "q", (Step("words"), Step(name, isolation="process")), stage="s")
    return Chain(route, specs, limits=limits, isolate=CopyingChild)
