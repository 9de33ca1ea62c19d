"""Inject real faults and print how many messages were lost, duplicated or left uncertain: `make faults`.

Without `--deployments`, kill a process with SIGKILL at every named point, on one machine
(`tests/acceptance/kills.py`). With it, stop, kill, pause and cut off the servers of each kind of deployment
(`tests/acceptance/trials.py`). All numbers are counted from rows, objects and the records of the steps.
The exit code is 1 if a number is not 0, if a fault did not take effect, or if a client got the wrong answer.

    python -m bench.faults [POINT…] [--parallel N]
    python -m bench.faults --deployments [FAULT…] [--broker NAME] [--seconds N]
    python -m bench.faults --publications [TRIAL…] [--quick]    see `bench.publications`
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, as_completed

from bench import publications
from playhead import faults
from tests.acceptance.deployments import KINDS
from tests.acceptance.kills import CASES, Case, Outcome, trying
from tests.acceptance.processes import DeploymentFailed
from tests.acceptance.scenes import Outcome as TrialOutcome
from tests.acceptance.trials import TRIALS, Trial, trying as trying_trials

_LINE = "{:<21} {:>8} {:>6} {:>6} {:>10} {:>10} {:>6} {:>8}"
_HEAD = _LINE.format("point", "passes", "kills", "lost", "duplicates", "uncertain", "again", "seconds")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__.splitlines()[0])
    parser.add_argument(
        "points",
        nargs="*",
        metavar="POINT|FAULT",
        help="only the points or faults that start with this; default: all",
    )
    parser.add_argument("--parallel", type=int, default=2, help="number of cases to run at once (2)")
    parser.add_argument("--deployments", action="store_true", help="use S3, PostgreSQL and each broker")
    parser.add_argument("--broker", action="append", choices=KINDS, help="with --deployments: only this one")
    parser.add_argument(
        "--seconds",
        type=float,
        default=30,
        help="with --deployments: seconds that a server is unavailable (30)",
    )
    parser.add_argument("--publications", action="store_true", help="try publications: `bench.publications`")
    parser.add_argument("--quick", action="store_true", help="with --publications: try less of each")
    asked = parser.parse_args(arguments)
    if asked.publications:
        return publications.main([*asked.points, *(["--quick"] if asked.quick else [])])
    if asked.deployments:
        return _deployments(asked.points, asked.broker or list(KINDS), asked.seconds)
    cases = [c for c in CASES if not asked.points or c.point.startswith(tuple(asked.points))]
    if not cases:
        parser.error(f"unknown point. Known points: {', '.join(sorted(faults.POINTS))}")
    began = time.monotonic()
    print(_HEAD, flush=True)
    troubles: list[str] = []
    kills = 0
    with trying(cases, stands=asked.parallel) as outcomes:
        for point in dict.fromkeys(case.point for case in cases):
            struck, found = _print(point, {c: f for c, f in outcomes.items() if c.point == point})
            kills += struck
            troubles += found
    seconds = time.monotonic() - began
    print(f"{kills} kills of servers, workers and commands in {seconds:.0f} s; seconds: the slowest kill")
    print("again: attempts that ran again because of a kill; stored objects do not show them")
    for trouble in troubles:
        print(f"\n{trouble}", file=sys.stderr)
    return 1 if troubles else 0


def _print(point: str, outcomes: dict[Case, Future[Outcome]]) -> tuple[int, list[str]]:
    """Print the line of a point when all its cases have ended. Return its kills and failures."""
    known: list[Outcome] = []
    troubles = []
    for case, future in outcomes.items():
        try:
            outcome = future.result()
        except DeploymentFailed as exc:
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

_TRIAL_LINE = "{:<10} {:<28} {:>6} {:>4} {:>10} {:>9} {:>6} {:>8} {:>8}"
_TRIAL_HEAD = _TRIAL_LINE.format(
    *("broker", "fault", "work", "lost", "duplicates", "uncertain", "again", "settled", "seconds")
)


def _deployments(faults: Sequence[str], names: Sequence[str], seconds: float) -> int:
    """Run the trials of a kind of deployment in sequence, and two kinds in parallel on separate servers."""
    chosen = [t for t in TRIALS if t.kind.name in names and (not faults or t.fault.startswith(tuple(faults)))]
    if not chosen:
        sys.stderr.write(f"unknown fault. Known faults: {', '.join(sorted({t.fault for t in TRIALS}))}\n")
        return 2
    began = time.monotonic()
    print(_TRIAL_HEAD, flush=True)
    troubles: list[str] = []
    with trying_trials(chosen, seconds=seconds, kinds_at_once=2) as outcomes:
        trial_of = {future: trial for trial, future in outcomes.items()}
        for future in as_completed(trial_of):
            troubles += _print_trial(trial_of[future], future)
    print(
        f"{len(chosen)} faults in {time.monotonic() - began:.0f} s; servers unavailable for {seconds:g} s; "
        "store: S3; catalog: PostgreSQL"
    )
    print("work: executions in progress at the fault; seconds: from the fault until all of them had ended")
    print("settled: messages whose publish was unconfirmed for some time")
    print("again: attempts that ran again; stored objects do not show them")
    for trouble in troubles:
        print(f"\n{trouble}", file=sys.stderr)
    return 1 if troubles else 0


def _print_trial(trial: Trial, future: Future[TrialOutcome]) -> list[str]:
    """Print the line of a trial that has ended. Return its failures."""
    try:
        outcome = future.result()
    except Exception as exc:  # one failed trial must not hide the results of the others
        print(_TRIAL_LINE.format(trial.kind.name, trial.fault, *["–"] * 7) + "  FAILED", flush=True)
        return [f"{trial}: {exc or repr(exc)}"]
    found = outcome.findings
    numbers = (len(found.lost), len(found.doubled), len(found.uncertain), found.again)
    line = _TRIAL_LINE.format(
        *(trial.kind.name, trial.fault, outcome.executions, *numbers, outcome.settled),
        f"{outcome.seconds:.1f}",
    )
    print(line + ("" if found.exact else "  NOT EXACT"), flush=True)
    return [] if found.exact else [f"{trial}\n{found}"]


if __name__ == "__main__":
    raise SystemExit(main())
