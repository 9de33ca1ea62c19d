"""Find results of other messages for items with the same bytes.

A result may be used for another item if the message had the same route, with the same declaration and the
same code, and if the items are equal in all that the steps have read: their bytes and content types in any
case, and their paths and attributes only if a step has read them (`steps.reads`). Otherwise the outputs get
what follows from the path and the attributes of the new item: their paths, and the attributes that they
inherit.

The index `reusable` is written by those who use it: before a run or a replay that reuses results begins, it
adds the results of the newest executions that have settled since (`index`). It may lack results, and it may
name messages that were deleted or pruned, so each use checks what it has found.

While the bytes of an object are referred to, it must not be deleted. The execution that has the object is
locked until the reference is committed, and a prune locks it first (`begin_prune`). A prune that has the lock
is not waited for, because this transaction holds locks that the prune may wait for.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from playhead.backends._sql_catalog.lanes import Lane, Lanes, lanes_of
from playhead.backends.sql import COMPLETED, SKIPPED
from playhead.backends.sql.session import Session, Transactions
from playhead.backends.sql.statements import SQL
from playhead.keys import path_of, problem, stem
from playhead.model import EFFECTS_SKIPPED
from playhead.ports.catalog.work import READS_ATTRIBUTES, READS_MESSAGE, READS_PATH, fingerprint_of

_MOST_EXECUTIONS: Final = 50
"""How many runs and replays of a config are indexed: the newest ones."""
_PAGE: Final = 1_000
_UNKNOWN: Final = READS_PATH | READS_ATTRIBUTES
_ROOM: Final = 37
"""Bytes of a key before its stage."""


class Item(NamedTuple):
    """What a message receives. `attributes` are JSON text."""

    stage: str
    path: str
    sha256: bytes
    content_type: str
    attributes: str

    def seen(self, reads: int) -> list[str]:
        """What steps that read this much have seen of the item."""
        seen = [self.sha256.hex(), self.content_type]
        if reads & READS_PATH:
            seen += [self.stage, self.path]
        if reads & READS_ATTRIBUTES:
            seen.append(json.dumps(json.loads(self.attributes), sort_keys=True))
        return seen


class Wanted(NamedTuple):
    """A new message that may get a result: its id, lane, and the key and stage of its object."""

    id: str
    lane: int
    key: str
    stage: str


class Source(NamedTuple):
    """A message whose result another one may get, with the columns of the fragment `result`."""

    execution: int
    parent: int | None
    key: str
    n: int
    lane: int
    state: int
    code: int | None
    error_code: str | None
    error: str | None
    original: int
    result: int
    declaration: int | None


class Reused(NamedTuple):
    """A result for a new message.

    Attributes:
        lane: that of the new message.
        outputs: for each path of an output, its attempt and the columns of its row that follow the state;
            None: the outputs of the source, at the same paths.
        declaration: which one has made it valid, if its code has not.
    """

    lane: int
    source: Source
    outputs: Mapping[str, Sequence[Any]] | None
    declaration: int | None = None

    @property
    def columns(self) -> tuple[int | None, str | None, str | None, int, int | None, int | None]:
        """What the row of the new message gets: code, error code, error, original, result and declaration.

        `result` is None if the result is taken over at another place: a publication may have both, and what
        is below one of them is not below the other.
        """
        source = self.source
        result = source.result if self.outputs is None else None
        return source.code, source.error_code, source.error, source.original, result, self.declaration


class _Candidate(NamedTuple):
    source: Source
    reads: int
    item: Item


class _Output(NamedTuple):
    """An output of a candidate. `location` is the key that has the bytes."""

    path: str
    attempt: int
    size: int
    sha256: bytes
    fingerprint: bytes
    content_type: str
    attributes: str
    created_at: float
    location: str


def digest_of(lane: Lane, code: int, reads: int, item: Item) -> int:
    """Return what the index knows a result by: 64 bits of a SHA-256, signed."""
    about = [*_declared(lane), code, reads, *item.seen(reads)]
    found = hashlib.sha256(json.dumps(about).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(found[:8], signed=True)


class Reusing:
    """Indexes results, and finds them."""

    def __init__(self, transactions: Transactions, lanes: Lanes) -> None:
        self._db = transactions
        self._lanes = lanes

    # -- index -------------------------------------------------------------------------------------

    async def index(self, config: str, progress: Callable[[int], None]) -> None:
        """Index the results of a config's newest executions. `progress` gets the number of results so far.

        Each page is a transaction. After a `kill -9` between two pages, the execution is indexed again.
        """
        executions = await self._db.rows(SQL.unindexed_executions, config=config, most=_MOST_EXECUTIONS)
        count = 0
        for n, version in executions:
            for lane in await self._db.read(partial(lanes_of, config_version=version)):
                for state in (COMPLETED, SKIPPED) if lane.declared else ():
                    before: int | None = 2**62
                    while before is not None:
                        page = partial(self._index_page, execution=n, lane=lane, state=state, before=before)
                        before, indexed = await self._db.write(page)
                        count += indexed
                        progress(count)
            await self._db.run(SQL.set_indexed, n=n)

    async def _index_page(
        self, db: Session, *, execution: int, lane: Lane, state: int, before: int
    ) -> tuple[int | None, int]:
        """Return where the next page begins, if there is one, and the number of results."""
        given = {"execution": execution, "lane": lane.id, "state": state}
        rows = await db.rows(SQL.results_to_index, **given, before=before, limit=_PAGE)
        usable = [
            (n, code, _UNKNOWN if reads is None else reads, key, stage)
            for n, code, reads, key, stage, error in rows
            if code is not None and error != EFFECTS_SKIPPED.code
        ]
        usable = [row for row in usable if not row[2] & READS_MESSAGE]
        items = await _items(db, {key: stage for *_, key, stage in usable})
        found: dict[int, int] = {}
        for n, code, reads, key, _ in usable:
            if item := items.get(key):
                found.setdefault(digest_of(lane, code, reads, item), n)  # the newest is the first
        if found:
            await db.insert(SQL.index_results, sorted(found.items()))
        return (rows[-1][0] if len(rows) == _PAGE else None), len(found)

    # -- find --------------------------------------------------------------------------------------

    async def find(
        self, db: Session, codes: Mapping[int, Sequence[int]], wanted: Sequence[Wanted]
    ) -> dict[str, Reused]:
        """Return results for new messages, by their ids. Locks the executions that have the objects.

        Args:
            codes: the codes whose results are valid, by lane. Messages in other lanes get none.
        """
        wanted = [one for one in wanted if one.lane in codes]
        if not wanted:
            return {}
        lanes = await self._lanes.learn(db, {one.lane for one in wanted})
        items = await _items(db, {one.key: one.stage for one in wanted})
        digests: dict[int, list[Wanted]] = defaultdict(list)
        for one in wanted:
            if item := items.get(one.key):
                for code in codes[one.lane]:
                    for reads in range(READS_MESSAGE):
                        digests[digest_of(lanes[one.lane], code, reads, item)].append(one)
        rows = await db.rows(SQL.messages_with, digests=list(digests)) if digests else []
        chosen: dict[str, tuple[Wanted, int]] = {}
        for digest, message in sorted(rows, key=lambda row: row[1]):  # of several, the newest
            chosen |= {one.id: (one, message) for one in digests[digest]}
        candidates = await self._candidates(db, {message for _, message in chosen.values()})
        lanes = await self._lanes.learn(db, {one.source.lane for one in candidates.values()})
        fitting: dict[str, tuple[Wanted, _Candidate]] = {}
        for one, message in chosen.values():
            found = candidates.get(message)
            # Different results may have the same digest, because it has only 64 bits.
            if (
                found
                and found.source.code in codes[one.lane]
                and _declared(lanes[found.source.lane]) == _declared(lanes[one.lane])
                and found.item.seen(found.reads) == items[one.key].seen(found.reads)
            ):
                fitting[one.id] = one, found
        outputs = await self._outputs(db, lanes, {found.source.n: found for _, found in fitting.values()})
        reused = {}
        for one, found in fitting.values():
            if (made := outputs.get(found.source.n)) is not None:
                lane = lanes[one.lane]
                derived = dict(_derived(found.item, items[one.key], made))
                room = _ROOM + len((lane.stage or "").encode()) + 1
                if len(derived) == len(made) and not any(problem(path, room=room) for path in derived):
                    reused[one.id] = Reused(one.lane, found.source, derived)
        return reused

    async def _candidates(self, db: Session, messages: set[int]) -> dict[int, _Candidate]:
        """Return the messages that still exist, without those whose execution a prune has locked."""
        if not messages:
            return {}
        named = await db.rows(SQL.results_named, rows=sorted(messages))
        rows = [(reads, stage, Source(*row)) for reads, stage, *row in named]
        free = await _locked(db, {one.execution for *_, one in rows})
        rows = [row for row in rows if row[2].execution in free]
        items = await _items(db, {one.key: stage for _, stage, one in rows})
        return {
            one.n: _Candidate(one, _UNKNOWN if reads is None else reads, items[one.key])
            for reads, _, one in rows
            if one.key in items and one.state in (COMPLETED, SKIPPED)
        }

    async def _outputs(
        self, db: Session, lanes: Mapping[int, Lane], candidates: Mapping[int, _Candidate]
    ) -> dict[int, list[_Output]]:
        """Return the outputs of messages all of whose objects exist, and will when this has committed."""
        if not candidates:
            return {}
        found: dict[int, list[_Output]] = {n: [] for n in candidates}
        keys: dict[str, int] = {}
        for _, message, key, *described in sorted(
            await db.rows(SQL.outputs_of, rows=list(candidates)), key=lambda row: row[0]
        ):
            lane = lanes[candidates[message].source.lane]
            found[message].append(_Output(path_of(key, lane.stage or ""), *described))
            keys[key] = message
        if gone := [key for (key,) in await db.rows(SQL.those_pruned, keys=list(keys))]:
            pruned = {keys[key] for key in gone}
            kept = await self._referred(db, [one.location for n in pruned for one in found[n]])
            for n in pruned:
                if any(one.location not in kept for one in found[n]):
                    del found[n]
        return found

    async def _referred(self, db: Session, locations: Sequence[str]) -> set[str]:
        """Return the objects to which an execution refers that no prune has locked."""
        rows = await db.rows(SQL.references_to, keys=list(set(locations)))
        free = await _locked(db, {execution for _, execution in rows})
        # A new statement: only this one sees what a prune has committed before the lock.
        rows = await db.rows(SQL.references_to, keys=list(set(locations)))
        return {location for location, execution in rows if execution in free}


async def _locked(db: Session, executions: set[int]) -> set[int]:
    rows = await db.rows(SQL.share_free_executions, numbers=sorted(executions)) if executions else []
    return {n for (n,) in rows}


async def _items(db: Session, keys: Mapping[str, str]) -> dict[str, Item]:
    """Return what is recorded of objects, by their keys. `keys` has their stages."""
    rows = await db.rows(SQL.described, keys=list(keys)) if keys else []
    return {
        key: Item(keys[key], path_of(key, keys[key]), bytes(sha256), kind, attributes)
        for key, sha256, kind, attributes in rows
    }


def _declared(lane: Lane) -> list[str | None]:
    """What must be equal of two routes."""
    return [lane.config, lane.route, lane.declared]


def _derived(old: Item, new: Item, outputs: Sequence[_Output]) -> Iterator[tuple[str, Sequence[Any]]]:
    """Yield the path of each output of the new item, with its columns.

    If no step has read the path, `steps.naming` has made those of the outputs from its stem and its suffix.
    So with the same suffix, only the stem differs.
    """
    same = json.loads(old.attributes), json.loads(new.attributes)
    before, after = stem(old.path, old.content_type), stem(new.path, new.content_type)
    if old.path[len(before) :] != new.path[len(after) :]:
        return
    for one in outputs:
        path, attributes, fingerprint = one.path, one.attributes, one.fingerprint
        if old.path != new.path:
            if not path.startswith(before):
                return
            path = after + path[len(before) :]
        if same[0] != same[1]:
            own = {name: value for name, value in json.loads(attributes).items() if name not in same[0]}
            merged = {**same[1], **own}
            attributes = json.dumps(merged)
            fingerprint = fingerprint_of(one.sha256, one.content_type, merged)
        changed = one._replace(fingerprint=fingerprint, attributes=attributes)
        yield path, changed[1:]
