"""The rows of a deployment with a long history: 100,000 executions and 1,000,000 messages.

They are inserted directly: to process them would take hours. Their objects are not stored, so pages that show
the content of an object are asked for one of a small run.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, Final, NamedTuple
from uuid import UUID

from bench.scale import Row, identity
from playhead.backends._sql_catalog import requests
from playhead.backends._sql_catalog.counts import encode
from playhead.backends.sql import COMPLETED, DEAD, PENDING, PUBLISHED, STORED
from playhead.failures import cause_of, group_of
from playhead.model import ReplayRequest

CONFIG: Final = """
version: "1.0"
name: handbook
entry: convert
routes:
  convert:
    adapters: [{type: passthrough}]
    outbound: {stage: markdown, to: [segment, summarise, links]}
  segment:
    adapters: [{type: passthrough}]
    outbound: {stage: segments, to: [index, embed]}
  summarise:
    adapters: [{type: passthrough}]
    outbound: {stage: summaries}
  links:
    adapters: [{type: passthrough}]
    outbound: {stage: links}
  index:
    adapters: [{type: passthrough}]
    outbound: {stage: indexed}
  embed:
    adapters: [{type: passthrough}]
    outbound: {stage: vectors, to: [push]}
  push:
    adapters: [{type: passthrough}]
    outbound: {stage: pushed}
"""
_STAGES: Final = ("markdown", "segments", "summaries", "links", "indexed", "vectors", "pushed")
_ROUTES: Final = ("convert", "segment", "summarise", "links", "index", "embed", "push")
_ERRORS: Final = 40
_WORKERS: Final = 4


class Size(NamedTuple):
    """How much there is.

    Attributes:
        small: ended executions of four messages. Every fourth is a replay, and every hundredth has failed.
        large: messages of one ended run.
        failed: messages of one failed replay of it; a fifth are dead letters with 40 different errors.
        running: messages of one running execution; half of them are pending.
    """

    small: int = 100_000
    large: int = 400_000
    failed: int = 100_000
    running: int = 100_000


SMALL: Final = Size(small=400, large=2_000, failed=500, running=500)


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution. A seventh of its messages is in each route; the first ones are listed."""

    n: int
    status: str
    rows: int
    pending: int = 0
    dead: int = 0
    source: UUID | None = None

    @property
    def id(self) -> UUID:
        return identity(1, self.n)

    @property
    def roots(self) -> int:
        return max(self.rows // len(_STAGES), 1)

    def places(self) -> Iterator[tuple[int, int]]:
        """Yield the route and the state of each message."""
        for at in range(self.rows):
            state = PENDING if at >= self.rows - self.pending else DEAD if at < self.dead else COMPLETED
            yield min(at // self.roots, len(_STAGES) - 1), state


class History(NamedTuple):
    """The executions that pages are asked for."""

    size: Size

    @property
    def large(self) -> Execution:
        return Execution(self.size.small + 1, "completed", self.size.large)

    @property
    def failed(self) -> Execution:
        n, rows = self.size.small + 2, self.size.failed
        return Execution(n, "failed", rows, dead=rows // 5, source=self.large.id)

    @property
    def running(self) -> Execution:
        rows = self.size.running
        return Execution(self.size.small + 3, "running", rows, pending=rows // 2)

    def executions(self) -> Iterator[Execution]:
        """Yield the executions, oldest first."""
        for n in range(1, self.size.small + 1):
            failed = n % 100 == 0
            source = identity(1, n - 3) if n % 4 == 0 else None
            yield Execution(n, "failed" if failed else "completed", 4, dead=int(failed), source=source)
        yield from (self.large, self.failed, self.running)

    def tables(self, version: int, lanes: Mapping[str, int]) -> Iterator[tuple[str, str, Iterable[Row]]]:
        """Yield the name, the columns and the rows of each table.

        Args:
            version: `config_versions.id` of `CONFIG`, which is applied already.
            lanes: `lanes.id` of each route.
        """
        by_place = list(lanes.values())
        columns = "n id kind status settled config config_version parent batch created_at ended_at counts"
        yield "executions", columns, (_execution(e, version, by_place) for e in self.executions())
        columns = "execution source stage prefix to_route lane state listing_state ordinals watermark request"
        yield "jobs", columns, (_job(e, by_place) for e in self.executions())
        yield "tags", "tag execution", ((f"tag{e.n % 100}", e.n) for e in self.executions())
        columns = "n id execution lane object_key stage ordinal state published attempt parent"
        yield (
            "messages",
            f"{columns} started_at ended_at error_code error failure_group",
            self._messages(by_place),
        )
        columns = "message size created_at attempt state key sha256 fingerprint content_type attributes"
        yield "outputs", columns, self._outputs()
        causes, failing = self._failures(by_place)
        yield "causes", "id error_code error first_failed_at", causes
        columns = "cause config path route message execution letters first_failed_at failed_at"
        yield "failing", columns, failing
        yield "minutes", "minute writer config route cause messages", _minutes([one[0] for one in causes])

    def _messages(self, lanes: list[int]) -> Iterator[Row]:
        number = count(1)
        for e in self.executions():
            numbers = list(islice(number, e.rows))
            for at, (n, (route, state)) in enumerate(zip(numbers, e.places(), strict=True)):
                key = _key(e.id, "input" if route == 0 else _STAGES[0], at % e.roots)
                row = (n, identity(3, n), e.n, lanes[route], key, "input" if route == 0 else _STAGES[0])
                listed = (at + 1, None, None)
                child = (None, PUBLISHED, numbers[at % e.roots])
                ordinal, published, parent = listed if route == 0 else child
                attempt, ended = (0, None) if state == PENDING else (1, float(n))
                error = _failure(n, route) if state == DEAD else (None, None, None)
                yield (*row, ordinal, state, published, attempt, parent, ended, ended, *error)

    def _failures(self, lanes: list[int]) -> tuple[list[Row], list[Row]]:
        """Return the causes of dead letters, and their objects."""
        routes = dict(zip(lanes, _ROUTES, strict=True))
        causes: dict[int, Row] = {}
        objects: dict[Row, list[tuple[int, int]]] = {}
        for row in self._messages(lanes):
            if row[7] == DEAD:
                n, execution, lane, key, code, error = *(row[at] for at in (0, 2, 3, 4)), row[13], row[14]
                cause = cause_of(code, error)
                causes.setdefault(cause, (cause, code, error, float(n)))
                place = (cause, "handbook", key.partition("/")[2], routes[lane])
                objects.setdefault(place, []).append((n, execution))
        failing = [
            (*place, *max(found), len(found), float(min(found)[0]), float(max(found)[0]))
            for place, found in objects.items()
        ]
        return list(causes.values()), failing

    def _outputs(self) -> Iterator[Row]:
        number = count(1)
        for e in self.executions():
            for at, (n, (route, state)) in enumerate(zip(islice(number, e.rows), e.places(), strict=False)):
                if state == COMPLETED:
                    key = _key(e.id, _STAGES[route], at)
                    # A replay changes every tenth object.
                    content = (at if e.source and at % 10 == 0 else at + 1).to_bytes(32, "big")
                    yield (n, 500, float(n), 1, STORED, key, content, content[-16:], "text/markdown", "{}")


def _failure(n: int, route: int) -> Row:
    text = f"ValueError: no field {'abcdefgh'[n % 8] * (n // 8 % (_ERRORS // 8) + 1)}"
    return "adapter_error", text, group_of("handbook", _ROUTES[route], "adapter_error", text)


def _minutes(causes: list[int]) -> Iterator[Row]:
    """Yield the counts of the last day: of four workers in each route, and failures of each cause."""
    now = int(time.time()) // 60
    for minute in range(now - 1440, now + 1):
        for writer in range(_WORKERS):
            for route in _ROUTES:
                yield minute, writer, "handbook", route, 0, 10 + minute % 7
        yield minute, minute % _WORKERS, "handbook", "convert", causes[minute % len(causes)], 3


def _key(execution: UUID, stage: str, at: int) -> str:
    return f"{execution}/{stage}/d{at // 1000:04}/{at:07}.md"


def _execution(e: Execution, version: int, lanes: list[int]) -> Row:
    kind, batch = ("replay", identity(2, e.n)) if e.source else ("run", None)
    ended = e.status != "running"
    counts = encode(Counter((lanes[route], state) for route, state in e.places()))
    row: tuple[Any, ...] = (e.n, e.id, kind, e.status, ended, 1, version, e.source, batch, float(e.n))
    return (*row, float(e.n), counts) if ended else (*row, None, None)


def _job(e: Execution, lanes: list[int]) -> Row:
    request = requests.encode(ReplayRequest(e.source, "input", None, "convert"))[0] if e.source else None
    row = (e.n, e.source or e.id, "input", f"{e.source or e.id}/input", "convert", lanes[0])
    return (*row, "publishing_complete", "completed", e.roots, e.roots, request)
