"""A figure: what was measured, what it is held against, and what came of it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
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

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def middle_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of rounds that ran side by side: noise that hits both cancels out."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` (0–1) of all do not exceed."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


_HEAD = ("what", "measured", "ratio", "target", "", "beside", "on disk")


def table(figures: Sequence[Figure]) -> str:
    """The figures as lines for a terminal, columns aligned."""
    rows = [_HEAD, *(_row(f) for f in figures)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    right = {1, 2, 6}
    lines = []
    for row in rows:
        cells = [
            cell.rjust(w) if i in right else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _row(figure: Figure) -> tuple[str, ...]:
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
