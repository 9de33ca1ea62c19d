"""Run the benchmarks and print a table: `python -m bench`. The exit code is 0 for any result."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from bench import (
    access,
    adapters,
    control,
    deployment_listing,
    deployment_million,
    deployment_replay,
    deployment_workers,
    guard,
    history,
    latency,
    million,
    pages,
    paint,
    plans,
    prune,
    publish,
    recall,
    replay,
    reports,
    scale,
    selection,
    slow_steps,
    unchanged,
    workers,
)
from bench.deployments import Testbed
from bench.figures import Figure, costs, table
from bench.machine import DISK, facts, in_memory, report

_MILLION = 1_000_000
_HOME = ("replay", "workers", "latency", "control", "selection", "plans", "report", "help", "access")
_SERVERS = ("brokers", "listing", "deployment-workers", "s3-workers", "slow-steps", "guard")
_ADAPTERS = ("adapters", "prune", "publish", "recall", "unchanged")
_FULL = ("million", "pages", "paint", "plan-million", "prune-many", "scale", "deployment-million")
PARTS = _HOME + _SERVERS + _ADAPTERS + _FULL


def main() -> int:
    options = _options()
    memory = in_memory()
    disk = None if options.no_disk or memory is None else options.disk
    machine = facts()
    report("machine: " + ", ".join(f"{k} {v}" for k, v in machine.items()))
    if memory is None:
        report("no tmpfs on this system: all parts run on the disk, where results vary from run to run")
    chosen = options.only or _chosen(options)
    small = options.quick
    rounds = 1 if small else 3
    testbed = Testbed(memory)
    parts: dict[str, Callable[[], list[Figure]]] = {
        "replay": lambda: replay.measure(
            memory, disk, objects=5_000 if small else 50_000, rounds=2 if small else 5
        ),
        "workers": lambda: workers.measure(
            memory, disk, objects=500 if small else 8_000, rounds=1 if small else 5
        ),
        "latency": lambda: [
            latency.small_replay(memory, disk, times=20 if small else 200),
            latency.first_message(memory, objects=5_000 if small else 50_000, rounds=2 if small else 5),
        ],
        "control": lambda: control.measure(
            memory,
            rates=(100,) if small else (10, 100, 5_000),
            seconds=3 if small else 30,
            rounds=2 if small else 5,
        ),
        "selection": lambda: selection.measure(
            memory, objects=5_000 if small else 100_000, rounds=1 if small else 3
        ),
        "report": lambda: reports.measure(
            memory, objects=5_000 if small else 100_000, rounds=1 if small else 3
        ),
        "plans": lambda: plans.measure(memory, objects=5_000 if small else 100_000, rounds=1 if small else 5),
        "adapters": lambda: adapters.measure(
            memory,
            limited=40 if small else 1_000,
            batched=400 if small else 4_000,
            computed=100 if small else 1_000,
            rounds=1 if small else 3,
        ),
        "access": lambda: access.measure(
            memory,
            requests=50 if small else 500,
            rounds=2 if small else 15,
            samples=200 if small else 10_000,
        ),
        "help": lambda: [latency.help_text(rounds=3 if small else 15)],
        "prune": lambda: prune.measure(memory, disk, objects=3_000 if small else 30_000),
        "prune-many": lambda: prune.measure(memory, disk, objects=6_000 if small else 300_000),
        "publish": lambda: publish.measure(testbed, size=publish.SMALL if small else publish.Size()),
        "recall": lambda: recall.measure(
            vectors=1_000 if small else 10_000, publications=5, queries=20 if small else 200
        ),
        "unchanged": lambda: unchanged.measure(
            memory, inputs=2_000 if small else 100_000, rounds=1 if small else 3
        ),
        "million": lambda: million.measure(memory, objects=20_000 if small else _MILLION),
        "plan-million": lambda: plans.million(memory, objects=20_000 if small else _MILLION),
        "scale": lambda: scale.measure(
            testbed, memory, size=scale.SMALL if small else scale.Size(), rounds=1 if small else 3
        ),
        "pages": lambda: pages.measure(
            testbed, memory, size=history.SMALL if small else history.Size(), times=10 if small else 50
        ),
        "paint": lambda: paint.measure(inputs=20 if small else 200, rounds=3 if small else 25),
        "brokers": lambda: deployment_replay.measure(
            testbed, memory, objects=2_000 if small else 30_000, rounds=rounds
        ),
        "listing": lambda: deployment_listing.measure(
            testbed, keys=20_000 if small else 100_000, rounds=rounds
        ),
        "deployment-workers": lambda: deployment_workers.measure(
            testbed, messages=600 if small else 8_000, rounds=rounds
        ),
        "s3-workers": lambda: deployment_workers.on_s3(
            testbed, messages=200 if small else 2_000, rounds=rounds
        ),
        "slow-steps": lambda: slow_steps.measure(
            testbed, messages=400 if small else 8_000, rounds=rounds, times=3 if small else 20
        ),
        "guard": lambda: guard.measure(
            testbed,
            memory,
            objects=1_000 if small else 20_000,
            every=(100,) if small else (500, 5_000),
            rounds=1 if small else 3,
        ),
        "deployment-million": lambda: deployment_million.measure(
            testbed, objects=20_000 if small else _MILLION, rounds=1 if small else 3
        ),
    }
    figures: list[Figure] = []
    with testbed:
        for part in chosen:
            report(f"{part}:")
            figures += parts[part]()
    if options.json:
        print(json.dumps({"machine": machine, "figures": [f.as_json() for f in figures]}, indent=2))
    else:
        where = "tmpfs" if memory else "disk"
        print(f"\nOn {where}; " + ", ".join(f"{k} {v}" for k, v in machine.items()) + "\n")
        print(table(figures))
        if shares := costs(figures, machine["cores"]):
            print(f"\n{shares}")
    return 0


def _chosen(options: argparse.Namespace) -> tuple[str, ...]:
    """Return the parts to measure if `--only` names none."""
    if options.deployments:
        return _SERVERS + (_FULL[-2:] if options.full else ())
    return PARTS if options.full else _HOME


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench", description="Compare Playhead with bare code in the same run."
    )
    parser.add_argument(
        "--full", action="store_true", help="all parts, including replays of a million objects"
    )
    parser.add_argument(
        "--deployments",
        action="store_true",
        help="only the parts that use servers (NATS, RabbitMQ, PostgreSQL, S3)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: check that the parts run; the figures mean nothing"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=PARTS,
        help="only this part; repeatable",
    )
    parser.add_argument("--json", action="store_true", help="print JSON with every round of every figure")
    parser.add_argument(
        "--disk",
        type=Path,
        default=DISK,
        help="directory for the parts that use the disk  [default: %(default)s]",
    )
    parser.add_argument("--no-disk", action="store_true", help="skip the measurements on the disk")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
