"""A route's chain of adapters, run for one item: conditions, fan-out, and the paths of what comes out."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from functools import partial
from itertools import islice
from typing import Any, Final

from playhead import events
from playhead.engine.conditions import compile_condition
from playhead.engine.outputs import Maker, Product, Returned
from playhead.errors import MessageError, PlayheadError
from playhead.keys import problem
from playhead.model import Route, Step
from playhead.ports.adapter import AdapterSpec, Context, Item, Output

__all__ = ["Chain", "Product", "UnknownAdapter"]

MOST_OUTPUTS: Final = 100_000
"""Of one item."""
_EXECUTION_BYTES: Final = 37
_NOTHING: Final = Returned((), False)

Walk = Generator[tuple["_Step", Item], Returned, list[Product]]


class UnknownAdapter(PlayheadError):
    """This process has no adapter of that name, or one that does not take the config it is given.

    Another process may have it (a new version is being rolled out), so it is no fault of the message.

    Attributes:
        names: the adapters that are missing or don't fit.
    """

    def __init__(self, names: Iterable[str], detail: str) -> None:
        super().__init__("unknown_adapter", detail)
        self.names = tuple(names)


class Chain:
    """The steps of one route, ready to run. One a route and process; any number of threads may run it.

    Class adapters are made at the first item that reaches them, one instance a chain.

    Attributes:
        specs: the adapters, in order.
        is_async: whether any step needs an event loop; then `run_async` must be used.
    """

    def __init__(self, route: Route, adapters: Mapping[str, AdapterSpec]) -> None:
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
        self._steps = [_Step(step, adapters[step.type], route.name, room) for step in route.steps]
        self.specs = tuple(step.spec for step in self._steps)
        self.is_async = any(spec.is_async for spec in self.specs)

    def run(self, item: Item, ctx: Context) -> list[Product]:
        """Take one item through all steps; returns what is to be stored, in order.

        Blocks for as long as the adapters do.

        Raises:
            MessageError: `bad_output`, `invalid_key`, `output_conflict` (one path twice).
            Reject, Retry, or anything else: as an adapter raised it.
            RuntimeError: the chain is async.
        """
        if self.is_async:
            raise RuntimeError(f"route {self._route.name!r} has async adapters: await run_async")
        walk = self._walk(item)
        try:
            step, each = next(walk)
            while True:
                step, each = walk.send(step.perform(each, ctx))
        except StopIteration as end:  # the walk's: `perform` lets none of an adapter's through
            products: list[Product] = end.value
            return products

    async def run_async(self, item: Item, ctx: Context) -> list[Product]:
        """As `run`. Async steps run on this loop, each call of a plain one in a thread of its own."""
        walk = self._walk(item)
        try:
            step, each = next(walk)
            while True:
                if step.spec.is_async:
                    returned = await step.perform_async(each, ctx)
                else:
                    returned = await _in_thread(partial(step.perform, each, ctx))
                step, each = walk.send(returned)
        except StopIteration as end:
            products: list[Product] = end.value
            return products

    def close(self) -> None:
        """Close the class adapters that were made. May be called twice; a failure is logged, not raised."""
        for step in self._steps:
            step.close()

    def _walk(self, item: Item) -> Walk:
        """The order of events, for both ways to run: yields what is to be performed, is sent what it gave."""
        last = len(self._steps) - 1
        stored = self._route.stage is not None
        items = [item]
        found: list[Product] = []
        for n, step in enumerate(self._steps):
            following: list[Item] = []
            for each in items:
                if step.admits is not None and not step.admits(each):
                    if n < last:
                        following += [] if step.drops else [each]
                    elif stored and not step.drops:
                        found.append(self._passed_by(each))
                    continue
                made = step.maker.products(each, (yield step, each))
                if n < last:
                    following += [
                        Item(p.path, p.data, p.content_type, p.attributes, item.stage, None) for p in made
                    ]
                elif made and not stored:
                    raise step.maker.bad(
                        f"gave {made[0].path!r}, but the route stores nothing; "
                        "give it an outbound stage, or return None"
                    )
                else:
                    found += made
            items = following
        if len(found) > 1:
            self._check_apart(item, found)
        return found

    def _passed_by(self, item: Item) -> Product:
        """What is stored of an item that passed the last step by."""
        if why := problem(item.path, room=self._room):
            raise MessageError(
                "invalid_key", f"route {self._route.name!r}: the output path {item.path!r} {why}"
            )
        return Product(item.path, item.data, item.content_type, item.attributes)

    def _check_apart(self, item: Item, products: list[Product]) -> None:
        seen: set[str] = set()
        for product in products:
            if product.path in seen:
                raise MessageError(
                    "output_conflict",
                    f"route {self._route.name!r} makes {product.path!r} twice of {item.path!r}; "
                    "name outputs apart: Output(path=…)",
                )
            seen.add(product.path)


class _Step:
    """One adapter with the settings and the condition of its place in a route."""

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

    def perform(self, item: Item, ctx: Context) -> Returned:
        """Call a plain adapter and gather all it gives."""
        try:
            return self._gather((self._call or self._ready())(item, ctx))
        except (StopIteration, StopAsyncIteration, SystemExit) as exc:
            raise self._tamed(exc) from exc

    async def perform_async(self, item: Item, ctx: Context) -> Returned:
        """Call an async adapter and gather all it gives."""
        try:
            result = (self._call or self._ready())(item, ctx)
            if inspect.isasyncgen(result):
                given: list[Any] = []
                async for element in result:
                    given.append(element)
                    if len(given) > MOST_OUTPUTS:
                        break
                return self._counted(given)
            return self._gather(await result)
        except (StopIteration, StopAsyncIteration, SystemExit) as exc:
            raise self._tamed(exc) from exc

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
            # The other adapters of this process want to be closed too.
            events.emit(
                events.ADAPTER_CLOSE_FAILED,
                logging.ERROR,
                exc_info=True,
                adapter=self.spec.name,
                route=self._route,
            )

    def _ready(self) -> Callable[[Item, Context], Any]:
        """What is called for each item; a class is made into its instance here, once."""
        with self._lock:
            if self._call is None:
                settings = {} if self._settings is None else {"config": self._settings}
                target = self.spec.target
                if self.spec.is_class:
                    self._instance = target = target(**settings)
                    settings = {}
                self._call = _bound(target, settings, self.spec.takes_ctx)
            return self._call

    def _gather(self, result: Any) -> Returned:
        if result is None:
            return _NOTHING
        if isinstance(result, Output | str | bytes):
            return Returned((result,), False)
        if inspect.iscoroutine(result):
            result.close()
            raise self.maker.bad("gave a coroutine; declare the outermost function with async def")
        if isinstance(result, Item | Mapping | bytearray | memoryview) or not isinstance(result, Iterable):
            raise self.maker.bad(
                f"gave {type(result).__name__}; give None, Output, str, bytes or an iterable of those"
            )
        # One without an end would take all memory before its time is over.
        return self._counted(list(islice(result, MOST_OUTPUTS + 1)))

    def _counted(self, given: list[Any]) -> Returned:
        if len(given) > MOST_OUTPUTS:
            raise self.maker.bad(
                f"gave more than {MOST_OUTPUTS:,} outputs of one item; split the item in an earlier route"
            )
        return Returned(given, True)

    def _tamed(self, exc: BaseException) -> RuntimeError:
        """An ordinary error for one that would stop an event loop or get lost in a future."""
        return RuntimeError(f"adapter {self.spec.name!r} raised {type(exc).__name__}: {exc}")


def _bound(
    target: Callable[..., Any], settings: dict[str, Any], takes_ctx: bool
) -> Callable[[Item, Context], Any]:
    if takes_ctx:
        return lambda item, ctx: target(item, ctx=ctx, **settings)
    return lambda item, ctx: target(item, **settings)


async def _in_thread(call: Callable[[], Returned]) -> Returned:
    """Run a call in a new thread: a daemon, so that one that hangs holds up neither others nor the exit.

    The pool of the event loop would do both, and has few threads on a small machine.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Returned] = loop.create_future()

    def settle(returned: Returned | None, error: BaseException | None) -> None:
        if future.done():  # cancelled: nobody waits any more
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
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    run = contextvars.copy_context().run
    threading.Thread(target=run, args=(work,), name="playhead-adapter", daemon=True).start()
    return await future


def _settings(spec: AdapterSpec, given: Mapping[str, Any], route: str) -> Any:
    """The step's config as an instance of the adapter's model; None where it has none.

    A config is checked when it is loaded, but perhaps against another version of the adapter.
    """
    model: Any = spec.config_model
    try:
        if model is None:
            if given:
                raise ValueError(f"it takes no config, but is given {', '.join(given)}")
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
    """What a model's fields may be called; None where an alias is more than a name."""
    names: set[str] = set()
    for name, info in model.model_fields.items():
        for alias in (info.alias, info.validation_alias):
            if alias is not None and not isinstance(alias, str):
                return None
            names.add(alias or name)
        names.add(name)
    return names
