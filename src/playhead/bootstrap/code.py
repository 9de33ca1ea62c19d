"""The code that a process has loaded, and whether it is still the code on the disk."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Final

from playhead import __version__, events, plugins
from playhead.model import CodeNote, LoadedAdapter, LoadedCode
from playhead.ports.adapter import AdapterSpec
from playhead.sourcecode.roots import PREFIX, CodeReader, CodeRoot, root_of

LOOK_SECONDS: Final = 2.0


def loaded_code(adapters: Mapping[str, AdapterSpec]) -> LoadedCode:
    """Return what a process has loaded."""
    found = [adapters[name] for name in sorted(adapters)]
    return LoadedCode(
        __version__, tuple(LoadedAdapter(one.name, one.version, one.code, one.source) for one in found)
    )


class ProcessCode:
    """What a process has loaded, for its heartbeats."""

    def __init__(self, loaded: LoadedCode) -> None:
        self.loaded = loaded
        self._reader = CodeReader()
        own = [one for one in loaded.adapters if one.code.startswith(PREFIX)]
        roots = {source: root_of(source) for source in {one.source for one in own}}
        self._watched = [(one, root) for one in own if (root := roots[one.source])]

    async def look(self) -> None:
        """Check whether adapters have changed since they were loaded, and log each change once."""
        changed = await asyncio.to_thread(self._changed)
        new: dict[str, list[str]] = {}
        for one in changed:
            if one.type not in self.loaded.changed:
                new.setdefault(one.source, []).append(one.type)
        for source, adapters in new.items():
            events.emit(events.CODE_CHANGED, source=source, adapters=", ".join(adapters))
        self.loaded = replace(self.loaded, changed=tuple(one.type for one in changed))

    def _changed(self) -> list[LoadedAdapter]:
        return [one for one, root in self._watched if self._reader.read(root).of(one.type).code != one.code]


class CodeHere:
    """The code of this machine; see `reading.codecheck.CodeHere`."""

    def __init__(self, named: Sequence[str]) -> None:
        self._named = named
        self._host = socket.gethostname()
        self._reader = CodeReader()

    def __call__(self, host: str, source: str, kind: str) -> tuple[CodeNote, str] | None:
        if host == self._host and source.endswith(".py") and (root := root_of(source)):
            return "changed", self._reader.read(root).of(kind).code
        name = _name(source)
        for root in self._roots:
            if _name(root.source) == name:
                return "other_here", self._reader.read(root).of(kind).code
        return None

    @cached_property
    def _roots(self) -> list[CodeRoot]:
        # Finding the entry points takes as long as a small replay.
        return plugins.code_roots(self._named)


def _name(source: str) -> str:
    """Return the name of a file without its folder, or the name of a module."""
    return source.rpartition("/")[2]
