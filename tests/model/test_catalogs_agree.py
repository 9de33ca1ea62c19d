"""The catalog gives the same answers on PostgreSQL and on SQLite, for any sequence of calls.

Each operation is written once, but SQLite's statements are derived from PostgreSQL's, and each database has
its own session. A state machine makes valid and outdated calls to both catalogs in random order. It compares
all answers and all readable data, except what the contract leaves open: the order in which the reconciler
gets rows, and the creation time of a message (by the clock of its id).

`PLAYHEAD_TEST_EXAMPLES=2000` runs more sequences.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import pytest
from hypothesis import note, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from playhead.envelope import Dispatch
from playhead.errors import PlayheadError
from playhead.ids import moment, uuid7
from playhead.liveness import Liveness
from playhead.model import AdapterCode, Config, ErrorHandling, PruneFilter, Route, Skip
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.browse import DeadLetterFilter, ExecutionFilter
from playhead.ports.catalog.jobs import LeasedJob, Listed
from playhead.ports.catalog.runs import Input, Reusable
from playhead.ports.catalog.upkeep import Process
from playhead.ports.catalog.work import Binding, Bound, Claim, Done, Failed, NewOutput, Released, Result
from tests.catalog_memory import MemoryCatalog
from tests.lab import asked
from tests.model.agreement import Agreement, run_both
from tests.model.databases import open_postgres
from tests.servers import need

T = TypeVar("T")

EXAMPLES = int(os.environ.get("PLAYHEAD_TEST_EXAMPLES", "8"))

BEAT, LEASE = 1.0, 4.0
"""A process is dead after 5 s without a beat."""
LONGEST = 55.0
"""Maximum time of a sequence, in seconds. After 60 s a live publisher counts as having lost its rows. This
time uses the clock of ids, which a test cannot move."""

WORKERS = st.sampled_from(["w1", "w2", "w3"])
PATHS = ["a", "a.b", "b/c", "d", "é"]
ASIDE = frozenset({"Lineage.created_at", "ChainLink.created_at"})


def _config(name: str, *routes: Route) -> Config:
    return Config(name, routes[0].name, {route.name: route for route in routes})


def _twice(**fields: Any) -> dict[str, Any]:
    return fields | {"errors": ErrorHandling(max_attempts=2)}


CONFIGS = [
    _config(
        "one",
        Route("split", "q.split", stage="parts", to=("left", "right"), errors=ErrorHandling(max_attempts=3)),
        Route("left", "q.left", **_twice()),
        Route("right", "q.right", stage="ends/all", to=("others",), **_twice()),
        Route("others", "q.others", external=True),
    ),
    # Other versions and another config, some of whose queues belong to the first.
    _config("one", Route("split", "q.split2", stage="parts", to=("left",)), Route("left", "q.left")),
    _config("two", Route("copy", "q.copy", stage="copies", **_twice()), Route("out", "q.out", external=True)),
    _config("two", Route("copy", "q.split2", stage="copies", **_twice())),
    _config("three", Route("solo", "q.split2", **_twice())),
]

Twin = tuple[T, T]
"""The same thing of both sides, which have ids of their own."""


class Batch(NamedTuple):
    """Published dispatches and their results. The catalog gets the results at once or late."""

    held: Twin[LeasedJob]
    upto: int
    uncertain: list[Twin[Dispatch]]
    refused: list[Twin[Dispatch]]


class Step(NamedTuple):
    """One kind of call: its frequency, its precondition and its arguments."""

    name: str
    weight: int
    needs: Callable[[Any], bool]
    given: dict[str, st.SearchStrategy[Any]]


STEPS: list[Step] = []
F = TypeVar("F", bound=Callable[..., Any])


def step(*, weight: int, needs: Callable[[Any], bool] = lambda self: True, **given: Any) -> Callable[[F], F]:
    """Let a method be one of the calls. Were each a rule of its own, few sequences would get to any work:
    rules are as likely as one another, and many are left out of a sequence."""

    def add(method: F) -> F:
        STEPS.append(Step(method.__name__, weight, needs, given))
        return method

    return add


class Catalogs(RuleBasedStateMachine):
    """Both catalogs, and the values that they returned."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_800_000_000.0
        self.end = self.now + LONGEST
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        sqlite: Catalog = MemoryCatalog(clock=lambda: self.now, heartbeat_seconds=BEAT)
        postgres = self.loop.run_until_complete(_postgres(self.stack, lambda: self.now))
        self.sides = (sqlite, postgres)
        self.agreement = Agreement(ASIDE)
        self.versions: list[tuple[str, int]] = []
        self.executions: list[Twin[UUID]] = []
        self.runs: dict[UUID, tuple[str, int]] = {}
        self.replays: list[tuple[UUID, tuple[UUID, UUID], str, int]] = []
        self.batches: list[Twin[UUID]] = []
        self.held: list[Twin[LeasedJob]] = []
        self.late: list[Batch] = []
        self.dispatches: list[Twin[Dispatch]] = []
        self.claims: list[Twin[Claim]] = []
        self.bound: dict[tuple[UUID, int], list[Twin[Bound]]] = {}
        self.messages: dict[UUID, UUID] = {}
        self.routes: dict[UUID, str] = {}

    def teardown(self) -> None:
        self.loop.run_until_complete(self.stack.aclose())
        self.loop.close()

    @rule(data=st.data())
    def call(self, data: st.DataObject) -> None:
        steps = sorted((one for one in STEPS if one.needs(self)), key=lambda one: -one.weight)
        chosen = data.draw(st.sampled_from([at for at, one in enumerate(steps) for _ in range(one.weight)]))
        given = {key: data.draw(values, key) for key, values in steps[chosen].given.items()}
        note(f"{steps[chosen].name} {given}")
        method = getattr(self, steps[chosen].name)
        if "data" in method.__code__.co_varnames[: method.__code__.co_argcount]:
            given["data"] = data
        method(**given)

    # -- asking both -------------------------------------------------------------------------------

    def both(self, ask: Callable[[Catalog, int], Awaitable[T]], *, anyhow: bool = False) -> Twin[Any]:
        """Ask both sides; `ask` gets the place of its side. The answers are the same, or both refuse."""
        answers = [self._answer(ask, n) for n in (0, 1)]
        if anyhow:
            answers[1] = self._like(answers[0], answers[1])
        self.agreement.check(*answers)
        return answers[0], answers[1]

    def _answer(self, ask: Callable[[Catalog, int], Awaitable[Any]], n: int) -> Any:
        async def asked() -> Any:
            try:
                return await ask(self.sides[n], n)
            except PlayheadError as exc:
                return f"{type(exc).__name__} {exc.code}"

        return self.loop.run_until_complete(asked())

    def _like(self, ours: Any, theirs: Any) -> Any:
        """Return the dispatches of the second catalog in the order of the first, if both have them."""
        places = {dispatch.correlation_id: n for n, dispatch in enumerate(ours)}
        known = (str(self.agreement.ours(UUID(dispatch.correlation_id))) for dispatch in theirs)
        return [
            dispatch for _, dispatch in sorted(zip((places.get(c, -1) for c in known), theirs, strict=True))
        ]

    def _keep(self, dispatches: Twin[Any]) -> None:
        """Calls for others than a job to publish."""
        self.dispatches += zip(*dispatches, strict=True)

    # -- configs and processes ---------------------------------------------------------------------

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.save(0)
        self.save(2)
        for worker in ("w1", "w2", "w3"):
            self.beat(worker)
        self.run_at_once(data, "w1", ["a", "d"], takes_over=False)

    @step(weight=1, which=st.integers(0, len(CONFIGS) - 1))
    def save(self, which: int) -> None:
        config = CONFIGS[which]
        saved, _ = self.both(lambda c, _: c.save_config(config, source=config.name, digest=str(which)))
        if not isinstance(saved, str):
            self.versions.append((saved[0].name, saved[0].version))

    @step(weight=1, name=st.sampled_from(["one", "two", "three"]), active=st.booleans())
    def set_active(self, name: str, active: bool) -> None:
        self.both(lambda c, _: c.set_active(name, active))

    @step(weight=3, worker=WORKERS)
    def beat(self, worker: str) -> None:
        self.both(lambda c, _: c.heartbeat(Process(worker, "worker", "host", 1), ["q.split", worker]))

    @step(weight=1, worker=WORKERS)
    def depart(self, worker: str) -> None:
        self.both(lambda c, _: c.depart(worker))

    @step(
        weight=3,
        needs=lambda self: bool(self.now < self.end),
        seconds=st.sampled_from([0.5, 1.5, 4.0, 5.5]),
        others=st.lists(WORKERS, unique=True, max_size=3),
    )
    def time_passes(self, seconds: float, others: list[str]) -> None:
        self.now += min(seconds, self.end - self.now)
        for worker in others:
            self.beat(worker)

    @step(weight=1, name=st.sampled_from(["x", "y"]), owner=WORKERS)
    def lease(self, name: str, owner: str) -> None:
        self.both(lambda c, _: c.lease(name, owner, seconds=LEASE))

    # -- runs and replays --------------------------------------------------------------------------

    @step(
        weight=2,
        needs=lambda self: len(self.executions) < 8,
        owner=WORKERS,
        tags=st.lists(st.sampled_from(["t", "s"]), max_size=3),
        lease=st.sampled_from([LEASE, 3 * LEASE]),
    )
    def open_run(self, data: st.DataObject, owner: str, tags: list[str], lease: float) -> None:
        name, version = data.draw(st.sampled_from(self.versions))
        execution = uuid7()
        self.both(lambda c, _: c.open_run(execution, name, version, tags=tags, owner=owner, lease=lease))
        self.executions.append((execution, execution))

    @step(
        weight=2,
        needs=lambda self: bool(self.executions),
        paths=st.lists(st.sampled_from(PATHS), min_size=1, max_size=4),
        content=st.sampled_from("xxxy"),
    )
    def bind_inputs(self, data: st.DataObject, paths: list[str], content: str) -> None:
        execution = self._recent(data, self.executions)
        digest = sha256(content.encode()).digest()
        inputs = [Input(path, len(content), digest, "text/plain") for path in paths]
        self.both(lambda c, n: c.bind_inputs(execution[n], inputs))

    @step(weight=3, needs=lambda self: bool(self.executions))
    def seal(self, data: st.DataObject) -> None:
        execution = self._recent(data, self.executions)
        self.both(lambda c, n: c.seal(execution[n]))

    @step(
        weight=4,
        needs=lambda self: 0 < len(self.executions) < 8,
        listed=st.sampled_from([0, 2, 3, 5]),
        stage=st.sampled_from(["input", "parts", "ends/all", "copies"]),
    )
    def open_replay(self, data: st.DataObject, stage: str, listed: int) -> None:
        source = self._recent(data, self.executions)
        name, version = data.draw(st.sampled_from(self.versions))
        found, _ = self.both(lambda c, _: c.config(name, version))
        route = data.draw(st.sampled_from(list(found.config.routes)))
        batch = uuid7()
        opened = self.both(
            lambda c, n: c.open_replay(
                batch=batch,
                request=asked(source[n], stage, route),
                prefix=f"{source[n]}/{stage}",
                config=name,
                version=version,
                route=route,
            )
        )
        self.batches.append((batch, batch))
        execution = opened[0].replay.execution_id, opened[1].replay.execution_id
        self.executions.append(execution)
        self.replays.append((source[0], execution, name, version))
        if not listed:
            return
        held = self.both(lambda c, n: c.acquire(execution[n], owner="w1", lease=LEASE))
        pages = [[Listed(f"{side.prefix}/{path}", stage) for path in PATHS[:listed]] for side in held]
        self.both(
            lambda c, n: c.record(held[n], pages[n], cursor=pages[n][-1].key, last=listed == len(PATHS))
        )
        self.held.append(held)

    @step(weight=1, needs=lambda self: len(self.executions) < 8)
    def adopt(self) -> None:
        execution = uuid7()
        self.both(lambda c, _: c.adopt(execution))
        self.executions.append((execution, execution))

    @step(weight=5, needs=lambda self: bool(self.executions), owner=WORKERS)
    def acquire(self, data: st.DataObject, owner: str) -> None:
        job = self._recent(data, self.executions)
        held = self.both(lambda c, n: c.acquire(job[n], owner=owner, lease=LEASE))
        if held[0]:
            self.held.append(held)

    @step(
        weight=3,
        needs=lambda self: bool(self.held),
        what=st.sampled_from(["renew", "release", "fail_listing", "close_job", "close_job"]),
    )
    def hold(self, data: st.DataObject, what: str) -> None:
        held = self._recent(data, self.held)
        asked: dict[str, Callable[[Catalog, int], Awaitable[Any]]] = {
            "renew": lambda c, n: c.renew(held[n], lease=LEASE),
            "release": lambda c, n: c.release(held[n]),
            "fail_listing": lambda c, n: c.fail_listing(held[n], "the store is unavailable"),
            "close_job": lambda c, n: c.close_job(held[n]),
        }
        self.both(asked[what])

    @step(
        weight=5,
        needs=lambda self: bool(self.held),
        paths=st.lists(st.sampled_from([*PATHS, "a~2.b"]), unique=True, max_size=4).map(sorted),
        last=st.booleans(),
        bad=st.booleans(),
    )
    def record(self, data: st.DataObject, paths: list[str], last: bool, bad: bool) -> None:
        held = self._recent(data, self.held)
        stage = held[0].default_stage
        keys = [[f"{side.prefix}/{path}" for path in paths] for side in held]
        pages = [
            [Listed(key, stage, "is odd" if bad and key == side[-1] else None) for key in side]
            for side in keys
        ]
        cursors = [side[-1] if side else h.cursor for side, h in zip(keys, held, strict=True)]
        self.both(lambda c, n: c.record(held[n], pages[n], cursor=cursors[n], last=last))

    @step(weight=5, needs=lambda self: bool(self.held), limit=st.integers(1, 3), now=st.booleans())
    def publish(self, data: st.DataObject, limit: int, now: bool) -> None:
        held = self._recent(data, self.held)
        windows = self.both(lambda c, n: c.unpublished(held[n], limit=limit))
        if windows[0] and windows[0].upto:
            dispatches = list(zip(*(window.dispatches for window in windows), strict=True))
            uncertain, refused = self._outcomes(data, dispatches)[1:]
            batch = Batch(held, windows[0].upto, uncertain, refused)
            self._mark(batch) if now else self.late.append(batch)

    @step(weight=2, needs=lambda self: bool(self.late))
    def mark_late(self, data: st.DataObject) -> None:
        self._mark(self._recent(data, self.late))

    def _mark(self, batch: Batch) -> None:
        self.both(
            lambda c, n: c.mark(
                batch.held[n],
                batch.upto,
                uncertain=[dispatch[n] for dispatch in batch.uncertain],
                refused=[(dispatch[n], "too large") for dispatch in batch.refused],
            )
        )

    def _outcomes(
        self, data: st.DataObject, dispatches: Sequence[Twin[Dispatch]]
    ) -> list[list[Twin[Dispatch]]]:
        """Dispatches that the broker confirmed, does not answer for, and refused."""
        said = data.draw(
            st.lists(st.sampled_from([0, 0, 1, 1, 2]), min_size=len(dispatches), max_size=len(dispatches))
        )
        return [[c for c, s in zip(dispatches, said, strict=True) if s == which] for which in range(3)]

    @step(weight=3, needs=lambda self: bool(self.held), limit=st.integers(1, 3))
    def settle(self, data: st.DataObject, limit: int) -> None:
        held = self._recent(data, self.held)
        dispatches = list(zip(*self.both(lambda c, n: c.unsettled(held[n], limit=limit)), strict=True))
        confirmed, _, refused = self._outcomes(data, dispatches)
        self.both(
            lambda c, n: c.settle(
                held[n],
                [dispatch[n] for dispatch in confirmed],
                [(dispatch[n], "too large") for dispatch in refused],
            )
        )

    @step(
        weight=5,
        needs=lambda self: len(self.executions) < 8,
        owner=WORKERS,
        paths=st.lists(st.sampled_from(PATHS), unique=True, min_size=1, max_size=3),
        takes_over=st.booleans(),
    )
    def run_at_once(self, data: st.DataObject, owner: str, paths: list[str], takes_over: bool) -> None:
        """A complete run without faults, so that sequences reach later states."""
        since = self._since(data) if takes_over and self.runs else None
        versions = [self.runs[since[0].execution]] if since and since[0].execution else self.versions
        name, version = data.draw(st.sampled_from(versions))
        execution, digest, paths = uuid7(), sha256(b"x").digest(), sorted(paths)
        inputs = [Input(path, 1, digest, "text/plain") for path in paths]
        given: dict[str, Any] = {"tags": [], "owner": owner, "lease": LEASE}
        opened, _ = self.both(
            lambda c, n: c.open_run(execution, name, version, **given, reuse=since and since[n])
        )
        if isinstance(opened, str):  # the earlier run is pruned
            return
        self.runs[execution] = name, version
        self.both(lambda c, _: _sorted(c.bind_inputs(execution, inputs, takes_over=bool(since))))
        self.both(lambda c, _: c.seal(execution))
        held = self.both(lambda c, _: c.acquire(execution, owner=owner, lease=LEASE))
        page = [Listed(f"{execution}/input/{path}", "input") for path in paths]
        self.both(lambda c, n: c.record(held[n], page, cursor=page[-1].key, last=True))
        self.both(lambda c, n: c.mark(held[n], len(page)))
        self.executions.append((execution, execution))
        self.held.append(held)

    @step(
        weight=3,
        needs=lambda self: bool(self.runs) and len(self.executions) < 8,
        outputs=st.lists(st.sampled_from(PATHS), max_size=2, unique=True),
    )
    def replay_at_once(self, data: st.DataObject, outputs: list[str]) -> None:
        """A complete replay of the inputs of a run, so that runs take over its results."""
        source = data.draw(st.sampled_from(list(self.runs)[-3:]))
        name, version = self.runs[source]
        route = self._loaded(name, version).config.entry
        given: dict[str, Any] = {"request": asked(source, "input", route), "prefix": f"{source}/input"}
        given |= {"batch": uuid7(), "config": name, "version": version, "route": route}
        opened = self.both(lambda c, _: c.open_replay(**given))
        if isinstance(opened[0], str):  # the inputs are pruned
            return
        execution = opened[0].replay.execution_id, opened[1].replay.execution_id
        held = self.both(lambda c, n: c.acquire(execution[n], owner="w1", lease=LEASE))
        page = [Listed(f"{source}/input/{path}", "input") for path in sorted(PATHS)]
        listed = self.both(lambda c, n: c.record(held[n], page, cursor=page[-1].key, last=True))
        self.both(lambda c, n: c.mark(held[n], listed[n].upto))
        self.executions.append(execution)
        self.replays.append((source, execution, name, version))
        for ours, theirs in zip(*(window.dispatches for window in listed), strict=True):
            self._work("w1", (UUID(ours.correlation_id), UUID(theirs.correlation_id)), outputs)

    def _loaded(self, name: str, version: int) -> Any:
        loaded, _ = self.both(lambda c, _: c.config(name, version))
        return loaded

    def _since(self, data: st.DataObject) -> tuple[Reusable, Reusable]:
        """What may be taken over from one of the last runs, and from its replays, in each catalog."""
        execution = data.draw(st.sampled_from(list(self.runs)[-3:]))
        name, version = self.runs[execution]
        loaded = self._loaded(name, version)
        attempts = data.draw(st.sampled_from([(1,), (2, 1)]))
        codes = {
            route.name: None
            if route.external
            else [[AdapterCode("step", "1", f"code of attempt {n}")] for n in attempts]
            for route in loaded.config.routes.values()
        }
        changed = data.draw(st.sampled_from([None, *codes]))
        routes = {route: code for route, code in codes.items() if route != changed}
        replays: list[tuple[tuple[UUID, UUID], dict[str, Any]]] = []
        for source, replay, target, target_version in self.replays:
            if (source, target) == (execution, name):
                theirs = self._loaded(target, target_version).config.routes
                replays.append((replay, {one: codes[one] for one in theirs if one in codes}))
        first, second = ({ids[n]: given for ids, given in replays} for n in (0, 1))
        return Reusable(execution, routes, first), Reusable(execution, routes, second)

    @step(weight=1, needs=lambda self: bool(self.executions))
    def cancel(self, data: st.DataObject) -> None:
        execution = self._recent(data, self.executions)
        self.both(lambda c, n: c.cancel(execution[n]))

    @step(weight=1, needs=lambda self: bool(self.executions), pinned=st.booleans())
    def pin(self, data: st.DataObject, pinned: bool) -> None:
        execution = self._recent(data, self.executions)
        self.both(lambda c, n: c.pin(execution[n], pinned))

    @step(
        weight=2,
        needs=lambda self: bool(self.executions),
        stages=st.sampled_from([None, ["input"], ["parts", "input"], ["ends/all"]]),
        pages=st.integers(0, 3),
        is_ended=st.booleans(),
    )
    def prune(self, data: st.DataObject, stages: list[str] | None, pages: int, is_ended: bool) -> None:
        execution = self._recent(data, self.executions)
        self.both(lambda c, _: c.cancel_stragglers())  # a cancelled execution may be pruned only after that

        async def one(catalog: Catalog, n: int) -> Any:
            where = PruneFilter(execution_ids=[execution[n]], stages=stages)
            found, _ = await catalog.prune_candidates(where)
            counts = [await catalog.count_prunable(candidate) for candidate in found]
            seen: list[Any] = []
            for pruning in await catalog.begin_prune(found):
                deleted = None
                for _ in range(pages):
                    page = await catalog.prune_page(pruning, deleted=deleted, limit=2)
                    seen.append((pruning.execution, pruning.stage, page))
                    deleted = page.last if page else None
                if is_ended:
                    await catalog.end_prune(pruning)
            return found, counts, seen

        self.both(one)

    # -- work --------------------------------------------------------------------------------------

    @step(
        weight=4,
        needs=lambda self: bool(self.messages),
        worker=WORKERS,
        alone=st.booleans(),
        count=st.integers(1, 4),
    )
    def claim(self, data: st.DataObject, worker: str, alone: bool, count: int) -> None:
        known = list(self.messages.items())
        some = dict.fromkeys(self._recent(data, known, last=6) for _ in range(count))
        # What a worker claims at once came from one queue.
        first = self.routes[next(iter(some))[0]]
        ids = [cid for cid in some if self.routes[cid[0]] == first]
        answers = self.both(lambda c, n: c.claim(worker, [cid[n] for cid in ids], alone=alone))
        for ours, theirs in zip(*answers, strict=True):
            if isinstance(ours, Claim):
                self.claims.append((ours, theirs))
            else:
                self._keep((ours.children, theirs.children))

    @step(
        weight=3,
        needs=lambda self: bool(self.claims),
        count=st.integers(1, 2),
        outputs=st.lists(
            st.tuples(st.sampled_from(PATHS), st.sampled_from("xxy")), max_size=3, unique_by=lambda o: o[0]
        ),
        own=st.booleans(),
    )
    def bind(self, data: st.DataObject, count: int, outputs: list[tuple[str, str]], own: bool) -> None:
        claims = {c[0].correlation_id: c for c in (self._recent(data, self.claims) for _ in range(count))}
        bindable = [c for c in claims.values() if c[0].route in ("split", "right", "copy")]
        if bindable:
            self._bind(bindable, outputs, own)

    def _bind(self, claims: Sequence[Twin[Claim]], outputs: list[tuple[str, str]], own: bool) -> None:
        def new(claim: Claim, path: str, content: str) -> NewOutput:
            digest = sha256(content.encode()).digest()
            at = f"{claim.path}/{path}" if own else path
            return NewOutput(at, 1, digest, digest, "text/plain", {"content": content})

        answers = self.both(
            lambda c, n: c.bind(
                [
                    Binding(one[n].correlation_id, one[n].attempt, [new(one[n], *o) for o in outputs])
                    for one in claims
                ]
            )
        )
        for claim, ours, theirs in zip(claims, *answers, strict=True):
            if isinstance(ours, list):
                token = claim[0].correlation_id, claim[0].attempt
                self.bound[token] = list(zip(ours, theirs, strict=True))

    @step(
        weight=5,
        needs=lambda self: bool(self.claims),
        publisher=WORKERS,
        results=st.lists(
            st.sampled_from(["done", "done", "dead", "retry", "dead", "back", "held"]), min_size=1, max_size=3
        ),
    )
    def finish(self, data: st.DataObject, publisher: str, results: list[str]) -> None:
        claims = [self._recent(data, self.claims) for _ in results]
        once = {c[0].correlation_id: (c, how) for c, how in zip(claims, results, strict=True)}
        self._finish(publisher, list(once.values()))

    def _finish(self, publisher: str, ends: Sequence[tuple[Twin[Claim], str]]) -> None:
        def result(claim: Claim, how: str, keys: Sequence[str], ran: int) -> Result:
            token = claim.correlation_id, claim.attempt
            if how == "done":
                return Done(*token, keys, skip=None if keys else Skip("no_output", "no output"), ran=ran)
            if how == "back":
                return Released(*token, 1.0)
            if how == "held":
                return Released(*token, None, called=True)
            delay = None if how == "dead" else 2.0
            return Failed(*token, "adapter_error", "it broke", "Traceback", delay, ran)

        def bound(claim: Twin[Claim], n: int) -> list[str]:
            return [b[n].key for b in self.bound.get((claim[0].correlation_id, claim[0].attempt), [])]

        async def finish(c: Catalog, n: int) -> Any:
            results = []
            for claim, how in ends:
                ran = await c.record_code([AdapterCode("step", "1", f"code of attempt {claim[n].attempt}")])
                results.append(result(claim[n], how, bound(claim, n), ran))
            return await c.finish(publisher, results)

        answers = self.both(finish)
        for ours, theirs in zip(*answers, strict=True):
            if ours:
                self._keep((ours.children, theirs.children))

    @step(
        weight=6,
        needs=lambda self: bool(self.messages),
        worker=WORKERS,
        outputs=st.lists(st.sampled_from(PATHS), max_size=2, unique=True),
    )
    def work_at_once(self, data: st.DataObject, worker: str, outputs: list[str]) -> None:
        """A message that is processed without faults."""
        self._work(worker, self._recent(data, list(self.messages.items()), last=6), outputs)

    def _work(self, worker: str, cid: tuple[UUID, UUID], outputs: Sequence[str]) -> None:
        answers = self.both(lambda c, n: c.claim(worker, [cid[n]]))
        if isinstance(answers[0][0], Claim):
            claim = answers[0][0], answers[1][0]
            if claim[0].route in ("split", "right", "copy"):
                self._bind([claim], [(path, "x") for path in outputs], own=True)
            self._finish(worker, [(claim, "done")])

    @step(weight=3, needs=lambda self: bool(self.dispatches), count=st.integers(1, 4))
    def mark_published(self, data: st.DataObject, count: int) -> None:
        dispatches = {
            c[0].correlation_id: c
            for c in (self._recent(data, self.dispatches, last=6) for _ in range(count))
        }
        confirmed, _, refused = self._outcomes(data, list(dispatches.values()))
        self.both(
            lambda c, n: c.mark_published(
                [dispatch[n] for dispatch in confirmed],
                refused=[(dispatch[n], "too large") for dispatch in refused],
            )
        )

    @step(weight=2)
    def end_executions(self) -> None:
        self.both(lambda c, n: c.end_executions([e[n] for e in self.executions]))

    # -- the reconciler ----------------------------------------------------------------------------

    @step(weight=2, owner=WORKERS)
    def orphans(self, owner: str) -> None:
        self._keep(self.both(lambda c, _: c.orphans(owner, limit=1000), anyhow=True))

    @step(weight=2, owner=WORKERS)
    def due(self, owner: str) -> None:
        self._keep(self.both(lambda c, _: c.due(owner, limit=1000), anyhow=True))

    @step(weight=2)
    def recall_abandoned(self) -> None:
        self.both(lambda c, _: c.recall_abandoned(limit=1000))

    @step(
        weight=2,
        owner=WORKERS,
        queue=st.sampled_from(["q.split", "q.left", "q.right", "q.others", "q.copy", "q.out"]),
    )
    def redeliver_lost(self, owner: str, queue: str) -> None:
        self._keep(self.both(lambda c, _: c.redeliver_lost(owner, queue, limit=1000), anyhow=True))

    @step(weight=1)
    def cancel_stragglers(self) -> None:
        self.both(lambda c, _: c.cancel_stragglers())

    @step(weight=1)
    def fail_unsealed(self) -> None:
        self.both(lambda c, _: _sorted(c.fail_unsealed()))

    @step(weight=1)
    def maintain(self) -> None:
        self.both(lambda c, _: c.maintain())

    @step(weight=3, needs=lambda self: bool(self.messages), count=st.integers(1, 3))
    def resend_named(self, data: st.DataObject, count: int) -> None:
        letters = self._pages(lambda c, n, before: c.dead_letters(before=before, limit=100))
        dead = [(a.correlation_id, b.correlation_id) for a, b in letters]
        ids = [self._recent(data, dead or list(self.messages.items())) for _ in range(count)]
        self.both(lambda c, n: c.resend(ids=[cid[n] for cid in ids]))

    @step(
        weight=1,
        needs=lambda self: bool(self.executions),
        route=st.sampled_from([None, "split", "left", "copy"]),
        one=st.booleans(),
    )
    def resend_all(self, data: st.DataObject, route: str | None, one: bool) -> None:
        execution = self._recent(data, self.executions)
        self.both(
            lambda c, n: c.resend(
                where=DeadLetterFilter(execution=execution[n] if one else None, route=route)
            )
        )

    # -- reading -----------------------------------------------------------------------------------

    @invariant()
    def all_that_is_read_is_the_same(self) -> None:
        for counts in (getattr(side, "_counts", None) for side in self.sides):
            if counts:
                counts._known.clear()  # counts that took long to make may be a second old
        listed = self._pages(lambda c, n, before: c.executions(ExecutionFilter(), before=before, limit=100))
        self.times = [ours.created_at for ours, _ in listed] or [moment(0)]
        found = self._pages(lambda c, n, before: c.lineage_list(before=before, limit=100))
        self.messages = {a.correlation_id: b.correlation_id for a, b in reversed(found)}
        self.routes = {a.correlation_id: a.route for a, _ in found}
        self._pages(lambda c, n, before: c.dead_letters(before=before, limit=100))
        self._pages(lambda c, n, before: c.replays(before=before, limit=100))
        self.both(lambda c, _: c.open_executions())
        self.both(lambda c, _: c.abandoned_jobs())

    @step(weight=3)
    def look_at_all(self) -> None:
        self.both(lambda c, _: c.dead_by_route())
        self.both(lambda c, _: _sorted(c.workers()))
        self.both(lambda c, _: _sorted(c.subscriptions()))
        self.both(lambda c, _: _sorted(c.waiting_queues()))
        self.both(lambda c, _: c.configs())
        self.both(lambda c, _: c.active_configs())

    @step(weight=2, needs=lambda self: bool(self.executions))
    def look_at_an_execution(self, data: st.DataObject) -> None:
        execution = self._recent(data, self.executions)
        self.both(lambda c, n: c.execution(execution[n]))
        self.both(lambda c, n: c.route_counts(execution[n]))
        self.both(lambda c, n: c.stage_totals(execution[n]))
        self.both(lambda c, n: c.is_listed(execution[n]))

    @step(
        weight=2,
        needs=lambda self: bool(self.messages),
        direction=st.sampled_from(["up", "down", "both"]),
        limit=st.integers(1, 8),
    )
    def look_at_a_message(self, data: st.DataObject, direction: Any, limit: int) -> None:
        cid = self._recent(data, list(self.messages.items()))
        self.both(lambda c, n: c.lineage(cid[n]))
        self.both(lambda c, n: c.dead_letter(cid[n]))
        self.both(lambda c, n: c.chain(cid[n], direction=direction, limit=limit))
        self.both(lambda c, n: c.descendants([cid[n]], across_replays=limit % 2 == 0, limit=limit))

    @step(
        weight=2,
        needs=lambda self: bool(self.executions),
        stage=st.sampled_from(["input", "parts", "ends/all", "copies"]),
        direction=st.sampled_from(["up", "down", "both"]),
    )
    def look_at_objects(self, data: st.DataObject, stage: str, direction: Any) -> None:
        execution = self._recent(data, self.executions)
        paths = sorted([*PATHS, *(f"{a}/{b}" for a in PATHS for b in PATHS)])
        keys = [[f"{e}/{stage}/{path}" for path in paths] for e in execution]
        self.both(lambda c, n: _sorted(c.unstored(keys[n])))
        self.both(lambda c, n: _sorted(c.late_among(keys[n])))
        self.both(lambda c, n: c.sources(keys[n]))
        other, route = (
            self._recent(data, self.executions),
            data.draw(st.sampled_from(["one/left", "two/copy"])),
        )
        self.both(lambda c, n: _sorted(c.failed_below(keys[n], other[n], route, unfinished=False)))
        self.both(lambda c, n: _sorted(c.failed_below(keys[n], other[n], route, unfinished=True)))
        self.both(lambda c, n: c.references(f"{execution[n]}/{stage}", limit=10))
        at = data.draw(st.integers(0, len(paths) - 1))
        self.both(lambda c, n: c.lineage_of_object(keys[n][at]))
        self.both(lambda c, n: c.takers(keys[n][at], limit=10))
        self.both(lambda c, n: c.chain(keys[n][at], direction=direction, limit=10))

    @step(
        weight=3,
        needs=lambda self: bool(self.executions),
        status=st.sampled_from([None, "running", "failed", "cancelled", "completed"]),
        config=st.sampled_from([None, "one"]),
        kind=st.sampled_from([None, "run", "replay", "adopted"]),
        tag=st.sampled_from([None, None, "t"]),
        state=st.sampled_from([None, "pending", "retry", "dead", "completed", "skipped", "taken_over"]),
        route=st.sampled_from([None, "left", "copy"]),
    )
    def search(
        self, data: st.DataObject, status: Any, config: Any, kind: Any, tag: Any, state: Any, route: Any
    ) -> None:
        one = data.draw(st.none() | st.sampled_from(self.executions))
        batch = data.draw(st.none() | st.sampled_from(self.batches)) if self.batches else None

        def of(twin: Twin[UUID] | None, n: int) -> UUID | None:
            return twin[n] if twin else None

        since, until = (data.draw(st.none() | st.sampled_from(self.times)) for _ in range(2))
        self._pages(
            lambda c, n, before: c.executions(
                ExecutionFilter(status, config, kind, tag, of(one, n), since, until), before=before, limit=2
            )
        )
        self._pages(
            lambda c, n, before: c.lineage_list(
                execution=of(one, n), batch=of(batch, n), route=route, status=state, before=before, limit=2
            )
        )
        self._pages(
            lambda c, n, before: c.dead_letters(
                DeadLetterFilter(execution=of(one, n), route=route), before=before, limit=2
            )
        )
        self._pages(lambda c, n, before: c.replays(source=of(one, n), before=before, limit=2))

    def _pages(self, fetch: Callable[[Catalog, int, int | None], Awaitable[Any]]) -> list[Twin[Any]]:
        """All items of a list, whose pages are as long on both sides."""
        found: list[Twin[Any]] = []
        places: list[int | None] = [None, None]
        while True:
            pages = [self._answer(partial(_at, fetch, places[n]), n) for n in (0, 1)]
            self.agreement.check(pages[0][0], pages[1][0], "page")
            self.agreement.check(pages[0][1] is None, pages[1][1] is None, "last page")
            found += zip(pages[0][0], pages[1][0], strict=True)
            places = [page[1] for page in pages]
            if places[0] is None:
                return found

    @staticmethod
    def _recent(data: st.DataObject, pool: Sequence[T], *, last: int = 3) -> T:
        """One of what there is: mostly of the newest, where something still happens."""
        newest = st.integers(0, min(len(pool), last) - 1)
        return pool[-1 - data.draw(newest | st.integers(0, len(pool) - 1), "from the newest")]


async def _at(
    fetch: Callable[[Catalog, int, int | None], Awaitable[T]], at: int | None, c: Catalog, n: int
) -> T:
    return await fetch(c, n, at)


async def _sorted(asked: Awaitable[Any]) -> list[Any]:
    return sorted(await asked, key=repr)


def _still() -> float:
    """The time by which a process knows how long it was silent itself: none, however slow the machine is."""
    return 0.0


async def _postgres(stack: AsyncExitStack, clock: Callable[[], float]) -> Catalog:
    from playhead.backends.catalog_postgres import PostgresCatalog

    catalog = PostgresCatalog(await open_postgres(stack, clock), heartbeat_seconds=BEAT)
    catalog._liveness = Liveness(BEAT, _still)
    return catalog


@pytest.mark.slow
def test_postgresql_gives_the_same_answers_as_sqlite():
    need("postgres")
    run_both(Catalogs, EXAMPLES, steps=50)
