"""Steps for the tests of exactness: slow, moody, deadly ones, and one that stops its own process.

They note what they do as those of `faulty_steps` do, so that a ledger can count their work:
`{data_dir}/{execution_id}.log` has a line `started|finished route correlation_id attempt` for each.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import BaseModel

from playhead import Context, Item, Retry, adapter


@contextmanager
def _noted(ctx: Context) -> Iterator[None]:
    """Note the start and, unless the work raises, the end."""
    _note(ctx, "started")
    yield
    _note(ctx, "finished")


def _note(ctx: Context, what: str) -> None:
    line = f"{what} {ctx.route} {ctx.correlation_id} {ctx.attempt}\n"
    # One write to a file opened for appending: lines of several processes never mix.
    fd = os.open(f"{ctx.data_dir}/{ctx.execution_id}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(fd, line.encode())
    finally:
        os.close(fd)


class SleepConfig(BaseModel):
    """How long the work takes."""

    seconds: float = 0.0


@adapter("slow", produces="text/plain")
def slow(item: Item, config: SleepConfig, ctx: Context) -> str:
    """The text in capitals, after a while."""
    with _noted(ctx):
        time.sleep(config.seconds)
        return item.text.upper()


@adapter("moody", produces="text/plain")
def moody(item: Item, config: SleepConfig, ctx: Context) -> Iterator[str]:
    """Two outputs, when it is in the mood: at one time in four it wants to be asked again."""
    with _noted(ctx):
        time.sleep(random.random() * config.seconds)
        if random.random() < 0.25:
            raise Retry("not in the mood", after=random.random() / 5)
        yield item.text
        yield item.text.upper()


@adapter("deadly", produces="text/plain")
def deadly(item: Item, config: SleepConfig, ctx: Context) -> str:
    """The text in capitals; but an input whose name has `poison` in it kills the process."""
    with _noted(ctx):
        if "poison" in item.path:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(config.seconds)
        return item.text.upper()


@adapter("halting", produces="text/plain")
def halting(item: Item, ctx: Context) -> str:
    """Who made the text; the first attempt at an input named `halt` stops its process with SIGSTOP.

    When it is continued, it stops again, until a file `go` exists next to the notes.
    """
    with _noted(ctx):
        while "halt" in item.path and ctx.attempt == 1 and not os.path.exists(f"{ctx.data_dir}/go"):
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(0.02)
        time.sleep(0.01)
        return f"{item.text} by attempt {ctx.attempt}"
