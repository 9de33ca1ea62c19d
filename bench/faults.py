"""`make faults`: kill -9 at every named point, and a table of what was lost, doubled or left uncertain.

The numbers are counted from rows, objects and the notes of the steps, as the tests of exactness count
them (`tests/acceptance/kills.py`). The exit code is 1 when one of them is not 0, or a point was not reached.

    python -m bench.faults [POINT…] [--stands N]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future

from playhead import faults
from tests.acceptance.kills import CASES, Case, Outcome, trying
from tests.acceptance.processes import SiteFailed

_LINE = "{:<21} {:>8} {:>6} {:>6} {:>8} {:>10} {:>6} {:>8}"
_HEAD = _LINE.format("point", "passes", "kills", "lost", "doubled", "uncertain", "again", "seconds")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__.splitlines()[0])
    parser.add_argument("points", nargs="*", metavar="POINT", help="only these, or all that begin so")
    parser.add_argument("--stands", type=int, default=2, help="sites on which cases are tried at once (2)")
    asked = parser.parse_args(arguments)
    cases = [c for c in CASES if not asked.points or c.point.startswith(tuple(asked.points))]
    if not cases:
        parser.error(f"no such point; known: {', '.join(sorted(faults.POINTS))}")
    began = time.monotonic()
    print(_HEAD, flush=True)
    troubles: list[str] = []
    kills = 0
    with trying(cases, stands=asked.stands) as outcomes:
        for point in dict.fromkeys(case.point for case in cases):
            struck, told = _print(point, {c: f for c, f in outcomes.items() if c.point == point})
            kills += struck
            troubles += told
    seconds = time.monotonic() - began
    print(
        f"{kills} kills of a server, a worker or a command in {seconds:.0f} s; seconds: one kill, the slowest"
    )
    print("again: attempts made anew, which is what a kill costs; nobody sees it in what is stored")
    for trouble in troubles:
        print(f"\n{trouble}", file=sys.stderr)
    return 1 if troubles else 0


def _print(point: str, outcomes: dict[Case, Future[Outcome]]) -> tuple[int, list[str]]:
    """Print a point's line when all its cases are known; returns its kills, and what went wrong."""
    known: list[Outcome] = []
    troubles = []
    for case, future in outcomes.items():
        try:
            outcome = future.result()
        except SiteFailed as exc:
            troubles.append(f"{case}: {exc}")
            continue
        known.append(outcome)
        if not outcome.findings.exact:
            troubles.append(f"{case}\n{outcome.findings}")
    passes = ", ".join(str(n) for n in sorted({case.n for case in outcomes}))
    line = _LINE.format(
        *(point, passes, len(known), sum(len(o.findings.lost) for o in known)),
        *(sum(len(o.findings.doubled) for o in known), sum(len(o.findings.uncertain) for o in known)),
        sum(o.findings.again for o in known),
        f"{max((o.seconds for o in known), default=0):.1f}",
    )
    failed = len(outcomes) - len(known)
    print(line + (f"  {failed} failed" if failed else ""), flush=True)
    return len(known), troubles


if __name__ == "__main__":
    raise SystemExit(main())
