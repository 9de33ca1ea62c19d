"""`python -m bench`: measure, and print a table. The exit code is 0 whatever the figures are."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from bench import (
    latency,
    million,
    replay,
    site_listing,
    site_million,
    site_replay,
    site_workers,
    workers,
)
from bench.figures import Figure, costs, table
from bench.machine import DISK, facts, in_memory, say
from bench.sites import Stand

_MILLION = 1_000_000
_HOME = ("replay", "workers", "latency", "help")
_SITES = ("brokers", "listing", "site-workers", "s3-workers")
_FULL = ("million", "site-million")


def main() -> int:
    options = _options()
    memory = in_memory()
    disk = None if options.no_disk or memory is None else options.disk
    machine = facts()
    say("machine: " + ", ".join(f"{k} {v}" for k, v in machine.items()))
    if memory is None:
        say("there is no tmpfs here: everything is measured on the disk, which varies from run to run")
    chosen = options.only or _chosen(options)
    small = options.quick
    rounds = 1 if small else 3
    stand = Stand(memory)
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
        "help": lambda: [latency.help_text(rounds=3 if small else 15)],
        "million": lambda: million.measure(memory, objects=20_000 if small else _MILLION),
        "brokers": lambda: site_replay.measure(
            stand, memory, objects=2_000 if small else 30_000, rounds=rounds
        ),
        "listing": lambda: site_listing.measure(stand, keys=20_000 if small else 100_000, rounds=rounds),
        "site-workers": lambda: site_workers.measure(stand, messages=600 if small else 8_000, rounds=rounds),
        "s3-workers": lambda: site_workers.on_s3(stand, messages=200 if small else 2_000, rounds=rounds),
        "site-million": lambda: site_million.measure(
            stand, objects=20_000 if small else _MILLION, rounds=1 if small else 3
        ),
    }
    figures: list[Figure] = []
    with stand:
        for part in chosen:
            say(f"{part}:")
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
    """The parts to measure when none is named."""
    if options.sites:
        return _SITES + (_FULL[1:] if options.full else ())
    return _HOME + _SITES + _FULL if options.full else _HOME


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench", description="Measure Playhead beside bare code, in the same run."
    )
    parser.add_argument("--full", action="store_true", help="all parts, and replays of a million objects")
    parser.add_argument(
        "--sites", action="store_true", help="only what is on servers (NATS, RabbitMQ, PostgreSQL, S3)"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run, not how fast")
    parser.add_argument(
        "--only", action="append", choices=_HOME + _SITES + _FULL, help="this part; may be given again"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, every round of every figure")
    parser.add_argument(
        "--disk", type=Path, default=DISK, help="where to measure the disk  [default: %(default)s]"
    )
    parser.add_argument("--no-disk", action="store_true", help="measure no disk")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
