"""Run the steps of the job with one system, and measure each of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from bench.machine import report
from bench.peers.check import Chunks, Differences, differences, expected
from bench.peers.documents import Documents
from bench.peers.systems import System

_ROOT: Final = Path(__file__).parents[2]
_PATIENCE_SECONDS: Final = 900.0
_LINES: Final = 15


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of the job took.

    Attributes:
        name: of the step.
        system: which ran it.
        new_chunks: chunks that no document had before the step. Each of them must be embedded.
        seconds: from the start of the first command to the end of the last one.
        processor_seconds: of the commands and their children, without the embedding service.
        calls, texts: what the embedding service received.
        bytes, files: what the system has on the disk after the step, with its index. Bytes are whole blocks.
        index: how the index differs from the documents.
    """

    name: str
    system: str
    new_chunks: int
    seconds: float
    processor_seconds: float
    calls: int
    texts: int
    bytes: int
    files: int
    index: Differences

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"index": self.index._asdict()}


@contextmanager
def embedding_service() -> Iterator[str]:
    """Start the embedding service, and return its address."""
    command = [sys.executable, "-m", "bench.peers.service"]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def steps(make: Callable[[Path], System], folder: Path, service: str, documents: int) -> list[Step]:
    """Run all steps of the job in a new folder."""
    system = make(folder)
    files = Documents(folder / "documents", documents)
    measured: list[Step] = []
    known: Chunks = Counter()

    def step(name: str, commands: Sequence[Sequence[str]], *, tables: bool = True) -> None:
        before = _counts(service)
        began = time.perf_counter()
        processor = sum(_run(command, folder, system, service) for command in commands)
        seconds = time.perf_counter() - began
        after = _counts(service)
        sizes = [file.stat().st_blocks * 512 for file in _files(system.state)]
        chunks = expected(files.texts, tables=tables)
        found = differences(system.index, system.name, chunks)
        counts = {one: after[one] - before[one] for one in ("calls", "texts")}
        done = Step(
            name,
            system.name,
            (chunks - known).total(),
            seconds,
            processor,
            **counts,
            bytes=sum(sizes),
            files=len(sizes),
            index=found,
        )
        measured.append(done)
        known.clear()
        known.update(chunks)
        report(f"  {system.name}: {name}: {seconds:.1f} s, {done.texts:,} texts, index {found}")

    step("first run", system.first(), tables=False)
    step("nothing changed", system.update(), tables=False)
    files.pass_a_day(1)
    step("an edited day", system.update(), tables=False)
    step("a fix", system.fix(files.tables))
    files.pass_a_day(2)
    step("the day after the fix", system.update())
    files.insert_at_the_top()
    step("a paragraph at the top", system.update())
    return measured


def _run(command: Sequence[str], folder: Path, system: System, service: str) -> float:
    """Run a command, and return the processor time of it and its children, in seconds.

    Raises:
        RuntimeError: its exit code is not 0.
    """
    log = folder / "output.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=system.environment | {"EMBEDDING_API": service},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        timer = threading.Timer(_PATIENCE_SECONDS, process.kill)
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        finally:
            timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-_LINES:])
        raise RuntimeError(f"{' '.join(command)} ended with exit code {process.returncode}:\n{last}")
    return usage.ru_utime + usage.ru_stime


def _counts(service: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{service}/counts", timeout=60) as answer:
        counts: dict[str, int] = json.load(answer)
    return counts


def _files(places: Sequence[Path]) -> Iterator[Path]:
    for place in places:
        if place.is_file():
            yield place
        elif place.is_dir():
            yield from (file for file in place.rglob("*") if file.is_file())
