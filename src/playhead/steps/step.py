"""One step of a chain: its adapter, with its config and its condition."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple

from playhead import events
from playhead.errors import PlayheadError
from playhead.model import Step
from playhead.ports.adapter import AdapterSpec, Context, Item, Output, RateLimited
from playhead.secrets import Mask, ReferenceInvalid, Resolve, SecretUnavailable, resolved
from playhead.steps.conditions import compile_condition
from playhead.steps.outputs import Maker, Returned
from playhead.steps.slots import at_loop_end

_NOTHING: Final = Returned((), False)
_NO_LIST: Final = (Output, Item, str, bytes, bytearray, memoryview, Mapping, Awaitable)
_CONVERTED: Final = (StopIteration, StopAsyncIteration, SystemExit, RateLimited)
"""Errors of adapters that are replaced: see `ReadyStep._converted`."""
_CONVERTED_IN_BATCH: Final = (*_CONVERTED, KeyboardInterrupt)
"""A batch is a separate task, and `KeyboardInterrupt` in a task ends the event loop."""
_Call = Callable[[Any, Any], Any]
"""An adapter with its config. It takes an item and its context, or a batch of items and their contexts."""


class _Made(NamedTuple):
    """What a thread calls for an item.

    Attributes:
        instance: that of a class adapter; None for a function.
        loop: the event loop on which an async `close` must run; None if `close` is not async.
    """

    call: _Call
    instance: object
    loop: asyncio.AbstractEventLoop | None = None


class UnknownAdapter(PlayheadError):
    """This process does not have an adapter or one of its secrets, or the adapter rejects its config.

    Another process may have them, for example during an upgrade. So the message is not at fault.

    Attributes:
        names: the adapters that are missing, lack a secret, or reject their config.
    """

    def __init__(self, names: Iterable[str], detail: str, *, code: str = "unknown_adapter") -> None:
        super().__init__(code, detail)
        self.names = tuple(names)


class CooldownNeeded(Exception):
    """A step raised `RateLimited`.

    Attributes:
        key: that of the step's rate limit; None if it has none.
        after: seconds until the next call; None if the step did not set it.
    """

    def __init__(self, key: str | None, error: RateLimited) -> None:
        super().__init__(str(error))
        self.key = key
        self.after = error.after


@dataclass(slots=True)
class Budget:
    """What one step of a chain may still return for an item."""

    outputs: int
    bytes: int


class ReadyStep:
    """A step, ready to run in any number of threads.

    Attributes:
        admits: the condition, as a function; None without a condition.
        limit: how often the adapter may be called; None: as often as items come.
        condition: the condition, as declared; None without one.
        maker: makes the products of what the adapter returns.
    """

    def __init__(
        self, step: Step, spec: AdapterSpec, route: str, room: int, *, resolve: Resolve, mask: Mask
    ) -> None:
        self.spec = spec
        self.limit = step.rate_limit
        self.maker = Maker(f"route {route!r}, adapter {spec.name!r}", spec.produces, room)
        try:
            self.admits = compile_condition(step.condition) if step.condition else None
        except ValueError as exc:  # an older version took patterns that this one does not
            detail = f"route {route!r}: the condition of {spec.name!r}: {exc}"
            raise UnknownAdapter((), detail, code="step_invalid") from exc
        self.condition = step.condition
        self._route = route
        self._settings = _settings(spec, step.config, route, resolve, mask)
        self._lock = threading.Lock()
        self._is_shared = not spec.is_class or spec.is_async or spec.is_thread_safe
        self._shared: _Call | None = None
        self._made: dict[threading.Thread, _Made] = {}

    @property
    def needs_loop(self) -> bool:
        """Whether the adapter must be called on an event loop."""
        return self.spec.is_async

    def perform(self, item: Item, ctx: Context, budget: Budget) -> Returned:
        """Call a plain adapter and collect what it returns."""
        try:
            return self._collect((self._shared or self._ready())(item, ctx), budget)
        except _CONVERTED as exc:
            raise self._converted(exc) from exc

    async def perform_async(self, item: Item, ctx: Context, budget: Budget) -> Returned:
        """Call an async adapter and collect what it returns."""
        try:
            result = (self._shared or self._ready())(item, ctx)
            if inspect.isasyncgen(result):
                collected: list[Any] = []
                async for element in result:
                    self.spend(budget, element)
                    collected.append(element)
                return Returned(collected, True)
            return self._collect(await result, budget)
        except _CONVERTED as exc:
            raise self._converted(exc) from exc

    def prepare(self) -> None:
        """Do before a call what must not count towards its time-out."""

    def perform_batch(
        self,
        items: Sequence[Item],
        contexts: Sequence[Context],
        budgets: Sequence[Budget],
        over: threading.Event,
    ) -> list[Returned | BaseException]:
        """Call a plain adapter that takes batches; return what it returns for each item.

        Args:
            over: set when the time of the call is over. A thread cannot be stopped, but a child process can.
        """
        try:
            return self._distribute((self._shared or self._ready())(items, contexts), budgets)
        except _CONVERTED_IN_BATCH as exc:
            raise self._converted(exc) from exc

    async def perform_batch_async(
        self, items: Sequence[Item], contexts: Sequence[Context], budgets: Sequence[Budget]
    ) -> list[Returned | BaseException]:
        """Call an async adapter that takes batches; return what it returns for each item."""
        try:
            return self._distribute(await (self._shared or self._ready())(items, contexts), budgets)
        except _CONVERTED_IN_BATCH as exc:
            raise self._converted(exc) from exc

    def _distribute(self, result: Any, budgets: Sequence[Budget]) -> list[Returned | BaseException]:
        """Return what an adapter returned for each item of a batch. Raises `MessageError`: `bad_output`."""
        if isinstance(result, _NO_LIST) or not isinstance(result, Iterable):
            raise self.maker.bad(f"returned {type(result).__name__}; return a list with one result per item")
        results = list(islice(result, len(budgets) + 1))
        if len(results) != len(budgets):
            count = f"more than {len(budgets)}" if len(results) > len(budgets) else len(results)
            raise self.maker.bad(
                f"returned {count} results for {len(budgets)} items; return one result per item, in order"
            )
        return [self._one_of_batch(*pair) for pair in zip(results, budgets, strict=True)]

    def _one_of_batch(self, result: Any, budget: Budget) -> Returned | BaseException:
        try:
            if isinstance(result, BaseException):
                raise result
            return self._collect(result, budget)
        except BaseException as exc:
            is_harmless = isinstance(exc, Exception) and not isinstance(exc, _CONVERTED)
            return exc if is_harmless else self._converted(exc)

    def close(self) -> None:
        """Close the instances. May be called twice; a failure is logged, not raised.

        An async `close` runs on the event loop of the instance, and this method does not wait for it.
        """
        for one in self._taken():
            if one.loop is None:
                self._close(one.instance)
            elif one.loop.is_running():
                asyncio.run_coroutine_threadsafe(self._close_async(one.instance), one.loop)

    async def close_async(self) -> None:
        """Close the instance of an async class on its own event loop, which runs this coroutine."""
        for one in self._taken():
            await self._close_async(one.instance)

    def _taken(self) -> list[_Made]:
        with self._lock:
            made = list(self._made.values())
            self._made.clear()
            self._shared = None
        return made

    def _close(self, instance: Any) -> None:
        try:
            if close := getattr(instance, "close", None):
                close()
        except Exception:  # the remaining adapters of this process must be closed too
            self._report_close()

    async def _close_async(self, instance: Any) -> None:
        try:
            if (close := getattr(instance, "close", None)) and inspect.isawaitable(closing := close()):
                await closing
        except Exception:
            self._report_close()

    def _report_close(self) -> None:
        events.emit(events.ADAPTER_CLOSE_FAILED, exc_info=True, adapter=self.spec.name, route=self._route)

    def _ready(self) -> _Call:
        """Return what this thread calls for an item. The first call constructs a class adapter."""
        thread = threading.current_thread()
        if self._is_shared:
            with self._lock:
                if self._shared is None:
                    self._made[thread] = made = self._make()
                    self._shared = made.call
                return self._shared
        if known := self._made.get(thread):
            return known.call
        made = self._make()  # without the lock: a constructor may take long, for example to load a model
        with self._lock:
            self._made[thread] = made
            ended = [self._made.pop(one) for one in list(self._made) if not one.is_alive()]
        for one in ended:
            self._close(one.instance)
        return made.call

    def _make(self) -> _Made:
        settings = {} if self._settings is None else {"config": self._settings}
        if not self.spec.is_class:
            return _Made(_bound(self.spec.target, settings, self.spec.takes_ctx), None)
        instance = self.spec.target(**settings)
        loop = None
        if inspect.iscoroutinefunction(getattr(instance, "close", None)):
            loop = asyncio.get_running_loop()
            at_loop_end(self.close_async)
        return _Made(_bound(instance, {}, self.spec.takes_ctx), instance, loop)

    def _collect(self, result: Any, budget: Budget) -> Returned:
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

    def spend(self, budget: Budget, element: object) -> None:
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

    def _converted(self, exc: BaseException) -> Exception:
        """Add the key of the limit to `RateLimited`. Replace an exception that would stop the event loop or
        get lost in a future by a RuntimeError."""
        if isinstance(exc, RateLimited):
            return CooldownNeeded(self.limit.key if self.limit else None, exc)
        return RuntimeError(f"adapter {self.spec.name!r} raised {type(exc).__name__}: {exc}")


def instance_of(spec: AdapterSpec, step: Step, route: str, *, resolve: Resolve, mask: Mask) -> Any:
    """Return an instance of a class adapter, for methods that no item calls. The caller closes it.

    Raises `UnknownAdapter`.
    """
    settings = _settings(spec, step.config, route, resolve, mask)
    return spec.target() if settings is None else spec.target(config=settings)


def _bound(target: Callable[..., Any], settings: dict[str, Any], takes_ctx: bool) -> _Call:
    if takes_ctx:
        return lambda item, ctx: target(item, ctx=ctx, **settings)
    return lambda item, ctx: target(item, **settings)


def _settings(spec: AdapterSpec, given: Mapping[str, Any], route: str, resolve: Resolve, mask: Mask) -> Any:
    """Return the step's config as an instance of the adapter's model; None if the adapter has no model.

    A config is checked when it is applied, but without its secrets, and perhaps against another version of
    the adapter.
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
        return model.model_validate(resolved(dict(given), resolve))
    except (SecretUnavailable, ReferenceInvalid) as exc:
        raise UnknownAdapter(
            [spec.name],
            f"route {route!r}: adapter {spec.name!r} lacks a secret: {exc}. "
            "Messages wait for a worker that has it",
            code="secret_missing",
        ) from exc
    except Exception as exc:
        detail = mask(_without_input(exc))
        # Without `from exc`: that error contains values of the config.
        raise UnknownAdapter(
            [spec.name],
            f"route {route!r}: adapter {spec.name!r} {spec.version} and its config: {detail}",
            code="step_invalid",
        ) from None


def _without_input(error: Exception) -> str:
    """Return the text of an error of a model. Pydantic's own text contains shortened values of the config."""
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    found = errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'config'}: {one['msg']}" for one in found)


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
