"""The code that a process has loaded, and whether it is still the code on the disk."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from playhead import __version__, events, plugins, sourcecode
from playhead.model import CodeNote, LoadedAdapter, LoadedCode
from playhead.ports.adapter import AdapterSpec
from playhead.sourcecode import CodeReader, CodeWatch

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


class CodeHere:
    """The code of this machine; see `engine.codecheck.CodeHere`."""

    def __init__(self, named: Sequence[str]) -> None:
        self._named = named
        self._host = socket.gethostname()
        self._reader = CodeReader()

    def __call__(self, host: str, source: str) -> tuple[CodeNote, str] | None:
        if host == self._host and source.endswith(".py") and (root := sourcecode.root_of(source)):
            return "changed", self._reader.code(root)
        name = _name(source)
        for root in plugins.code_roots(self._named):
            if _name(root.source) == name:
                return "other_here", self._reader.code(root)
        return None


def _name(source: str) -> str:
    """Return the name of a file without its folder, or the name of a module."""
    return source.rpartition("/")[2]
