"""Try publications under faults and load, and print what readers saw.

Each trial uses real databases and processes, except `histories`, whose processes are one. Each prints lines
of figures. The exit code is 1 if a reader saw a mixture, if a publication differs from its definition, if
something was left over, or if something did not end without help.

    python -m bench.publications [TRIAL…] [--quick]        (make faults ARGS=--publications)
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import queue
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import AsyncExitStack, ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

from bench.publication_outages import outages
from bench.publication_publishers import publishers
from bench.publication_readers import readers
from bench.publication_sizes import sizes
from playhead.ids import uuid7
from tests import servers
from tests.acceptance.publishing import CASES, DROPS, Kill, Killing, open_killing
from tests.acceptance.stand import Who
from tests.integration.publication_histories import played
from tests.servers.schema import emptied_schema

_KILL_LINE = "{:<22} {:>6} {:>8} {:>9} {:>10} {:>8}"
_LEASE_SECONDS = 3


def kills(points: Sequence[str], *, times: int, stands: int) -> list[str]:
    """Kill a process `times` times at each point. Print a line for each case, and return what is wrong."""
    cases = [one for one in CASES if not points or one.startswith(tuple(points))]
    began = time.monotonic()
    print(_KILL_LINE.format("point", "kills", "reads", "mixtures", "leftovers", "seconds"), flush=True)
    troubles: list[str] = []
    count = 0
    with _Stands(stands) as pool:
        for case in cases:
            futures = [pool.submit(case, who) for who, _ in zip(_who(case), range(times), strict=False)]
            found, failed = [], 0
            for future in as_completed(futures):
                try:
                    found.append(future.result())
                except Exception as exc:  # one failed kill must not hide the others
                    failed += 1
                    troubles.append(f"{case}: {exc or repr(exc)}")
                    print(f"\n{troubles[-1]}", file=sys.stderr, flush=True)
            count += len(found)
            troubles += [f"{case}: {wrong}" for one in found for wrong in (*one.reads.mixtures, *one.left)]
            print(_line(case, found) + (f"  {failed} FAILED" if failed else ""), flush=True)
    print(
        f"{count} kills in {time.monotonic() - began:.0f} s; seconds: the slowest kill, until all had ended"
    )
    return troubles


def _who(case: str) -> cycle[Who]:
    """Return the processes that die, in turn. Only a server drops."""
    return cycle(("serve",)) if case in DROPS else cycle(("cli", "serve"))


def _line(case: str, found: Sequence[Kill]) -> str:
    reads = sum(one.reads.count for one in found)
    mixtures = sum(len(one.reads.mixtures) for one in found)
    left = sum(len(one.left) for one in found)
    slowest = max((one.seconds for one in found), default=0)
    return _KILL_LINE.format(case, len(found), f"{reads:,}", mixtures, left, f"{slowest:.1f}")


class _Stands:
    """Several stands; each kill uses one. After a failure its stand is abandoned, and another one made."""

    def __init__(self, count: int) -> None:
        self._free: queue.LifoQueue[Killing | None] = queue.LifoQueue()
        for _ in range(count):
            self._free.put(None)
        self._pool = ThreadPoolExecutor(count)
        self._open = ExitStack()

    def __enter__(self) -> _Stands:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._open.close()

    def submit(self, case: str, who: Who) -> Future[Kill]:
        return self._pool.submit(self._kill, case, who)

    def _kill(self, case: str, who: Who) -> Kill:
        stand = self._free.get()
        try:
            stand = stand or self._open.enter_context(
                open_killing(servers.server("postgres"), lease=_LEASE_SECONDS)
            )
            found = stand.kill(case, who)
        except BaseException:
            if stand:
                stand.deployment.close()
            self._free.put(None)
            raise
        self._free.put(stand)
        return found


# -- histories ---------------------------------------------------------------------------------------


def histories(count: int) -> list[str]:
    """Play random histories, embedded and on servers. Print a line for each, and return the differences."""
    return [*asyncio.run(_histories("SQLite", count)), *asyncio.run(_histories("PostgreSQL and NATS", count))]


async def _histories(on: str, count: int) -> list[str]:
    happened, wrong = Counter[str](), []
    began = time.monotonic()
    for seed in range(count):
        async with AsyncExitStack() as stack:
            given: dict[str, Any] = {}
            if on != "SQLite":
                given["catalog"] = await stack.enter_async_context(emptied_schema())
                given |= {"broker": servers.server("nats"), "queue_prefix": f"h{uuid7().hex}."}
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=_memory())))
            history = await played(home, seed, **given)
            happened += history.happened
            wrong += [f"{on}, seed {seed}: {one}" for one in history.differences]
    counts = ", ".join(f"{number:,} {what}s" for what, number in happened.most_common())
    seconds = time.monotonic() - began
    print(f"{on}: {count} histories in {seconds:.0f} s: {counts}; {len(wrong)} differences", flush=True)
    return wrong


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


# -- all ---------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    trials: Mapping[str, Callable[[bool], list[str]]] = {
        "histories": lambda quick: histories(10 if quick else 200),
        "readers": lambda quick: readers(
            publications=20 if quick else 200,
            rollbacks=5 if quick else 50,
            reads=2_000 if quick else 100_000,
            each=3 if quick else 10,
        ),
        "publishers": lambda quick: publishers(count=5 if quick else 20, rollbacks=5, times=3),
        "sizes": lambda quick: sizes(
            publications=100 if quick else 10_000, sinks=30, idle_seconds=10 if quick else 600
        ),
        "outages": lambda quick: outages(seconds=8 if quick else 150),
        "kills": lambda quick: kills((), times=1 if quick else 50, stands=3),
    }
    parser = argparse.ArgumentParser(
        prog="python -m bench.publications", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("trials", nargs="*", metavar="TRIAL", help=f"of {', '.join(trials)}; default: all")
    parser.add_argument("--quick", action="store_true", help="try less of each")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.trials) - set(trials):
        parser.error(f"unknown trial {min(unknown)}. Known trials: {', '.join(trials)}")
    logging.disable(logging.CRITICAL)  # refused publications and failed steps are wanted
    wrong = []
    for name, trial in trials.items():
        if not asked.trials or name in asked.trials:
            wrong += trial(asked.quick)
    for one in wrong:
        print(f"\n{one}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
