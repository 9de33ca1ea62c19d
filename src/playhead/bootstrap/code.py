"""The code that a process has loaded, and whether it is still the code on the disk."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from playhead import __version__, events, plugins
from playhead.model import LoadedAdapter, LoadedCode
from playhead.ports.adapter import AdapterSpec
from playhead.sourcecode import CodeWatch

LOOK_SECONDS: Final = 2.0


class ProcessCode:
    """What a process has loaded. Its heartbeats report it.

    Args:
        adapters: all adapters that the process has loaded.
        named: the modules and files that the operator named.
    """

    def __init__(self, adapters: Mapping[str, AdapterSpec], named: Sequence[str]) -> None:
        found = [adapters[name] for name in sorted(adapters)]
        self.loaded = LoadedCode(
            __version__, tuple(LoadedAdapter(one.name, one.version, one.code, one.source) for one in found)
        )
        codes = {one.source: one.code for one in found}
        roots = plugins.code_roots(named)
        self._watch = CodeWatch({root: codes[root.source] for root in roots if root.source in codes})

    async def look(self) -> None:
        """Check whether the files have changed since they were loaded, and log each change once."""
        changed = await asyncio.to_thread(self._watch.changed)
        for source in sorted(changed.difference(self.loaded.changed)):
            events.emit(events.CODE_CHANGED, logging.WARNING, source=source)
        self.loaded = replace(self.loaded, changed=tuple(sorted(changed)))
