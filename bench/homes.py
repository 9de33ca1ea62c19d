"""Embedded homes for the benchmarks: a config, stored objects, and Playhead commands as processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from uuid import UUID

from playhead.bootstrap import open_runtime
from playhead.bootstrap.process import Runtime
from playhead.ids import uuid7
from playhead.settings import Settings

STAGE = "pages"
ROUTE = "second"
SOURCE = """
version: "1.0"
name: bench
entry: first
routes:
  first:
    adapters: [{type: passthrough}]
    outbound: {stage: copies, to: [second]}
  second:
    adapters: [{type: passthrough}]
    outbound: {stage: results}
"""
"""Two routes, so that half of all messages have a child with its row, publish and lineage."""

PAGE = b"A page of half a kilobyte, so that the bytes are there and do not matter. " * 7
_A_FOLDER = 1000


def settings(home: Path, *, store: Path | None = None) -> Settings:
    """Return default settings without the environment, so that the figures describe the defaults."""
    return Settings(home=home, store=None if store is None else store.as_uri())


def opened(
    home: Path, kind: str | None, *, store: Path | None = None
) -> AbstractAsyncContextManager[Runtime]:
    return open_runtime(settings(home, store=store), kind=kind)


def paths(count: int) -> Iterator[str]:
    """Yield the paths of `count` objects in byte order, 1,000 per folder."""
    return (f"d{i // _A_FOLDER:04d}/page{i:07d}.md" for i in range(count))


def lay_out(store: Path, count: int) -> UUID:
    """Write a stage of objects with sidecars as an external program would. Return its execution id.

    A replay reads no object, so each folder holds hard links to a single file. That way a million objects
    with their sidecars fit into memory.
    """
    execution = uuid7()
    root = store / str(execution) / STAGE
    first: Path | None = None
    for n, path in enumerate(paths(count)):
        file = root / path
        if n % _A_FOLDER == 0:
            file.parent.mkdir(parents=True)
            file.write_bytes(PAGE)
            first = file
        else:
            assert first
            os.link(first, file)
        os.link(first, f"{file}.meta.json")
    return execution


async def inputs(count: int) -> AsyncIterator[tuple[str, bytes]]:
    for path in paths(count):
        yield path, PAGE


def environment(home: Path) -> dict[str, str]:
    """Return the environment of this process without any Playhead setting, and with `home`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PLAYHEAD_")}
    return {**kept, "PLAYHEAD_HOME": str(home), "PLAYHEAD_LOG_LEVEL": "warning"}


def start(home: Path, *arguments: str, stderr: int | None = None) -> subprocess.Popen[bytes]:
    """Start `playhead ARGUMENTS…` with this home."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "playhead", *arguments],
        cwd=home,
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )


def finish(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Terminate all processes and wait until they have exited."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(30)
