"""Behaviour of the memory store only: steps that a test drives without an event loop."""

from __future__ import annotations

from collections.abc import Generator
from types import coroutine

import pytest

from playhead.errors import Unavailable, store_unavailable
from playhead.ports.store import Blob
from tests.store_memory import MemoryStore


@coroutine
def step() -> Generator[str, None, None]:
    yield "step"


def test_a_write_pauses_before_each_blob():
    store = MemoryStore(pause=step)
    names: list[str] = []
    writing = store.write([[Blob("e/s/x.meta.json", b"{}"), Blob("e/s/x", b"x")]], written=names.append)
    assert writing.send(None) == "step"  # the call
    assert writing.send(None) == "step"  # the first blob
    assert names == []
    assert writing.send(None) == "step"
    assert names == ["e/s/x.meta.json"]
    with pytest.raises(StopIteration) as end:
        writing.send(None)
    assert end.value.value == [None]
    assert names == ["e/s/x.meta.json", "e/s/x"]


def test_every_call_pauses_before_it_starts():
    store = MemoryStore(pause=step)
    calls = [
        store.read(["e"]),
        store.write([]),
        store.stat("e"),
        store.check(),
        store.close(),
        anext(aiter(store.list("e"))),
        anext(aiter(store.stream("e"))),
    ]
    for call in calls:
        waiting = call.__await__()
        assert next(waiting) == "step"
        waiting.close()


async def test_an_exception_of_the_pause_is_raised_and_nothing_is_stored():
    away = True

    async def pause() -> None:
        if away:
            raise store_unavailable("the test makes the store unavailable")

    store = MemoryStore(pause)
    with pytest.raises(Unavailable):
        await store.write([[Blob("e/s/x", b"x")]])
    away = False
    assert await store.read(["e/s/x"]) == [None]


async def test_folder_markers_and_invalid_keys_are_stored_as_in_an_object_store():
    store = MemoryStore()
    odd = ["e/s/", "e/s//x", "e/s/a\\b", "e/s/x/"]
    await store.write([[Blob(key, b"")] for key in odd])
    assert [entry.key async for page in store.list("e/s") for entry in page] == sorted(odd)
