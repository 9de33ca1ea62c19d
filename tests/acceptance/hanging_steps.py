"""Sinks whose calls do not return, for tests of `playhead.work.sinks`."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, Final

from playhead import Item, adapter
from playhead.sinks import Shown, SinkContext

CALLED: Final = "called-{}"
"""The file that a sink creates in its folder when it is called, by the name of the adapter."""


def hang(name: str, ctx: SinkContext) -> None:
    Path(ctx.data_dir).mkdir(exist_ok=True)
    (Path(ctx.data_dir) / CALLED.format(name)).touch()
    threading.Event().wait()


@adapter("hangs", sink=True)
class Hangs:
    """A sink whose plain methods hang."""

    def __call__(self, item: Item) -> None:
        return None

    def stage(self, page: Any, ctx: SinkContext) -> None:
        hang("hangs", ctx)

    switch = forget = shown = results = stage


@adapter("blocks", sink=True)
class Blocks:
    """A sink whose async methods block their event loop."""

    def __call__(self, item: Item) -> None:
        return None

    async def stage(self, page: Any, ctx: SinkContext) -> None:
        hang("blocks", ctx)

    switch = forget = shown = results = stage


@adapter("waits", sink=True)
class Waits:
    """A sink that waits until its folder has the file `go-on`."""

    def __call__(self, item: Item) -> None:
        return None

    def stage(self, page: Any, ctx: SinkContext) -> list[str]:
        while not (Path(ctx.data_dir) / "go-on").exists():
            time.sleep(0.01)
        return []

    def switch(self, n: int, seq: int, ctx: SinkContext) -> None:
        self.head = Shown(n, seq, n)

    def shown(self, ctx: SinkContext) -> Shown:
        return self.head

    forget = results = stage
