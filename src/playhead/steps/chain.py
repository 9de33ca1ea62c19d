"""A route's chain of adapters, run for one item: conditions, fan-out, and the paths of the outputs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final, NamedTuple

from playhead.errors import MessageError
from playhead.keys import problem
from playhead.model import Route, Skip, Step
from playhead.ports.adapter import AdapterSpec, Context, Item
from playhead.secrets import Mask, Reference, Resolve, SecretUnavailable, no_secrets
from playhead.steps.batches import Batches
from playhead.steps.conditions import dropped_because
from playhead.steps.isolation import IsolatedStep, StartChild
from playhead.steps.outputs import Product, Returned
from playhead.steps.ratelimits import CallLimits
from playhead.steps.reads import Reads
from playhead.steps.step import Budget, CooldownNeeded, ReadyStep, UnknownAdapter
from playhead.steps.threads import Threads
from playhead.steps.timeouts import time_not_counted

__all__ = ["Chain", "CooldownNeeded", "Limits", "Product", "Result", "UnknownAdapter"]

"""How the reason of a message begins that a condition skipped."""
_EXECUTION_BYTES: Final = 37


class Limits(NamedTuple):
    """Limits for the outputs of each step of a chain, in total for one item."""

    outputs: int = 100_000
    bytes: int = 1 << 30


LIMITS: Final = Limits()


class Result(NamedTuple):
    """What a chain returned for one item.

    Attributes:
        products: what is to be stored, in order.
        skip: why there are no products although the route stores outputs, or because a condition dropped the
            item; else None.
        reads: what the result depends on, besides the bytes and the content type of the item: `READS_…` of
            `ports.catalog.work`, added. It is not noted in a route that stores no outputs.
    """

    products: list[Product]
    skip: Skip | None = None
    reads: int = 0


_Call = tuple[ReadyStep, Sequence[Item], Budget]
"""A step, and the items that it gets in one call, or in calls of a batch."""
Walk = Generator[_Call, Sequence[Returned], Result]


class Chain:
    """The steps of one route, ready to run. One for each route and process; any number of threads may run it.

    A class adapter is constructed when the first item reaches it: one instance for each thread, or one for
    the chain if the class is async or declares that it is thread-safe.

    Attributes:
        specs: the adapters, in order.
        is_async: whether a step needs an event loop; then `run_async` must be used.
        mask: replaces the secrets of its configs in a text.
    """

    def __init__(
        self,
        route: Route,
        adapters: Mapping[str, AdapterSpec],
        *,
        resolve: Resolve = no_secrets,
        limits: Limits = LIMITS,
        call_limits: CallLimits | None = None,
        isolate: StartChild | None = None,
    ) -> None:
        """Raises `UnknownAdapter`.

        Without `call_limits`, the rate limits of steps have no effect. Without `isolate`, all steps run in
        this process.
        """
        missing = [step.type for step in route.steps if step.type not in adapters]
        if missing:
            raise UnknownAdapter(
                missing,
                f"route {route.name!r} needs {', '.join(missing)}, which this process has not loaded: "
                "load them with the setting `adapters`, or leave the route to a process that has",
            )
        room = _EXECUTION_BYTES + (len(route.stage.encode()) + 1 if route.stage else 0)
        self._route = route
        self._room = room
        self._limits = limits
        self._call_limits = call_limits
        self.mask = Mask()
        self._resolve = resolve
        self._secrets: dict[Reference, str] = {}
        self._isolate = isolate
        self._steps = [self._ready(step, adapters[step.type], room) for step in route.steps]
        self.specs = tuple(step.spec for step in self._steps)
        # The items of a batch wait for each other, which coroutines do without a thread for each.
        self._has_batches = any(step.spec.batch for step in self._steps)
        self.is_async = self._has_batches or any(step.needs_loop for step in self._steps)
        self._notes_ctx = route.stage is not None and any(spec.takes_ctx for spec in self.specs)
        self._threads = Threads()
        self._places: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}
        self._batches: dict[tuple[asyncio.AbstractEventLoop, ReadyStep], Batches] = {}

    @property
    def hanging(self) -> int:
        """How many calls with batches have not returned although their time is over."""
        return sum(len(batches.hanging) for batches in list(self._batches.values()))

    def _ready(self, step: Step, spec: AdapterSpec, room: int) -> ReadyStep:
        given = step, spec, self._route.name, room
        if step.isolation == "process" and self._isolate:
            return IsolatedStep(*given, resolve=self._secret, mask=self.mask, start=self._isolate)
        return ReadyStep(*given, resolve=self._secret, mask=self.mask)

    def _secret(self, reference: Reference) -> str:
        self._secrets[reference] = value = self._resolve(reference)
        self.mask.add(value)
        return value

    def has_new_secrets(self) -> bool:
        """Whether a secret of its configs has changed. Reads them again. A secret that is missing now counts
        as unchanged."""
        for reference, value in self._secrets.items():
            with suppress(SecretUnavailable):
                if self._resolve(reference) != value:
                    return True
        return False

    def run(self, item: Item, ctx: Context) -> Result:
        """Run one item through all steps; return what is to be stored.

        Blocks as long as the adapters do.

        Raises:
            MessageError: `bad_output`, `invalid_key`, `output_conflict` (one path twice).
            CooldownNeeded: an adapter raised `RateLimited`.
            CallWithdrawn: the process stops, and a step waits for its rate limit.
            Reject, Retry, or anything else: as an adapter raised it.
            RuntimeError: the chain is async.
        """
        if self.is_async:
            raise RuntimeError(f"route {self._route.name!r} has async adapters: await run_async")
        reads = Reads()
        walk, ctx = self._walk(item, reads), reads.context(ctx) if self._notes_ctx else ctx
        try:
            step, (each,), budget = next(walk)
            while True:
                if step.limit and self._call_limits:
                    self._call_limits.wait(step.limit)
                step, (each,), budget = walk.send([step.perform(each, ctx, budget)])
        except StopIteration as end:  # raised by the walk: `perform` converts those of an adapter
            result: Result = end.value
            return result

    async def run_async(self, item: Item, ctx: Context, *, alone: bool = False) -> Result:
        """Like `run`. Async steps run on this event loop, and plain steps in threads of the chain.

        Args:
            alone: the item may kill the process, so it shares no batch.
        """
        reads = Reads()
        walk, ctx = self._walk(item, reads), reads.context(ctx) if self._notes_ctx else ctx
        try:
            step, items, budget = next(walk)
            while True:
                if step.spec.batch:
                    returned = await self._batches_of(step).perform(items, ctx, budget, alone=alone)
                else:
                    returned = [await self._perform(step, items[0], ctx, budget)]
                step, items, budget = walk.send(returned)
        except StopIteration as end:
            result: Result = end.value
            return result

    async def _perform(self, step: ReadyStep, item: Item, ctx: Context, budget: Budget) -> Returned:
        async with self._place():
            if step.limit and self._call_limits:
                await self._call_limits.wait_async(step.limit)
            if step.needs_loop:
                return await step.perform_async(item, ctx, budget)
            return await self._threads.run(partial(step.perform, item, ctx, budget))

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Hold one of the places for calls without batches, of which there are as many as `concurrency`.

        A route without batches needs no places: it runs no more chains than that.
        """
        if not self._has_batches:
            yield
            return
        places = self._places.setdefault(
            asyncio.get_running_loop(), asyncio.Semaphore(self._route.concurrency)
        )
        with time_not_counted():
            await places.acquire()
        try:
            yield
        finally:
            places.release()

    def _batches_of(self, step: ReadyStep) -> Batches:
        key = asyncio.get_running_loop(), step
        if key not in self._batches:
            self._batches[key] = Batches(
                step,
                self._threads,
                self._call_limits,
                at_once=self._route.concurrency,
                timeout=self._route.timeout_seconds,
            )
        return self._batches[key]

    def close(self) -> None:
        """Close class adapters. May be called twice; a failure is logged, not raised."""
        self._threads.close()
        for step in self._steps:
            step.close()

    async def close_async(self) -> None:
        """Close the class adapters of this event loop. Call `close` afterwards."""
        for step in self._steps:
            await step.close_async()

    def _walk(self, item: Item, reads: Reads) -> Walk:
        """Walk through the steps, for both ways to run: yield the items of each call of a step, and receive
        its results. A step with batches gets all its items at once, any other step one at a time.
        """
        last = len(self._steps) - 1
        is_stored = self._route.stage is not None
        skip = Skip("no_output", "the route has no steps") if is_stored else None
        items = [item]
        found: list[Product] = []
        is_reached = False  # whether the last step was called: that of a sink has written rows
        for n, step in enumerate(self._steps):
            following: list[Item] = []
            budget = Budget(*self._limits)
            groups = [items] if step.spec.batch else [[each] for each in items]
            for group in groups:
                for each, returned in (yield from self._call(step, group, budget, reads)):
                    if returned is None:
                        assert step.condition, "what a condition does not admit"
                        if step.condition.otherwise == "drop":
                            why = dropped_because(step.condition, each)
                            skip = Skip(
                                "condition_false", f"the condition of {step.spec.name} dropped it{why}"
                            )
                            continue
                        step.spend(budget, b"")
                        if n < last:
                            following.append(each)
                        elif is_stored:
                            found.append(self._passed(each))
                        else:
                            skip = Skip("condition_false", f"the condition of {step.spec.name} is false")
                        continue
                    is_reached |= n == last
                    reads.returned(each.attributes, returned)
                    made = step.maker.products(each, returned)
                    if not made and (is_stored or n < last):
                        skip = Skip("no_output", f"{step.spec.name} returned no output")
                    if n < last:
                        following += [
                            Item(p.path, p.data, p.content_type, p.attributes, item.stage, None) for p in made
                        ]
                    elif made and not is_stored:
                        raise step.maker.bad(
                            f"returned {made[0].path!r}, but the route stores nothing; "
                            "give the route an outbound stage, or return None"
                        )
                    else:
                        found += made
            items = following
        if len(found) > 1:
            self._check_paths_differ(item, found)
        return Result(found, None if found or (is_reached and not is_stored) else skip, reads.found)

    def _call(
        self, step: ReadyStep, items: Sequence[Item], budget: Budget, reads: Reads
    ) -> Generator[_Call, Sequence[Returned], list[tuple[Item, Returned | None]]]:
        """Return items with what the step returned for each; None for one that its condition excludes."""
        # A result that is not stored is never used again.
        shown = items if self._route.stage is None else [reads.item(each) for each in items]
        admitted = [step.admits is None or step.admits(each) for each in shown]
        called = [each for each, is_admitted in zip(shown, admitted, strict=True) if is_admitted]
        returned = iter((yield step, called, budget) if called else ())
        return [
            (each, next(returned) if is_admitted else None)
            for each, is_admitted in zip(items, admitted, strict=True)
        ]

    def _passed(self, item: Item) -> Product:
        """Return the product for an item that passes the last step unchanged because of its condition."""
        if why := problem(item.path, room=self._room):
            raise MessageError(
                "invalid_key", f"route {self._route.name!r}: the output path {item.path!r} {why}"
            )
        return Product(item.path, item.data, item.content_type, item.attributes)

    def _check_paths_differ(self, item: Item, products: list[Product]) -> None:
        seen: set[str] = set()
        for product in products:
            if product.path in seen:
                raise MessageError(
                    "output_conflict",
                    f"route {self._route.name!r} returned {product.path!r} twice for {item.path!r}; "
                    "give outputs different paths: Output(path=…)",
                )
            seen.add(product.path)
