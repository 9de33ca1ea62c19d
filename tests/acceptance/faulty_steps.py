"""Steps for the tests that kill processes: they note each start and each end of their work.

One line of `{data_dir}/{execution_id}.log` each: `started|finished route correlation_id attempt`. A line
is one write to a file opened for appending, so the lines of several processes never mix, and a line that
was written survives the death of its writer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from playhead import Context, Item, Output, Retry, adapter

T = TypeVar("T")

WORK_SECONDS = 0.002
"""Long enough for the other worker to get a share."""


def _note(ctx: Context, what: str) -> None:
    line = f"{what} {ctx.route} {ctx.correlation_id} {ctx.attempt}\n"
    fd = os.open(f"{ctx.data_dir}/{ctx.execution_id}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(fd, line.encode())
    finally:
        os.close(fd)


def _noted(ctx: Context, work: Callable[[], T]) -> T:
    _note(ctx, "started")
    made = work()
    time.sleep(WORK_SECONDS)
    _note(ctx, "finished")
    return made


class ThirdsConfig(BaseModel):
    """Settings of `thirds`.

    Attributes:
        uneven: another fan-out, and other bytes, at every attempt.
        late: attempts that ask for a retry.
        gate: a file in the data folder for which it waits; empty: for none.
    """

    uneven: bool = False
    late: int = 0
    gate: str = ""


@adapter("thirds", produces="text/plain")
def thirds(item: Item, config: ThirdsConfig, ctx: Context) -> Iterator[Output]:
    """Three outputs of one input."""
    if ctx.attempt <= config.late:
        raise Retry("not yet", after=0.2)
    while config.gate and not Path(ctx.data_dir, config.gate).exists():
        time.sleep(0.01)
    count, mark = (3 + ctx.attempt % 3, f" in attempt {ctx.attempt}") if config.uneven else (3, "")
    yield from _noted(
        ctx,
        lambda: [
            item.derive(f"{item.text}, part {part} of {count}{mark}", part=part)
            for part in range(1, count + 1)
        ],
    )


@adapter("shout")
def shout(item: Item, ctx: Context) -> str:
    """The text in capitals."""
    return _noted(ctx, lambda: item.text.upper())


@adapter("measure", produces="application/json")
def measure(item: Item, ctx: Context) -> str:
    """How long the text is."""
    return _noted(ctx, lambda: f'{{"length": {len(item.text)}}}')
