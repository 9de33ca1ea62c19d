"""Steps with `isolation: process`: the adapter runs in a child process, which can be killed.

A function in a thread cannot be stopped, and it can take its worker with it: by a crash, by the memory that
it uses, or by a regular expression that never ends and never releases the interpreter lock. A child process
harms only the attempt that it runs. Children also use several cores.

Each child runs one call at a time. It is started when a call finds no idle child, and ends with its chain.
"""

from __future__ import annotations

import contextlib
import pickle
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from playhead.errors import MessageError, Unavailable
from playhead.model import Step
from playhead.ports.adapter import AdapterSpec, Context, Item, RateLimited
from playhead.secrets import Mask, Resolve
from playhead.steps.outputs import Returned
from playhead.steps.step import Budget, CooldownNeeded, ReadyStep, UnknownAdapter
from playhead.steps.timeouts import TimedOut, is_over, timeout_stopped
from playhead.steps.tracebacks import ChildTraceback, text_of, traceback_of


class ChildStep(NamedTuple):
    """What a child needs to run a step.

    Attributes:
        code: the fingerprint of the adapter in the parent; the child must have loaded the same code.
    """

    type: str
    config: Mapping[str, Any]
    route: str
    room: int
    code: str


class Call(NamedTuple):
    """A call of the adapter."""

    items: Sequence[Item]
    contexts: Sequence[Context]
    budgets: Sequence[Budget]


class Child(Protocol):
    """A process that runs the calls of one step."""

    @property
    def is_alive(self) -> bool: ...

    def call(self, call: Call, over: Callable[[], bool]) -> Reply | None:
        """Run a call; return None if `over` became true first.

        Raises:
            ChildEnded: the process has ended.
        """
        ...

    def begin_end(self) -> None:
        """Let the process close its adapter and end. May be called twice."""
        ...

    def end(self) -> None:
        """Wait until the process has ended; kill it if it does not. May be called twice."""
        ...

    def kill(self) -> None:
        """End the process at once."""
        ...


StartChild = Callable[[ChildStep], Child]


class ChildEnded(Exception):
    """The process of a step ended during a call, for example by a crash or for lack of memory."""


class Failure(NamedTuple):
    """An error in a child. `error` can be pickled; `trace` is its traceback."""

    error: Any
    trace: str


Reply = list[Returned | Failure] | Failure
"""The result for each item of a call, or an error of the call as a whole."""


class IsolatedStep(ReadyStep):
    """A step whose adapter runs in child processes."""

    def __init__(
        self,
        step: Step,
        spec: AdapterSpec,
        route: str,
        room: int,
        *,
        resolve: Resolve,
        mask: Mask,
        start: StartChild,
    ) -> None:
        # The parent reads the config too: it checks it, and it masks the secrets of the child's errors.
        super().__init__(step, spec, route, room, resolve=resolve, mask=mask)
        self._child_step = ChildStep(step.type, step.config, route, room, spec.code)
        self._start = start
        self._idle: deque[Child] = deque()
        self._is_closed = False

    @property
    def needs_loop(self) -> bool:
        return False

    def perform(self, item: Item, ctx: Context, budget: Budget) -> Returned:
        with timeout_stopped():  # while a child starts
            child = self._take()
        (result,) = self._run(child, Call([item], [ctx], [budget]), is_over)
        if isinstance(result, BaseException):
            raise result
        return result

    def perform_batch(
        self,
        items: Sequence[Item],
        contexts: Sequence[Context],
        budgets: Sequence[Budget],
        over: threading.Event,
    ) -> list[Returned | BaseException]:
        return self._run(self._take(), Call(items, contexts, budgets), over.is_set)

    def prepare(self) -> None:
        self._keep(self._take())

    def close(self) -> None:
        self._is_closed = True
        ending = []
        with contextlib.suppress(IndexError):  # several threads may do this at once
            while True:
                ending.append(self._idle.pop())
                ending[-1].begin_end()
        for child in ending:
            child.end()

    def _run(self, child: Child, call: Call, over: Callable[[], bool]) -> list[Returned | BaseException]:
        try:
            reply = child.call(call, over)
        except BaseException:
            child.kill()
            raise
        if reply is None:
            child.kill()
            raise TimedOut
        self._keep(child)
        if isinstance(reply, Failure):
            raise _raised(reply)
        return [self._checked(one, budget) for one, budget in zip(reply, call.budgets, strict=True)]

    def _checked(self, result: Returned | Failure, budget: Budget) -> Returned | BaseException:
        """Return a result, or its error. The child has a copy of the budget, so it is counted here too."""
        if isinstance(result, Failure):
            return _raised(result)
        try:
            for element in result.elements:
                self.spend(budget, element)
        except MessageError as exc:
            return exc
        return result

    def _keep(self, child: Child) -> None:
        self._idle.append(child)
        if self._is_closed:  # meanwhile
            self.close()

    def _take(self) -> Child:
        """Return a child that is ready, after it has started."""
        with contextlib.suppress(IndexError):
            while not (idle := self._idle.pop()).is_alive:
                idle.kill()
            return idle
        return self._start(self._child_step)


# -- errors between processes ----------------------------------------------------------------------


def sent(error: BaseException) -> Failure:
    """Return an error in a form that the parent can read."""
    trace = traceback_of(error)
    form: Any = error
    if isinstance(error, MessageError):
        form = ("message", error.code, error.detail)
    elif isinstance(error, CooldownNeeded):
        form = ("cooldown", error.key, str(error), error.after)
    else:
        try:
            pickle.loads(pickle.dumps(error))
        except BaseException:  # the error's own code
            form = RuntimeError(f"{type(error).__name__}: {text_of(error)}")
    return Failure(form, trace)


def _raised(failure: Failure) -> BaseException:
    match failure.error:
        case ("message", code, detail):
            return MessageError(code, detail)
        case ("cooldown", key, text, after):
            return CooldownNeeded(key, RateLimited(text, after=after))
        case error:
            error.__cause__ = ChildTraceback(failure.trace)
            found: BaseException = error
            return found


def not_started(detail: str) -> Unavailable:
    """The error of a child that cannot be started. The message is not at fault: its attempt is released."""
    return Unavailable("step_unavailable", detail)


def not_loaded(name: str, detail: str) -> UnknownAdapter:
    """The error of a child that cannot load its step, or that has loaded other code than its parent."""
    return UnknownAdapter([name], detail, code="code_changed")
