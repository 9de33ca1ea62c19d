"""A child process that runs the calls of one step with `isolation: process`."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Final

from playhead.bootstrap import load_adapters
from playhead.bootstrap.secrets import Secrets
from playhead.errors import CannotStart
from playhead.model import Step
from playhead.secrets import Mask
from playhead.steps.isolation import Call, ChildStep, Reply, sent
from playhead.steps.outputs import Returned
from playhead.steps.step import ReadyStep, UnknownAdapter
from playhead.workers import set_up_logs

if TYPE_CHECKING:
    from playhead.settings import Settings

_IGNORED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""A service manager may send these to all processes. The parent ends its children itself."""


def serve(descriptor: int) -> None:
    """Run the calls of one step until the parent closes the connection."""
    for number in _IGNORED:
        signal.signal(number, lambda *_: None)  # not SIG_IGN, which programs that the step starts inherit
    connection = Connection(descriptor)
    # A process that the step forks must neither receive calls nor answer them.
    os.register_at_fork(after_in_child=connection.close)
    try:
        settings, path, child = connection.recv()
        sys.path[:] = path
        set_up_logs(settings)
        secrets = Secrets(settings.secrets_env, settings.secrets_dir)
        with secrets.masked_logs(), secrets.masked_errors():
            step = _step(settings, child, secrets)
            connection.send(step if isinstance(step, str) else "")
            if not isinstance(step, str):
                asyncio.run(_serve(connection, step))
    except (EOFError, OSError):
        return  # the parent has ended


def _step(settings: Settings, child: ChildStep, secrets: Secrets) -> ReadyStep | str:
    """Return the step, or why it cannot run."""
    try:
        spec = load_adapters(settings).get(child.type)
        if spec is None or spec.code != child.code:
            return f"adapter {child.type!r} has changed since this worker started: restart the worker"
        return ReadyStep(
            Step(child.type, child.config),
            spec,
            child.route,
            child.room,
            resolve=secrets.resolve,
            mask=Mask(),
        )
    except (UnknownAdapter, CannotStart) as exc:
        return exc.detail


async def _serve(connection: Connection, step: ReadyStep) -> None:
    try:
        while True:
            number, call = connection.recv()
            with _ended_with_parent(connection), _forks_ended():
                reply = _pickled(step, number, await _answer(step, call))
            connection.send_bytes(reply)
    except (EOFError, OSError):
        return
    finally:
        await step.close_async()


@contextmanager
def _forks_ended() -> Iterator[None]:
    """End a process that the step has forked, and that returns from the call like the process itself."""
    process = os.getpid()
    try:
        yield
    finally:
        if os.getpid() != process:
            os._exit(1)


@contextmanager
def _ended_with_parent(connection: Connection) -> Iterator[None]:
    """Let the kernel end this process if the parent ends during a call, which may never return.

    SIGIO, which nothing handles here, ends a process on Linux. That does not need the interpreter lock.
    """
    descriptor = connection.fileno()
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_ASYNC)
    if connection.poll():
        raise EOFError  # the parent ended before
    try:
        yield
    finally:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)


def _pickled(step: ReadyStep, number: int, reply: Reply) -> bytes:
    try:
        return pickle.dumps((number, reply))
    except Exception as exc:
        bad = step.maker.bad(f"returned what cannot be sent to its worker: {exc}")
        return pickle.dumps((number, sent(bad)))


async def _answer(step: ReadyStep, call: Call) -> Reply:
    try:
        if step.spec.batch:
            results = await _batch(step, call)
            return [sent(one) if isinstance(one, BaseException) else one for one in results]
        (item,), (context,), (budget,) = call.items, call.contexts, call.budgets
        if step.spec.is_async:
            return [await step.perform_async(item, context, budget)]
        return [step.perform(item, context, budget)]
    except BaseException as exc:
        return sent(exc)


async def _batch(step: ReadyStep, call: Call) -> Sequence[Returned | BaseException]:
    if step.spec.is_async:
        return await step.perform_batch_async(call.items, call.contexts, call.budgets)
    return step.perform_batch(call.items, call.contexts, call.budgets, threading.Event())
