"""The parts that the brokers in SQLite and PostgreSQL share: how rows are encoded, and receivers that
wait."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from playhead.envelope import Dispatch, Headers


def longest_hidden(visibility: float) -> float:
    """Return for how many seconds a dispatch can be hidden.

    A dispatch that would be hidden for longer was received before the clock was set back: it is ready.
    The limit is twice the visibility, because the comparing statement may have begun before the dispatch was
    hidden.
    """
    return 2 * visibility


def rows(dispatches: Sequence[Dispatch]) -> Iterator[tuple[str, str, str, str]]:
    """Encode dispatches as rows: queue, message id, headers as JSON, payload.

    Headers that consecutive dispatches share are encoded once.
    """
    shared: Headers | None = None
    head = ""
    for dispatch in dispatches:
        if dispatch.headers is not shared:
            shared = dispatch.headers
            head = f'{json.dumps(shared.shared(), ensure_ascii=False)[:-1]}, "correlation_id": "'
        parent = f', "parent_correlation_id": "{dispatch.parent}"' if dispatch.parent else ""
        cid = dispatch.correlation_id
        yield (
            shared.queue,
            f"{cid}.{dispatch.generation}",
            f'{head}{cid}"{parent}}}',
            dispatch.payload(),
        )


class Waiters:
    """Receivers of this process that wait until a queue has a dispatch for them."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    @property
    def queues(self) -> list[str]:
        """The queues that receivers wait for."""
        return list(self._waiting)

    @contextmanager
    def waiting(self, queue: str) -> Iterator[asyncio.Future[None]]:
        """Register a receiver. The future is done as soon as the queue may have a dispatch."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(queue, []).append(future)
        try:
            yield future
        finally:
            waiting = self._waiting.get(queue, [])
            if future in waiting:
                waiting.remove(future)
            if not waiting:
                self._waiting.pop(queue, None)

    def wake(self, queue: str) -> None:
        for future in self._waiting.pop(queue, []):
            if not future.done():
                future.set_result(None)
