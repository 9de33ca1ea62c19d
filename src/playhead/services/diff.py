"""Compare the outputs of two executions: what is the same, changed, added or missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, get_args
from uuid import UUID

from playhead import keys
from playhead.environment import Environment
from playhead.errors import BadRequest, NotFound
from playhead.model import (
    Diff,
    DiffBy,
    DiffCounts,
    DiffFilter,
    DiffObject,
    DiffStage,
    DiffState,
    Execution,
    Page,
    Replay,
    is_skipped,
)
from playhead.ports.catalog.browse import Browse
from playhead.ports.catalog.configs import Configs
from playhead.ports.catalog.outputs import Outputs
from playhead.ports.store import Store
from playhead.reading.background import Background, Counted, Steps
from playhead.reading.bycontent import Chunk, by_content
from playhead.reading.joining import Range, Records, join, ranges, rest_of, side
from playhead.reading.listing import Listing
from playhead.reading.lookup import check_recorded, check_records, find_execution
from playhead.reading.paging import decode_cursor, encode_cursor, list_of
from playhead.reading.pairing import Paired
from playhead.replay import effects
from playhead.similar import did_you_mean

_DIFFERENT: Final = ("changed", "added", "missing")
_STATES: Final = get_args(DiffState)


class DiffCatalog(Browse, Configs, Outputs, Protocol):
    """The part of the catalog that `DiffService` needs."""

    async def replay(self, batch: UUID) -> Replay | None: ...


@dataclass(frozen=True, slots=True)
class _Side:
    """One of two executions.

    Attributes:
        stages: its declared stages, `input` first.
        source: of a replay: the execution that it replays; None if it is a run.
        reached: of a replay: the stages that it produces.
        origin: stage of the objects that it has listed.
    """

    id: UUID
    stages: Sequence[str]
    source: UUID | None = None
    reached: frozenset[str] = frozenset()
    origin: str = keys.INPUT_STAGE


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two executions.

    Attributes:
        stages: the stages of both. A stage inside another one is part of that one.
        is_complete: whether both have ended.
        state: changes when more objects may have been stored.
    """

    a: _Side
    b: _Side
    stages: Sequence[str]
    is_complete: bool
    state: Hashable


class _Listing:
    """A page of a list.

    Args:
        skip: outputs to leave out, because an earlier page has them.

    Attributes:
        found: the objects so far.
        cursor: where the list continues; None while nothing is left.
    """

    def __init__(self, wanted: Sequence[DiffState], limit: int, budget: int | None, skip: int) -> None:
        self._wanted = wanted
        self._limit = limit
        self._budget = budget
        self._skip = skip
        self._anchor = ""
        self._listed = self._read = 0
        self.found: list[DiffObject] = []
        self.cursor: str | None = None

    def add(self, chunk: Chunk, by: DiffBy) -> bool:
        """Add the outputs of a chunk. Returns whether the page has ended."""
        if chunk.anchor != self._anchor:
            self._skip = 0 if self._anchor else self._skip
            self._anchor, self._listed = chunk.anchor, 0
        for one in chunk.outputs:
            if one.state not in self._wanted:
                continue
            if len(self.found) == self._limit:
                last = self.found[-1]
                by_path = f"{last.stage}/{last.path}"
                self.cursor = by_path if by == "path" else f"{self._anchor}\n{self._listed}"
                return True
            self._listed += 1
            if self._listed <= self._skip:
                continue
            self._skip = 0
            path = one.rest[len(chunk.stage) + 1 :]
            self.found.append(DiffObject(chunk.stage, path, one.state, side(one.left), side(one.right)))
        self._read += len(chunk.outputs)
        if self._budget is not None and self._read >= self._budget:
            self.cursor = self._anchor if by == "path" else f"{self._anchor}\n{self._listed}"
        return self.cursor is not None


class DiffService:
    """Compares executions. Every method raises `Unavailable` if a backend that it needs is unavailable.

    Recorded outputs and inputs are compared, also pruned ones, and results that were taken over. Objects of
    other programs have no record, and are left out. Objects are the same if their SHA-256 is equal.

    A replay has no reason to produce every object of its source. An object that it lacks is missing only if
    the replay produces its stage, and if the object was made from one with the stage and the path of an
    object that it has sent. There may be any number of messages and replays between them, but only stages
    that the replay produces. Otherwise the object is not produced. If the first execution is a replay, the
    same decides whether an object is added.
    """

    def __init__(self, catalog: DiffCatalog, store: Store, env: Environment) -> None:
        self._catalog = catalog
        self._listing = Listing(catalog, store)
        self._counts: Background[Diff] = Background(env.spawn)

    async def summary(
        self, a: UUID, b: UUID, stage: str | None = None, path: str | None = None, by: DiffBy = "path"
    ) -> Diff:
        """Count the objects of two executions by stage and state. Reads all records of both.

        Args:
            a: first execution.
            b: second execution.
            stage: only this stage; `stage/path` also names a path.
            path: a folder or an object in the stage.
            by: how objects are paired.

        Raises:
            BadRequest: `invalid_path`; `not_comparable`: an execution is adopted, so it has no records.
            NotFound: `execution_not_found`, `stage_not_found`, `records_deleted`.
        """
        return await self._summary(await self._pair(a, b), stage, path, by, Steps())

    async def counting(
        self, a: UUID, b: UUID, *, patience: float | None, by: DiffBy = "path"
    ) -> Counted[Diff]:
        """Return the counts of two executions; after a time, the counts before, and how far the new ones are.

        Counting continues in this process until all objects are counted. The counts of ended executions are
        kept. While an execution runs, counts are repeated when they are outdated.

        Args:
            a: first execution.
            b: second execution.
            patience: how many seconds to wait; None: until all objects are counted.
            by: how objects are paired.

        Raises:
            BadRequest: `not_comparable`.
            NotFound: `execution_not_found`, `records_deleted`.
        """
        pair = await self._pair(a, b)
        return await self._counts.get(
            (a, b, by),
            pair.state,
            lambda steps: self._summary(pair, None, None, by, steps),
            patience=patience,
            lasts=not pair.is_complete,
        )

    async def _summary(
        self, pair: _Pair, stage: str | None, path: str | None, by: DiffBy, steps: Steps
    ) -> Diff:
        stages, path = _within(pair, stage, path)
        counts = {one: Counter[str]() for one in stages}
        async for chunk in self._chunks(pair, ranges(stages, path), by):
            count = counts[chunk.stage]
            for one in chunk.outputs:
                count[one.state] += 1
                if one.state != "not_produced":
                    count["bytes_a"] += one.left.size if one.left else 0
                    count["bytes_b"] += one.right.size if one.right else 0
                steps.done += bool(one.left) + bool(one.right)
        await check_recorded(self._catalog, [pair.a.id, pair.b.id])
        total = sum(counts.values(), Counter())
        return Diff(
            pair.a.id,
            pair.b.id,
            pair.is_complete,
            [DiffStage(**_counts(count), stage=one) for one, count in counts.items()],
            DiffCounts(**_counts(total)),
        )

    async def _chunks(self, pair: _Pair, every: Iterable[Range], by: DiffBy) -> AsyncIterator[Chunk]:
        """Yield the outputs of both executions, by path or by content."""
        a, b = pair.a.id, pair.b.id
        if by == "content":
            chunks = by_content(
                *(self._catalog, a, b, every),
                states=partial(self._states, pair),
                origins={pair.a.origin, pair.b.origin},
            )
            async for chunk in chunks:
                yield chunk
            return
        for within in every:
            async for left, right in join(self._catalog, a, b, within):
                states = await self._states(pair, within, left, right)
                rests = sorted(states)
                found = [Paired(rest, states[rest], left.get(rest), right.get(rest)) for rest in rests]
                yield Chunk(within.stage, rests[-1], found)

    async def objects(
        self,
        a: UUID,
        b: UUID,
        stage: str | None = None,
        state: DiffFilter | tuple[DiffState, ...] | None = None,
        path: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
        budget: int | None = None,
        by: DiffBy = "path",
    ) -> Page[DiffObject]:
        """Return the objects of two executions, by stage, and in byte order of their paths.

        Args:
            a: first execution.
            b: second execution.
            stage: only this stage; `stage/path` also names a path.
            state: only objects in this state, or in one of these; None: all.
            path: a folder or an object in the stage.
            cursor: the cursor from the previous page.
            limit: maximum number of objects in the page.
            budget: the page ends after it has compared about this many objects, and may be short then.
            by: how objects are paired. By content, the parts of a document that differ follow the others.

        Raises:
            BadRequest: `invalid_path`, `invalid_cursor`, `not_comparable`.
            NotFound: `execution_not_found`, `stage_not_found`, `records_deleted`.
        """
        of = list_of("diff", a, b, stage, state, path, *(["content"] if by == "content" else []))
        after, _, skipped = (decode_cursor(cursor, str, of) or "").partition("\n")
        pair = await self._pair(a, b)
        stages, path = _within(pair, stage, path)
        asked = _STATES if state is None else _DIFFERENT if state == "different" else state
        listing = _Listing(
            (asked,) if isinstance(asked, str) else asked,
            limit,
            budget,
            int(skipped) if skipped.isdecimal() else 0,
        )
        async for chunk in self._chunks(pair, ranges(stages, path, after), by):
            if listing.add(chunk, by):
                break
        await check_recorded(self._catalog, [a, b])
        return Page(listing.found, encode_cursor(listing.cursor, of))

    async def _pair(self, a: UUID, b: UUID) -> _Pair:
        executions = [await find_execution(self._catalog, self._listing, one) for one in (a, b)]
        left, right = [await self._side(one) for one in executions]
        every = list(dict.fromkeys((*left.stages, *right.stages)))
        stages = [one for one in every if not any(one.startswith(f"{other}/") for other in every)]
        is_complete = all(one.ended_at is not None for one in executions)
        return _Pair(
            left, right, stages, is_complete, tuple((one.revision, one.counts) for one in executions)
        )

    async def _side(self, execution: Execution) -> _Side:
        check_records(execution)
        if execution.config is None:
            raise BadRequest(
                "not_comparable",
                f"execution {execution.execution_id} is adopted: its objects have no recorded SHA-256. "
                "Compare runs and replays",
            )
        stages = await self._listing.declared(execution)
        batch = execution.replay_batch_id
        replay = await self._catalog.replay(batch) if batch else None
        loaded = await self._catalog.config(execution.config, execution.config_version)
        if replay is None or loaded is None:
            return _Side(execution.execution_id, stages)
        target = replay.to_route.rpartition("/")[2]
        routes = [
            loaded.config.routes[name] for name in effects.reached(loaded.config, target, replay.effects)
        ]
        reached = frozenset(
            route.stage for route in routes if route.stage and not is_skipped(replay.effects, route.name)
        )
        return _Side(execution.execution_id, stages, replay.from_execution_id, reached, replay.from_stage)

    async def _states(
        self, pair: _Pair, within: Range, left: Records, right: Records
    ) -> Mapping[str, DiffState]:
        """Return the state of each object, by the rest of its key."""
        states: dict[str, DiffState] = {}
        missing, added = [], []
        for rest, one in left.items():
            other = right.get(rest)
            if other is None:
                missing.append(one.key)
            else:
                states[rest] = "same" if one.sha256 == other.sha256 else "changed"
        if len(states) < len(right):
            added = [one.key for rest, one in right.items() if rest not in left]
        sides: list[tuple[list[str], _Side, DiffState]] = [
            (missing, pair.b, "missing"),
            (added, pair.a, "added"),
        ]
        for lacking, of, state in sides:
            expected = await self._expected(of, within.stage, lacking)
            for key in lacking:
                states[rest_of(key)] = state if key in expected else "not_produced"
        return states

    async def _expected(self, side: _Side, stage: str, lacking: Sequence[str]) -> set[str]:
        """Return those of these objects of the other execution that an execution had a reason to produce."""
        if side.source is None:
            return set(lacking)
        if not lacking or stage not in side.reached:
            return set()
        source = str(side.source)
        expected: set[str] = set()
        open_ = dict(zip(lacking, lacking, strict=True))  # an ancestor of each object
        while open_:
            inputs = await self._catalog.inputs_of(list(set(open_.values())))
            names = {one.key: f"{source}/{rest_of(one.key)}" for one in inputs.values()}
            replayed = await self._catalog.sent_by(side.id, list(set(names.values())))
            following: dict[str, str] = {}
            for key, ancestor in open_.items():
                above = inputs.get(ancestor)
                if above is None:
                    continue
                if names[above.key] in replayed:
                    expected.add(key)
                elif above.stage in side.reached:
                    following[key] = above.key
            open_ = following
        return expected


def _within(pair: _Pair, stage: str | None, path: str | None) -> tuple[Sequence[str], str | None]:
    """Return the stages to compare, and the path in the only one.

    Raises:
        BadRequest: `invalid_path`.
        NotFound: `stage_not_found`.
    """
    if path != "/":
        path = (path or "").removesuffix("/") or None
    if path is not None:
        keys.check_path(path)
    if stage is None:
        if path is not None:
            raise BadRequest("invalid_path", f"path {path!r} needs a stage: also name the stage")
        return pair.stages, None
    keys.check_path(stage, "stage")
    every = list(dict.fromkeys((*pair.a.stages, *pair.b.stages)))
    if stage in every:
        return [stage], path
    outer = next((one for one in every if stage.startswith(f"{one}/")), None)
    if outer and path is None:
        return [outer], stage[len(outer) + 1 :]
    raise NotFound(
        "stage_not_found",
        f"neither execution {pair.a.id} nor {pair.b.id} has a stage {stage!r}; they have "
        f"{', '.join(every)}.{did_you_mean(stage, every)}",
    )


def _counts(count: Counter[str]) -> dict[str, int]:
    return {name: count[name] for name in (*_STATES, "bytes_a", "bytes_b")}
