"""A figure: what was measured, what it is held against, and what came of it."""

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
        name: what was measured.
        value: the median over the rounds, in `unit`.
        rounds: what each round gave, in `unit`.
        beside: what it is held against, and its own figure, in words.
        ratio: value over that; None where the target is no ratio.
        target: in words; empty where the figure is only shown.
        passes: whether the target is met; None where there is none.
        disk: the same on the disk, in `unit`; shown, never judged.
        cost: microseconds of processor time for each message or object, by program; empty where nobody
            looked.
        missing: why it could not be measured, and what would change that; then nothing else counts.
    """

    name: str
    value: float
    unit: str
    rounds: Sequence[float] = ()
    beside: str = ""
    ratio: float | None = None
    target: str = ""
    passes: bool | None = None
    disk: float | None = None
    cost: Mapping[str, float] = field(default_factory=dict)
    missing: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def absent(name: str, why: str) -> Figure:
    """The line of a figure that can't be measured on this machine."""
    return Figure(name, math.nan, "", missing=why)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def middle_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of rounds that ran side by side: noise that hits both cancels out."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def middle(costs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each program's cost over the rounds."""
    return {name: statistics.median(cost[name] for cost in costs) for name in costs[0]}


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` (0–1) of all do not exceed."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


_HEAD = ("what", "measured", "ratio", "target", "", "beside", "on disk")


def table(figures: Sequence[Figure]) -> str:
    """The figures as lines for a terminal, columns aligned."""
    return _aligned([_HEAD, *(_row(f) for f in figures)], right={1, 2, 6})


def costs(figures: Sequence[Figure], cores: int) -> str:
    """Who takes the processor's time, for the figures of which that is known; empty when for none.

    `cores allow` is what the machine could do at most if nobody ever waited: a second of all its cores
    over what one message costs all programs together.
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
        figure.beside,
        "" if figure.disk is None else f"{_number(figure.disk)} {figure.unit}",
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
