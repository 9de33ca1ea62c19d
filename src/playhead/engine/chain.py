"""A route's chain of adapters, run for one item: conditions, fan-out, and the paths of the outputs."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

from playhead import events
from playhead.engine.conditions import compile_condition
from playhead.engine.outputs import Maker, Product, Returned
from playhead.errors import MessageError, PlayheadError
from playhead.keys import problem
from playhead.model import Route, Step
from playhead.ports.adapter import AdapterSpec, Context, Item, Output

__all__ = ["Chain", "Limits", "Product", "Result", "UnknownAdapter"]

_EXECUTION_BYTES: Final = 37
_NOTHING: Final = Returned((), False)


class Limits(NamedTuple):
    """Limits for the outputs of each step of a chain, in total for one item."""

    outputs: int = 100_000
    bytes: int = 1 << 30


LIMITS: Final = Limits()


class Result(NamedTuple):
    """What a chain returned for one item.

    Attributes:
        products: what is to be stored, in order.
        skip_reason: why there are no products although the route stores outputs, or because a condition
            dropped the item; else empty.
    """

    products: list[Product]
    skip_reason: str = ""


class UnknownAdapter(PlayheadError):
    """This process does not have an adapter, or the adapter rejects the config of its step.

    Another process may have the adapter, for example during an upgrade. So the message is not at fault.

    Attributes:
        names: the adapters that are missing or reject their config.
    """

    def __init__(self, names: Iterable[str], detail: str) -> None:
        super().__init__("unknown_adapter", detail)
        self.names = tuple(names)


@dataclass(slots=True)
class _Budget:
    """What one step of a chain may still return for an item."""

    outputs: int
    bytes: int


Walk = Generator[tuple["_Step", Item, _Budget], Returned, Result]


class Chain:
    """The steps of one route, ready to run. One for each route and process; any number of threads may run it.

    A class adapter is constructed when the first item reaches it: one instance for each chain.

    Attributes:
        specs: the adapters, in order.
        is_async: whether a step needs an event loop; then `run_async` must be used.
    """

    def __init__(self, route: Route, adapters: Mapping[str, AdapterSpec], *, limits: Limits = LIMITS) -> None:
        """Raises `UnknownAdapter`."""
        missing = [step.type for step in route.steps if step.type not in adapters]
        if missing:
            raise UnknownAdapter(
                missing,
                f"route {route.name!r} needs {', '.join(missing)}, which this process has not loaded: "
                "start it with PLAYHEAD_ADAPTERS, or leave the route to a process that has",
            )
        room = _EXECUTION_BYTES + (len(route.stage.encode()) + 1 if route.stage else 0)
        self._route = route
        self._room = room
        self._limits = limits
        self._steps = [_Step(step, adapters[step.type], route.name, room) for step in route.steps]
        self.specs = tuple(step.spec for step in self._steps)
        self.is_async = any(spec.is_async for spec in self.specs)

    def run(self, item: Item, ctx: Context) -> Result:
        """Run one item through all steps; return what is to be stored.

        Blocks as long as the adapters do.

        Raises:
            MessageError: `bad_output`, `invalid_key`, `output_conflict` (one path twice).
            Reject, Retry, or anything else: as an adapter raised it.
            RuntimeError: the chain is async.
        """
        if self.is_async:
            raise RuntimeError(f"route {self._route.name!r} has async adapters: await run_async")
        walk = self._walk(item)
        try:
            step, each, budget = next(walk)
            while True:
                step, each, budget = walk.send(step.perform(each, ctx, budget))
        except StopIteration as end:  # raised by the walk: `perform` converts those of an adapter
            result: Result = end.value
            return result

    async def run_async(self, item: Item, ctx: Context) -> Result:
        """Like `run`. Async steps run on this event loop, and each call of a plain step in its own thread."""
        walk = self._walk(item)
        try:
            step, each, budget = next(walk)
            while True:
                if step.spec.is_async:
                    returned = await step.perform_async(each, ctx, budget)
                else:
                    returned = await _in_thread(partial(step.perform, each, ctx, budget))
                step, each, budget = walk.send(returned)
        except StopIteration as end:
            result: Result = end.value
            return result

    def close(self) -> None:
        """Close class adapters. May be called twice; a failure is logged, not raised."""
        for step in self._steps:
            step.close()

    def _walk(self, item: Item) -> Walk:
        """Walk through the steps, for both ways to run: yield each call of a step, and receive its result."""
        last = len(self._steps) - 1
        is_stored = self._route.stage is not None
        skip_reason = "the route has no steps" if is_stored else ""
        items = [item]
        found: list[Product] = []
        for n, step in enumerate(self._steps):
            following: list[Item] = []
            budget = _Budget(*self._limits)
            for each in items:
                if step.admits is not None and not step.admits(each):
                    if step.drops:
                        skip_reason = f"the condition of {step.spec.name} dropped it"
                        continue
                    step.spend(budget, b"")
                    if n < last:
                        following.append(each)
                    elif is_stored:
                        found.append(self._passed(each))
                    continue
                made = step.maker.products(each, (yield step, each, budget))
                if is_stored and not made:
                    skip_reason = f"{step.spec.name} returned no output"
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
        return Result(found, "" if found else skip_reason)

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


class _Step:
    """One adapter, with the settings and the condition of its step."""

    __slots__ = ("_call", "_instance", "_lock", "_route", "_settings", "admits", "drops", "maker", "spec")

    def __init__(self, step: Step, spec: AdapterSpec, route: str, room: int) -> None:
        self.spec = spec
        self.maker = Maker(f"route {route!r}, adapter {spec.name!r}", spec.produces, room)
        try:
            self.admits = compile_condition(step.condition) if step.condition else None
        except ValueError as exc:  # an older version took patterns that this one does not
            raise UnknownAdapter((), f"route {route!r}: the condition of {spec.name!r}: {exc}") from exc
        self.drops = step.condition is not None and step.condition.otherwise == "drop"
        self._route = route
        self._settings = _settings(spec, step.config, route)
        self._lock = threading.Lock()
        self._instance: Any = None
        self._call: Callable[[Item, Context], Any] | None = None

    def perform(self, item: Item, ctx: Context, budget: _Budget) -> Returned:
        """Call a plain adapter and collect what it returns."""
        try:
            return self._collect((self._call or self._ready())(item, ctx), budget)
        except (StopIteration, StopAsyncIteration, SystemExit) as exc:
            raise self._converted(exc) from exc

    async def perform_async(self, item: Item, ctx: Context, budget: _Budget) -> Returned:
        """Call an async adapter and collect what it returns."""
        try:
            result = (self._call or self._ready())(item, ctx)
            if inspect.isasyncgen(result):
                collected: list[Any] = []
                async for element in result:
                    self.spend(budget, element)
                    collected.append(element)
                return Returned(collected, True)
            return self._collect(await result, budget)
        except (StopIteration, StopAsyncIteration, SystemExit) as exc:
            raise self._converted(exc) from exc

    def close(self) -> None:
        with self._lock:
            instance, self._instance = self._instance, None
            if instance is None:
                return
            self._call = None
        close = getattr(instance, "close", None)
        if close is None:
            return
        try:
            close()
        except Exception:
            # The remaining adapters of this process must be closed too.
            events.emit(
                events.ADAPTER_CLOSE_FAILED,
                logging.ERROR,
                exc_info=True,
                adapter=self.spec.name,
                route=self._route,
            )

    def _ready(self) -> Callable[[Item, Context], Any]:
        """Return the callable for each item. A class adapter is constructed here, once."""
        with self._lock:
            if self._call is None:
                settings = {} if self._settings is None else {"config": self._settings}
                target = self.spec.target
                if self.spec.is_class:
                    self._instance = target = target(**settings)
                    settings = {}
                self._call = _bound(target, settings, self.spec.takes_ctx)
            return self._call

    def _collect(self, result: Any, budget: _Budget) -> Returned:
        if result is None:
            return _NOTHING
        if isinstance(result, Output | str | bytes):
            self.spend(budget, result)
            return Returned((result,), False)
        if inspect.iscoroutine(result):
            result.close()
            raise self.maker.bad("returned a coroutine; declare the outermost function with async def")
        if isinstance(result, Item | Mapping | bytearray | memoryview) or not isinstance(result, Iterable):
            raise self.maker.bad(
                f"returned {type(result).__name__}; return None, Output, str, bytes or an iterable of those"
            )
        collected = []
        for element in result:
            self.spend(budget, element)
            collected.append(element)
        return Returned(collected, True)

    def spend(self, budget: _Budget, element: object) -> None:
        """Count one output, or an item that passes the step because of its condition.

        An endless iterable would use all memory before its time-out.
        """
        data = element.data if isinstance(element, Output) else element
        budget.outputs -= 1
        budget.bytes -= len(data) if isinstance(data, str | bytes) else 0
        if budget.outputs < 0:
            raise self.maker.bad("returned too many outputs for one item; split the item in an earlier route")
        if budget.bytes < 0:
            raise self.maker.bad("returned too many bytes for one item; split the item in an earlier route")

    def _converted(self, exc: BaseException) -> RuntimeError:
        """Replace an exception that would stop the event loop or get lost in a future by a RuntimeError."""
        return RuntimeError(f"adapter {self.spec.name!r} raised {type(exc).__name__}: {exc}")


def _bound(
    target: Callable[..., Any], settings: dict[str, Any], takes_ctx: bool
) -> Callable[[Item, Context], Any]:
    if takes_ctx:
        return lambda item, ctx: target(item, ctx=ctx, **settings)
    return lambda item, ctx: target(item, **settings)


async def _in_thread(call: Callable[[], Returned]) -> Returned:
    """Run a call in a new daemon thread, so that a call that hangs delays neither other calls nor the exit.

    The thread pool of the event loop would delay both, and has few threads on a small machine.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Returned] = loop.create_future()

    def settle(returned: Returned | None, error: BaseException | None) -> None:
        if future.done():  # it was cancelled
            return
        if returned is None:
            future.set_exception(error or RuntimeError("no result"))
        else:
            future.set_result(returned)

    def work() -> None:
        returned = error = None
        try:
            returned = call()
        except BaseException as exc:
            error = exc
        try:
            loop.call_soon_threadsafe(settle, returned, error)
        except RuntimeError:  # the loop is closed
            return

    run = contextvars.copy_context().run
    threading.Thread(target=run, args=(work,), name="playhead-adapter", daemon=True).start()
    return await future


def _settings(spec: AdapterSpec, given: Mapping[str, Any], route: str) -> Any:
    """Return the step's config as an instance of the adapter's model; None if the adapter has no model.

    A config is checked when it is applied, but perhaps against another version of the adapter.
    """
    model: Any = spec.config_model
    try:
        if model is None:
            if given:
                raise ValueError(f"it takes no config, but the step has {', '.join(given)}")
            return None
        known = _field_names(model)
        if known is not None and (unknown := sorted(set(given) - known)):
            raise ValueError(f"unknown: {', '.join(unknown)}; known: {', '.join(sorted(known)) or 'none'}")
        return model.model_validate(dict(given))
    except ValueError as exc:
        raise UnknownAdapter(
            [spec.name], f"route {route!r}: adapter {spec.name!r} {spec.version} and its config: {exc}"
        ) from exc


def _field_names(model: Any) -> set[str] | None:
    """Return the names that a model's fields may have in a config; None if an alias is not a plain name."""
    names: set[str] = set()
    for name, info in model.model_fields.items():
        for alias in (info.alias, info.validation_alias):
            if alias is not None and not isinstance(alias, str):
                return None
            names.add(alias or name)
        names.add(name)
    return names
