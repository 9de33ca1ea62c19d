"""Try publications under faults and load, and print what readers saw: `make faults ARGS=--publications`.

Each trial uses real processes, and prints one line for each part. The exit code is 1 if a reader saw a
mixture, if something was left over, or if a publication did not end without help.
"""

from __future__ import annotations

import queue
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from itertools import cycle

from tests import servers
from tests.acceptance.publishing import CASES, DROPS, Kill, Stand, Who, open_stand

_KILL_LINE = "{:<22} {:>6} {:>8} {:>9} {:>10} {:>8}"
_LEASE_SECONDS = 3


def kills(points: Sequence[str], *, times: int, stands: int) -> int:
    """Kill a process `times` times at each point, and print a line for each case."""
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
            count += len(found)
            troubles += [f"{case}: {wrong}" for one in found for wrong in (*one.reads.mixtures, *one.left)]
            print(_line(case, found) + (f"  {failed} FAILED" if failed else ""), flush=True)
    print(
        f"{count} kills in {time.monotonic() - began:.0f} s; seconds: the slowest kill, until all had ended"
    )
    for trouble in troubles:
        print(f"\n{trouble}", file=sys.stderr)
    return 1 if troubles else 0


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
        self._free: queue.LifoQueue[Stand | None] = queue.LifoQueue()
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
                open_stand(servers.server("postgres"), lease=_LEASE_SECONDS)
            )
            found = stand.kill(case, who)
        except BaseException:
            if stand:
                stand.deployment.close()
            self._free.put(None)
            raise
        self._free.put(stand)
        return found
