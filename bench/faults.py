"""`make faults`: what goes wrong, done for real, and a table of what was lost, doubled or left uncertain.

Without `--sites`, kill -9 at every named point, on one machine (`tests/acceptance/kills.py`). With it, what
happens to servers and on the way to them, for each broker (`tests/acceptance/trials.py`). All numbers are
counted from rows, objects and the notes of the steps. The exit code is 1 when one of them is not 0, or
something did not happen, or was not told to the callers as it should be.

    python -m bench.faults [POINT…] [--stands N]
    python -m bench.faults --sites [FAULT…] [--broker NAME] [--seconds N]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, as_completed

from playhead import faults
from tests.acceptance.kills import CASES, Case, Outcome, trying
from tests.acceptance.processes import SiteFailed
from tests.acceptance.scenes import Outcome as TrialOutcome
from tests.acceptance.sites import KINDS
from tests.acceptance.trials import TRIALS, Trial
from tests.acceptance.trials import trying as trying_trials

_LINE = "{:<21} {:>8} {:>6} {:>6} {:>8} {:>10} {:>6} {:>8}"
_HEAD = _LINE.format("point", "passes", "kills", "lost", "doubled", "uncertain", "again", "seconds")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__.splitlines()[0])
    parser.add_argument(
        "points", nargs="*", metavar="POINT|FAULT", help="only these points, or faults, or all that begin so"
    )
    parser.add_argument("--stands", type=int, default=2, help="sites on which cases are tried at once (2)")
    parser.add_argument("--sites", action="store_true", help="on S3, PostgreSQL and each broker")
    parser.add_argument("--broker", action="append", choices=KINDS, help="with --sites: only this one")
    parser.add_argument(
        "--seconds", type=float, default=30, help="with --sites: how long a server is away (30)"
    )
    asked = parser.parse_args(arguments)
    if asked.sites:
        return _sites(asked.points, asked.broker or list(KINDS), asked.seconds)
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


# -- on servers --------------------------------------------------------------------------------------

_SITE_LINE = "{:<10} {:<28} {:>6} {:>4} {:>8} {:>9} {:>6} {:>8} {:>8}"
_SITE_HEAD = _SITE_LINE.format(
    *("broker", "what happens", "work", "lost", "doubled", "uncertain", "again", "settled", "seconds")
)


def _sites(faults: Sequence[str], names: Sequence[str], seconds: float) -> int:
    """The trials of each kind of site after one another; two kinds at once, on servers of their own."""
    chosen = [t for t in TRIALS if t.kind.name in names and (not faults or t.fault.startswith(tuple(faults)))]
    if not chosen:
        sys.stderr.write(f"no such fault; known: {', '.join(sorted({t.fault for t in TRIALS}))}\n")
        return 2
    began = time.monotonic()
    print(_SITE_HEAD, flush=True)
    troubles: list[str] = []
    with trying_trials(chosen, seconds=seconds, kinds_at_once=2) as outcomes:
        trial_of = {future: trial for trial, future in outcomes.items()}
        for future in as_completed(trial_of):
            troubles += _print_trial(trial_of[future], future)
    print(
        f"{len(chosen)} faults in {time.monotonic() - began:.0f} s; what is away is away for {seconds:g} s; "
        "the store is on S3, the catalog in PostgreSQL"
    )
    print("work: a run and replays in their middle; seconds: from the fault until all had ended")
    print("settled: messages of which it was uncertain for a while whether they were published")
    print("again: attempts made anew; nobody sees it in what is stored")
    for trouble in troubles:
        print(f"\n{trouble}", file=sys.stderr)
    return 1 if troubles else 0


def _print_trial(trial: Trial, future: Future[TrialOutcome]) -> list[str]:
    """Print the line of a trial that is over; returns what went wrong."""
    try:
        outcome = future.result()
    except Exception as exc:  # whatever it is, the other lines are still wanted
        print(_SITE_LINE.format(trial.kind.name, trial.fault, *["–"] * 7) + "  FAILED", flush=True)
        return [f"{trial}: {exc or repr(exc)}"]
    found = outcome.findings
    numbers = (len(found.lost), len(found.doubled), len(found.uncertain), found.again)
    line = _SITE_LINE.format(
        *(trial.kind.name, trial.fault, outcome.executions, *numbers, outcome.settled),
        f"{outcome.seconds:.1f}",
    )
    print(line + ("" if found.exact else "  NOT EXACT"), flush=True)
    return [] if found.exact else [f"{trial}\n{found}"]


if __name__ == "__main__":
    raise SystemExit(main())
