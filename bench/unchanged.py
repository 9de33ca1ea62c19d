"""Runs on the day after: none of their inputs has changed, or one in a hundred."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.deployments import STEPS
from bench.figures import Figure, median
from bench.homes import environment
from bench.machine import report, scratch

_ONE: Final = """
version: "1.0"
name: bench
entry: keep
routes:
  keep:
    adapters: [{type: passthrough}]
    outbound: {stage: texts}
"""
_TWO: Final = """
version: "1.0"
name: bench
entry: keep
datasets: {docs: {}}
routes:
  keep:
    adapters: [{type: passthrough}]
    outbound: {stage: texts, to: [halves]}
  halves:
    adapters: [{type: halves}]
    outbound: {stage: parts}
"""
_CONFIGS: Final = {"one route": _ONE, "two routes, three outputs": _TWO}
_A_FOLDER: Final = 1_000
_BYTES: Final = 1_000
_TARGET_MICROSECONDS: Final = 60


class _Spent(NamedTuple):
    """Processor time of a command and its children, and what it added to the home, per input."""

    microseconds: float
    bytes: float


def measure(memory: Path | None, *, inputs: int, rounds: int) -> list[Figure]:
    """Run files, then run them again since the run before, in new processes."""
    return [figure for what in _CONFIGS for figure in _measure(memory, what, inputs, rounds)]


def _measure(memory: Path | None, what: str, inputs: int, rounds: int) -> list[Figure]:
    with scratch(memory) as folder:
        files = [_write(folder / "files", n) for n in range(inputs)]
        config = folder / "config.yaml"
        config.write_text(_CONFIGS[what])
        home = folder / "home"
        home.mkdir()
        first = _run(home, config, folder / "files", inputs)
        unchanged, trusted, changed = list[_Spent](), list[_Spent](), list[_Spent]()
        for n in range(rounds):
            unchanged.append(_run(home, config, folder / "files", inputs, "--changed-since", "previous"))
            trusted.append(
                _run(home, config, folder / "files", inputs, "--changed-since", "previous", "--trust-mtime")
            )
            for file in files[n::100]:
                file.write_bytes(file.read_bytes()[::-1])
            changed.append(_run(home, config, folder / "files", inputs, "--changed-since", "previous"))
    name = f"{inputs:,} inputs, {what}"
    report(f"  {name}: {first.microseconds:.0f}, {unchanged[0].microseconds:.0f} us")
    return [
        Figure(f"first run of {name}", first.microseconds, "us each", baseline=_grown(first)),
        _figure(f"nothing changed, {name}", unchanged, first, target=_TARGET_MICROSECONDS),
        _figure("the same, with --trust-mtime", trusted, first, target=_TARGET_MICROSECONDS),
        _figure("1 % changed", changed, first),
    ]


def _figure(name: str, spent: Sequence[_Spent], first: _Spent, *, target: int | None = None) -> Figure:
    rounds = [one.microseconds for one in spent]
    value = median(rounds)
    return Figure(
        name,
        value,
        "us each",
        rounds=rounds,
        baseline=_grown(spent[0]),
        ratio=value / first.microseconds,
        target=f"at most {target} us each" if target else "",
        passes=value <= target if target else None,
    )


def _grown(spent: _Spent) -> str:
    return f"{spent.bytes:,.0f} bytes each"


def _write(folder: Path, n: int) -> Path:
    file = folder / f"{n // _A_FOLDER:04}" / f"{n:07}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"%d " % n + random.Random(n).randbytes(_BYTES // 2).hex().encode())
    return file


def _run(home: Path, config: Path, files: Path, inputs: int, *options: str) -> _Spent:
    before, began = _size(home), _children()
    subprocess.run(
        [sys.executable, "-P", "-m", "playhead", "run", str(config), str(files), *options],
        cwd=home,
        env=environment(home) | {"PLAYHEAD_ADAPTERS": str(STEPS)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=True,
    )
    return _Spent((_children() - began) / inputs * 1e6, (_size(home) - before) / inputs)


def _children() -> float:
    """Seconds of processor time of all children that have exited."""
    spent = os.times()
    return spent.children_user + spent.children_system


def _size(home: Path) -> int:
    return sum(file.stat().st_size for file in home.rglob("*") if file.is_file())
