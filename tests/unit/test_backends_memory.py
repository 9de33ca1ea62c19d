"""The in-memory backends can be driven by hand, one step at a time, without an event loop.

That is what random schedules need: each method, or each transaction of the catalog, stands aside once, then
takes effect in one step. A coroutine that is closed at its pause, as a crash would, has done nothing.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any
from uuid import UUID

import pytest

from playhead.envelope import Dispatch, Headers
from playhead.ids import uuid7
from playhead.model import Config, Route
from tests.broker_memory import MemoryBroker
from tests.catalog_memory import MemoryCatalog

DOCS = Config("docs", "convert", {"convert": Route("convert", "docs.convert")})
CALL = Dispatch(Headers("docs.convert", UUID(int=7), "docs", 1, "convert"), str(uuid7()), 0, None, "key")


@coroutine
def stand_aside() -> Generator[None, None, None]:
    yield


def steps(work: Coroutine[Any, Any, Any]) -> tuple[int, Any]:
    """Run to the end by hand; returns how often it paused, and its result."""
    pauses = 0
    while True:
        try:
            work.send(None)
        except StopIteration as end:
            return pauses, end.value
        pauses += 1


def test_each_method_pauses_once_and_then_takes_effect():
    catalog, broker = MemoryCatalog(pause=stand_aside), MemoryBroker(pause=stand_aside)

    pauses, (version, new) = steps(catalog.save_config(DOCS, source="", digest="sha256:1"))
    assert (pauses, version.version, new) == (1, 1, True)
    assert steps(broker.publish([CALL]))[0] == 1
    pauses, (delivery,) = steps(broker.receive("docs.convert", 10))
    assert (pauses, delivery.message_id) == (1, CALL.message_id)
    assert steps(broker.ack([delivery])) == (1, None)
    assert steps(broker.depth("docs.convert")) == (1, (0, 0))


def test_a_method_that_crashes_at_its_pause_has_no_effect():
    catalog, broker = MemoryCatalog(pause=stand_aside), MemoryBroker(pause=stand_aside)
    for work in (catalog.save_config(DOCS, source="", digest="sha256:1"), broker.publish([CALL])):
        work.send(None)
        work.close()

    assert steps(catalog.config("docs"))[1] is None
    assert steps(broker.depth("docs.convert"))[1] == (0, 0)


def test_a_receiver_does_not_wait_under_a_scheduler():
    broker = MemoryBroker(pause=stand_aside)

    assert steps(broker.receive("docs.convert", 10, wait=1000)) == (1, [])


@pytest.mark.parametrize("backend", [MemoryCatalog, MemoryBroker])
def test_without_a_pause_no_method_gives_up_control(backend: type[MemoryCatalog | MemoryBroker]):
    assert steps(backend().check())[0] == 0
