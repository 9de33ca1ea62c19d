"""Pair the outputs of two executions by their content, so that one inserted part is one addition.

A step that returns several outputs names them by number. If it returns one more at the beginning, all later
ones have the content of another path.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from playhead.model import DiffState
from playhead.ports.catalog.outputs import RecordedOutput
from playhead.reading.joining import Records


class Paired(NamedTuple):
    """An output of one of two executions, or of both.

    Attributes:
        rest: stage and path: those of the second execution, if it has the output.
        left: the output of the first execution.
        right: the output of the second execution.
    """

    rest: str
    state: DiffState
    left: RecordedOutput | None
    right: RecordedOutput | None


def paired(left: Records, right: Records) -> list[Paired]:
    """Pair the outputs of one part of both executions, in the order of the second one.

    Outputs with the same path and content are the same. Of the others, those with the same content have
    moved. What remains has changed if it has the same path, or if it stands between the same neighbours.
    Then, what only one of them has is added or missing.
    """
    partner: dict[str, str] = {  # by the rest on the right side
        rest: rest for rest, one in right.items() if rest in left and left[rest].sha256 == one.sha256
    }
    by_content: dict[bytes, deque[str]] = defaultdict(deque)
    for rest, one in left.items():
        if rest not in partner:
            by_content[one.sha256].append(rest)
    for rest, one in right.items():
        if rest not in partner and (found := by_content[one.sha256]):
            partner[rest] = found.popleft()
    moved_to = {old: new for new, old in partner.items()}
    open_left = _gaps(left, moved_to)
    for gap, some in _gaps(right, {rest: rest for rest in partner}).items():
        free = dict.fromkeys(open_left.get(gap, ()))
        for rest in some:
            if rest in free:
                partner[rest] = rest
                del free[rest]
        partner.update(zip([rest for rest in some if rest not in partner], list(free), strict=False))
    return [*_of(left, right, partner)]


def _gaps(rests: Iterable[str], anchors: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the outputs that are not paired yet, by the right side's name of the paired one before them."""
    found: dict[str, list[str]] = defaultdict(list)
    before = ""
    for rest in rests:
        if rest in anchors:
            before = anchors[rest]
        else:
            found[before].append(rest)
    return found


def _of(left: Records, right: Records, partner: dict[str, str]) -> Iterator[Paired]:
    for rest, one in right.items():
        other = partner.get(rest)
        if other is None:
            yield Paired(rest, "added", None, one)
        elif left[other].sha256 == one.sha256:
            yield Paired(rest, "same" if other == rest else "moved", left[other], one)
        else:
            yield Paired(rest, "changed", left[other], one)
    taken = set(partner.values())
    for rest, one in left.items():
        if rest not in taken:
            yield Paired(rest, "missing", one, None)
