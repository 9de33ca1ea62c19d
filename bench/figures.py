"""One measured figure with its baseline and target, and the tables that show figures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        name: what is measured.
        value: the median of the rounds, in `unit`.
        rounds: the result of each round, in `unit`.
        baseline: the name and the figure of what it is compared with, as text.
        ratio: `value` divided by the baseline; None if the target is not a ratio.
        target: as text; empty if the figure has no target.
        passes: whether the target is met; None without a target.
        disk: the same figure on the disk, in `unit`. No target applies to it.
        cost: microseconds of processor time per message or object, by program; empty if not measured.
        missing: why it could not be measured, and how to change that. All other fields are then ignored.
    """

    name: str
    value: float
    unit: str
    rounds: Sequence[float] = ()
    baseline: str = ""
    ratio: float | None = None
    target: str = ""
    passes: bool | None = None
    disk: float | None = None
    cost: Mapping[str, float] = field(default_factory=dict)
    missing: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def not_measured(name: str, why: str) -> Figure:
    """Return the figure for something that cannot be measured on this machine."""
    return Figure(name, math.nan, "", missing=why)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def middle_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the ratios of paired rounds, so that load on the machine cancels out."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def middle(costs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the median cost of each program over the rounds."""
    return {name: statistics.median(cost[name] for cost in costs) for name in costs[0]}


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that is not exceeded by `share` (0 to 1) of all values."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


_HEAD = ("what", "measured", "ratio", "target", "", "baseline", "on disk")


def table(figures: Sequence[Figure]) -> str:
    """Format the figures as a table for a terminal."""
    return _aligned([_HEAD, *(_row(f) for f in figures)], right={1, 2, 6})


def costs(figures: Sequence[Figure], cores: int) -> str:
    """Format the processor time of each program as a table. Empty if no figure has a cost.

    `cores allow` is the highest rate that the machine could reach without any waiting: one second of all
    cores divided by the cost of one message in all programs.
    """
    shown = [f for f in figures if f.cost]
    if not shown:
        return ""
    programs = list(dict.fromkeys(name for f in shown for name in f.cost))
    head = ("processor time, µs each", *programs, "all", "cores busy", "cores allow")
    rows = [head]
    for f in shown:
        total = sum(f.cost.values())
        rows.append(
            (
                f.name,
                *(_number(f.cost[name]) if name in f.cost else "" for name in programs),
                _number(total),
                f"{total * f.value / 1e6:.2f}",
                f"{_number(cores * 1e6 / total)} {f.unit}",
            )
        )
    return _aligned(rows, right=set(range(1, len(head))))


def _aligned(rows: Sequence[tuple[str, ...]], *, right: set[int]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(w) if i in right else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _row(figure: Figure) -> tuple[str, ...]:
    if figure.missing:
        return (figure.name, "–", "", "", "NOT MEASURED", figure.missing, "")
    verdict = {None: "", True: "pass", False: "BELOW"}[figure.passes]
    return (
        figure.name,
        f"{_number(figure.value)} {figure.unit}",
        ""
        if figure.ratio is None
        else f"{figure.ratio:.2f}"
        if figure.ratio >= 0.2
        else f"{figure.ratio:.3f}",
        figure.target,
        verdict,
        figure.baseline,
        "" if figure.disk is None else f"{_number(figure.disk)} {figure.unit}",
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
