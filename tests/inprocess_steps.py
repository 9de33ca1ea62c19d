"""Adapters for the tests that open a runtime in their own process. Each test loads a copy of its own.

`do` and `ado` do what the test tells them: it sets `steps.doing` (or `steps.adoing`) to a function.
Whatever they were given is in `seen`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel

from playhead import Context, Item, Output, adapter


class Seen(NamedTuple):
    """One start of `do` or `ado`. `at` is monotonic, in seconds."""

    path: str
    text: str
    item: Item
    ctx: Context
    at: float


def _nothing(item: Item, ctx: Context) -> Any:
    return None


async def _anothing(item: Item, ctx: Context) -> Any:
    return None


doing: Callable[[Item, Context], Any] = _nothing
adoing: Callable[[Item, Context], Awaitable[Any]] = _anothing
seen: list[Seen] = []
opened = threading.Event()
"""What a blocking adapter waits for. Set at the end of every test, so that no thread stays behind."""


class Gauge:
    """How many are inside now, and how many were at most."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1


gauge = Gauge()


class Stamp(BaseModel):
    text: str = "."


class Tag(BaseModel):
    name: str
    value: Any = None


def _note(item: Item, ctx: Context) -> None:
    seen.append(Seen(item.path, item.data.decode(errors="replace"), item, ctx, time.monotonic()))


@adapter("do")
def do(item: Item, ctx: Context) -> Any:
    """What the test says."""
    _note(item, ctx)
    with gauge:
        return doing(item, ctx)


@adapter("ado")
async def ado(item: Item, ctx: Context) -> Any:
    """What the test says, as a coroutine."""
    _note(item, ctx)
    with gauge:
        return await adoing(item, ctx)


@adapter("stamp")
def stamp(item: Item, config: Stamp) -> str | None:
    """Put a text behind the text."""
    return item.text + config.text


@adapter("words", produces="text/plain")
def words(item: Item) -> Iterator[str]:
    """Give each word as an output."""
    yield from item.text.split()


@adapter("tag")
def tag(item: Item, config: Tag) -> Output:
    """Set an attribute."""
    return item.derive(item.data, **{config.name: config.value})
