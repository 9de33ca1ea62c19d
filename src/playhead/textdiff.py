"""The difference of two texts, line by line, within a budget of steps.

`difflib` took 71 s on 2,000 lines that were made for it. Here every comparison is paid from one budget.
Parts that it does not cover are shown as whole blocks: all old lines, then all new ones. Such a difference is
correct, but not short, and its `is_exact` is false.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import Final, Literal

_LINE_STEPS: Final = 400_000
"""Steps for lines. A step takes up to one microsecond."""
_WORD_STEPS: Final = 200_000
"""Steps for words within lines, of the whole difference."""
_AT_ONCE: Final = 150
"""Inserted and removed items up to which a part is compared exactly."""
_THEN: Final = 40
"""The same, after a part had more than that: many small steps are cheaper than few large ones."""
_MOST_WORDS: Final = 400
"""Words of a line; longer lines are not compared word by word."""
_ALIKE: Final = 0.5
"""Share of its characters that a line keeps, from which it counts as changed, not as replaced."""
_WORD: Final = re.compile(r"\w+|\s+|[^\w\s]")

Change = Literal["same", "del", "add"]
Match = tuple[int, int, int]
"""Where items are equal: index in the old ones, index in the new ones, number."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a line.

    Attributes:
        text: its characters.
        is_changed: whether the other text has other characters there.
    """

    text: str
    is_changed: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a difference.

    Attributes:
        change: `same`, `del` (only in the old text) or `add` (only in the new one).
        old: its number in the old text, from 1; None if it was added.
        new: its number in the new text, from 1; None if it was removed.
        parts: its text, without the line end.
        lacks_newline: it is the last line of a text that does not end with a newline.
    """

    change: Change
    old: int | None
    new: int | None
    parts: tuple[Part, ...]
    lacks_newline: bool = False

    @property
    def text(self) -> str:
        """The line."""
        return "".join(part.text for part in self.parts)


@dataclass(frozen=True, slots=True)
class Diff:
    """The difference of two texts.

    Attributes:
        lines: all lines, in order; within a change, the removed ones come first.
        added: number of added lines.
        removed: number of removed lines.
        is_exact: false if the budget was used up, and some parts are shown as whole blocks.
    """

    lines: tuple[Line, ...]
    added: int
    removed: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Hunk:
    """Changed lines with the lines around them.

    Attributes:
        hidden: number of lines left out before these.
        lines: the lines.
    """

    hidden: int
    lines: tuple[Line, ...] = field(default=())


@dataclass(slots=True)
class _Budget:
    """Steps that remain."""

    steps: int
    is_used_up: bool = False

    def pay(self, steps: int) -> bool:
        """Take steps, and return whether there were enough."""
        self.steps -= steps
        self.is_used_up = self.is_used_up or self.steps < 0
        return self.steps >= 0


def compare(old: str, new: str) -> Diff:
    """Return the difference of two texts. 64 kB each take less than a second, whatever they contain."""
    a, b = list(StringIO(old)), list(StringIO(new))
    budget = _Budget(_LINE_STEPS)
    words = _Budget(_WORD_STEPS)
    lines: list[Line] = []
    i = j = 0
    for at_a, at_b, number in (*_matches(a, b, budget), (len(a), len(b), 0)):
        lines += _changed(a, b, (i, at_a), (j, at_b), words)
        lines += [_line("same", at_a + n + 1, at_b + n + 1, a[at_a + n]) for n in range(number)]
        i, j = at_a + number, at_b + number
    count = Counter(line.change for line in lines)
    return Diff(tuple(lines), count["add"], count["del"], not budget.is_used_up)


def hunks(diff: Diff, *, around: int = 3, limit: int = 1000) -> tuple[list[Hunk], int]:
    """Return the changes with a few lines around each, and the number of lines left out at the end.

    Args:
        around: unchanged lines before and after each change.
        limit: lines at most; the rest is left out.
    """
    lines = diff.lines
    near = [False] * len(lines)
    for n, line in enumerate(lines):
        if line.change != "same":
            near[max(n - around, 0) : n + around + 1] = [True] * (
                min(n + around + 1, len(lines)) - max(n - around, 0)
            )
    found: list[Hunk] = []
    shown = 0
    hidden = 0
    n = 0
    while n < len(lines) and shown < limit:
        if not near[n]:
            hidden += 1
            n += 1
            continue
        end = n
        while end < len(lines) and near[end] and shown + end - n < limit:
            end += 1
        found.append(Hunk(hidden, lines[n:end]))
        shown += end - n
        hidden = 0
        n = end
    return found, hidden + len(lines) - n


def _changed(
    a: Sequence[str], b: Sequence[str], of_a: tuple[int, int], of_b: tuple[int, int], words: _Budget
) -> Iterator[Line]:
    """Yield removed lines, then added ones. The first are compared with the first, word by word."""
    removed, added = range(*of_a), range(*of_b)
    pairs = [
        _inline(a[i].removesuffix("\n"), b[j].removesuffix("\n"), words)
        for i, j in zip(removed, added, strict=False)
    ]
    for n, i in enumerate(removed):
        yield _line("del", i + 1, None, a[i], pairs[n][0] if n < len(pairs) else ())
    for n, j in enumerate(added):
        yield _line("add", None, j + 1, b[j], pairs[n][1] if n < len(pairs) else ())


def _line(change: Change, old: int | None, new: int | None, text: str, parts: tuple[Part, ...] = ()) -> Line:
    """Return a line. `text` has its line end; without `parts`, it is one part."""
    alone = text.removesuffix("\n")
    return Line(change, old, new, parts or (Part(alone),), lacks_newline=alone == text)


def _inline(old: str, new: str, budget: _Budget) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """Return the parts of a removed and an added line; one part each if they have little in common."""
    whole = (Part(old),), (Part(new),)
    a, b = _WORD.findall(old), _WORD.findall(new)
    if max(len(a), len(b)) > _MOST_WORDS or not budget.pay(len(a) + len(b)):
        return whole
    found, end, _ = _myers(a, b, (0, len(a)), (0, len(b)), budget, _AT_ONCE)
    if end < len(a):
        return whole
    kept = sum(len(word) for i, _, number in found for word in a[i : i + number])
    if kept < _ALIKE * min(len(old), len(new)) or not kept:
        return whole
    return _parts(a, [(i, n) for i, _, n in found]), _parts(b, [(j, n) for _, j, n in found])


def _parts(words: Sequence[str], same: Sequence[tuple[int, int]]) -> tuple[Part, ...]:
    parts: list[Part] = []
    at = 0
    for start, number in (*same, (len(words), 0)):
        if at < start:
            parts.append(Part("".join(words[at:start]), True))
        if number:
            parts.append(Part("".join(words[start : start + number])))
        at = start + number
    return tuple(parts) or (Part(""),)


# -- matching --------------------------------------------------------------------------------------


def _matches(a: Sequence[str], b: Sequence[str], budget: _Budget) -> list[Match]:
    """Return where lines are equal, in order."""
    found: list[Match] = []
    todo = [(0, len(a), 0, len(b), _AT_ONCE)]
    while todo:
        low_a, high_a, low_b, high_b, most = todo.pop()
        while low_a < high_a and low_b < high_b and a[low_a] == b[low_b]:
            found.append((low_a, low_b, 1))
            low_a, low_b = low_a + 1, low_b + 1
        while low_a < high_a and low_b < high_b and a[high_a - 1] == b[high_b - 1]:
            high_a, high_b = high_a - 1, high_b - 1
            found.append((high_a, high_b, 1))
        if low_a == high_a or low_b == high_b or budget.is_used_up:
            continue
        near, end_a, end_b = _myers(a, b, (low_a, high_a), (low_b, high_b), budget, most)
        if (end_a, end_b) == (high_a, high_b):
            found += near
            continue
        anchors = _anchors(a, b, (low_a, high_a), (low_b, high_b), budget) if most == _AT_ONCE else []
        if not anchors:
            # Every line is repeated. Keep the furthest way so far, and continue where it ends.
            found += near
            todo.append((end_a, high_a, end_b, high_b, _THEN))
            continue
        at_a, at_b = low_a, low_b
        for i, j in (*anchors, (high_a, high_b)):
            todo.append((at_a, i, at_b, j, most))
            at_a, at_b = i, j
    return _joined(found)


def _joined(found: list[Match]) -> list[Match]:
    joined: list[Match] = []
    for i, j, number in sorted(found):
        if joined and joined[-1][0] + joined[-1][2] == i and joined[-1][1] + joined[-1][2] == j:
            first = joined.pop()
            i, j, number = first[0], first[1], first[2] + number
        joined.append((i, j, number))
    return joined


def _anchors(
    a: Sequence[str], b: Sequence[str], of_a: tuple[int, int], of_b: tuple[int, int], budget: _Budget
) -> list[tuple[int, int]]:
    """Return the longest sequence of lines that occur once in both parts, in order (patience diff)."""
    if not budget.pay(2 * (of_a[1] - of_a[0] + of_b[1] - of_b[0])):
        return []
    once_a = Counter(a[slice(*of_a)])
    once_b = Counter(b[slice(*of_b)])
    at_b = {line: j for j, line in enumerate(b[slice(*of_b)], of_b[0]) if once_b[line] == 1}
    pairs = [
        (i, at_b[line])
        for i, line in enumerate(a[slice(*of_a)], of_a[0])
        if once_a[line] == 1 and line in at_b
    ]
    # The longest increasing subsequence of the places in b.
    ends: list[int] = []
    places: list[int] = []
    before: list[int] = []
    for n, (_, j) in enumerate(pairs):
        at = bisect_left(ends, j)
        ends[at : at + 1] = [j]
        places[at : at + 1] = [n]
        before.append(places[at - 1] if at else -1)
    chain: list[tuple[int, int]] = []
    n = places[-1] if places else -1
    while n >= 0:
        chain.append(pairs[n])
        n = before[n]
    return chain[::-1]


def _myers(
    a: Sequence[str],
    b: Sequence[str],
    of_a: tuple[int, int],
    of_b: tuple[int, int],
    budget: _Budget,
    most: int,
) -> tuple[list[Match], int, int]:
    """Return the matches of a shortest difference (Myers 1986), and where it ends in both.

    It ends before the ends of the parts if it has more than `most` items, or if the budget is used up.
    `reached[k]` is the furthest index in `a` on diagonal k (index in `a` minus index in `b`).
    """
    start_a, start_b = of_a[0], of_b[0]
    size_a, size_b = of_a[1] - start_a, of_b[1] - start_b
    reached = {1: 0}
    trace: list[dict[int, int]] = []
    for d in range(min(size_a + size_b, most) + 1):
        trace.append(reached.copy())
        steps = d
        for k in range(max(-d, d - 2 * size_b), min(d, 2 * size_a - d) + 1, 2):
            if k == -d or (k != d and reached[k - 1] < reached[k + 1]):
                x = reached[k + 1]
            else:
                x = reached[k - 1] + 1
            first = x
            y = x - k
            while x < size_a and y < size_b and a[start_a + x] == b[start_b + y]:
                x += 1
                y += 1
            steps += x - first
            reached[k] = x
            if x >= size_a and y >= size_b:
                return _path(trace, x, y, of_a, of_b), *(of_a[1], of_b[1])
        if not budget.pay(steps):
            break
    last = len(trace) - 1
    inside = [
        (x, x - k) for k, x in reached.items() if (k - last) % 2 == 0 and x <= size_a and x - k <= size_b
    ]
    x, y = max(inside, key=sum)
    return _path(trace, x, y, of_a, of_b), start_a + x, start_b + y


def _path(
    trace: Sequence[dict[int, int]], x: int, y: int, of_a: tuple[int, int], of_b: tuple[int, int]
) -> list[Match]:
    """Return the matches on the way to a point that Myers's search has reached, in order."""
    found: list[Match] = []
    for step in range(len(trace) - 1, -1, -1):
        reached = trace[step]
        k = x - y
        down = k == -step or (k != step and reached[k - 1] < reached[k + 1])
        before = reached[k + 1] if down else reached[k - 1] + 1
        if x > before:
            found.append((of_a[0] + before, of_b[0] + before - k, x - before))
        x = before if down else before - 1
        y = before - k - 1 if down else before - k
    return found[::-1]
