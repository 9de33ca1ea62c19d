"""Run one job with Playhead and with cocoindex, in turn, and print a table: `python -m bench.peers`.

2,000 documents are split into about 13,800 chunks, which an embedding service on this machine turns into
vectors for an index in SQLite. Then documents and code change, and each system brings its index up to date.
A program that uses neither of them compares each index with the documents.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.machine import facts, in_memory, report, scratch
from bench.peers import environment
from bench.peers.documents import FULL
from bench.peers.steps import Step, embedding_service, steps
from bench.peers.systems import Cocoindex, Playhead, System

_HEAD = ("step", "system", "new chunks", "texts", "calls", "processor s", "wall s", "MB", "files", "index")
_LEFT = (0, 1, 9)
"""Columns that are not numbers."""
_LEAST = 10
"""Fewer documents have too few that may change."""


def main() -> int:
    options = _options()
    machine = facts()
    report("machine: " + ", ".join(f"{name} {value}" for name, value in machine.items()))
    systems: dict[str, Callable[[Path], System]] = {"playhead": Playhead}
    if program := environment.cocoindex() if options.only != "playhead" else None:
        systems["cocoindex"] = lambda folder: Cocoindex(folder, program)
    if options.only:
        systems = {name: make for name, make in systems.items() if name == options.only}
    rounds: list[list[Step]] = []
    with embedding_service() as service:
        for number in range(1, options.rounds + 1):
            for name, make in systems.items():
                report(f"round {number} of {options.rounds}, {name}: {options.documents:,} documents")
                with scratch(in_memory()) as folder:
                    rounds.append(steps(make, folder / name, service, options.documents))
    if options.json:
        measured = [one.as_json() for each in rounds for one in each]
        print(json.dumps({"machine": machine, "documents": options.documents, "steps": measured}, indent=2))
    else:
        print(_table(rounds))
    return 0


def _table(rounds: Sequence[Sequence[Step]]) -> str:
    """Format the medians of the rounds as a table in Markdown."""
    rows: list[tuple[str, ...]] = [_HEAD]
    names = dict.fromkeys(one.name for each in rounds for one in each)
    systems = dict.fromkeys(one.system for each in rounds for one in each)
    for name in names:
        for system in systems:
            same = [one for each in rounds for one in each if (one.name, one.system) == (name, system)]
            rows.append(_row(same))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = tuple("-" * width if n in _LEFT else "-" * (width - 1) + ":" for n, width in enumerate(widths))
    return "\n".join(
        "| "
        + " | ".join(
            cell.ljust(width) if n in _LEFT else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in (rows[0], rule, *rows[1:])
    )


def _row(same: Sequence[Step]) -> tuple[str, ...]:
    """Return the row of one step with one system, from all rounds."""

    def median(value: Callable[[Step], float], digits: int = 0) -> str:
        return f"{statistics.median(map(value, same)):,.{digits}f}"

    return (
        same[0].name,
        same[0].system,
        median(lambda one: one.new_chunks),
        median(lambda one: one.texts),
        median(lambda one: one.calls),
        median(lambda one: one.processor_seconds, 1),
        median(lambda one: one.seconds, 1),
        median(lambda one: one.bytes / 1e6, 1),
        median(lambda one: one.files),
        "; ".join(dict.fromkeys(str(one.index) for one in same)),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--documents",
        type=int,
        default=FULL,
        metavar="N",
        help="documents of the first day; the numbers of changes are scaled  [default: %(default)s]",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=1,
        metavar="K",
        help="how often each system runs the job, in turn; the table has medians  [default: %(default)s]",
    )
    parser.add_argument("--only", choices=("playhead", "cocoindex"), help="run the job with one system only")
    parser.add_argument("--json", action="store_true", help="print JSON with every step of every round")
    options = parser.parse_args()
    if options.documents < _LEAST or options.rounds < 1:
        parser.error(f"at least {_LEAST} documents and 1 round")
    return options


if __name__ == "__main__":
    sys.exit(main())
