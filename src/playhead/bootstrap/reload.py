"""Restart a process when the code of its adapters changes, for development."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence

from playhead import events, plugins

_LOOK_SECONDS = 0.5


class Reload:
    """Watches the code of adapters, and ends a process whose code has changed.

    Create it before the adapters are loaded, so that no change is missed.

    Attributes:
        is_due: the process is to be restarted when it has ended.
    """

    def __init__(self, named: Sequence[str]) -> None:
        self._watch = plugins.watch(named)
        self._is_cancelled = False
        self._has_changed = False

    @property
    def is_due(self) -> bool:
        return self._has_changed and not self._is_cancelled

    def cancel(self) -> None:
        """Do not restart: the process was asked to end."""
        self._is_cancelled = True

    async def watch(self, stop: asyncio.Event) -> None:
        """Set `stop` once the code has changed."""
        while True:
            if changed := await asyncio.to_thread(self._watch.changed):
                events.emit(events.CODE_RELOADED, source=", ".join(sorted(changed)))
                self._has_changed = True
                stop.set()
                return
            await asyncio.sleep(_LOOK_SECONDS)


def restart(*arguments: str) -> None:
    """Replace this process by a new one with the same command line. Does not return.

    Args:
        arguments: added at its end, unless it has them.
    """
    command = [sys.executable, *sys.orig_argv[1:]]
    if tuple(command[-len(arguments) :]) != arguments:
        command += arguments
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, command)
