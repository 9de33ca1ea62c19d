"""Outputs of two executions are read in small steps, so that other requests of a server have their turns."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from playhead.ports.catalog.outputs import RecordedOutput
from playhead.reading.joining import join, ranges

A, B = UUID(int=1), UUID(int=2)
_MOST: int = 500


class Outputs:
    """The outputs of two executions."""

    def __init__(self, counts: dict[UUID, int]) -> None:
        self._keys = sorted(f"{of}/parts/{n:05}" for of, count in counts.items() for n in range(count))
        self.limits: list[int] = []

    async def recorded(self, first: str, last: str, *, limit: int) -> list[RecordedOutput]:
        self.limits.append(limit)
        found = [key for key in self._keys if first <= key < last][:limit]
        return [RecordedOutput(key, 1, b"", "text/plain", None) for key in found]


async def test_a_step_of_a_comparison_is_small_and_has_both_sides_of_each_object():
    outputs = Outputs({A: 3 * _MOST + 7, B: _MOST + 1})
    left: list[str] = []
    right: list[str] = []
    for within in ranges(["parts"], None):
        async for one, other in join(cast(Any, outputs), A, B, within):
            assert max(len(one), len(other)) <= _MOST
            assert not set(one) & set(right)
            assert not set(other) & set(left)
            left += one
            right += other

    assert (len(left), len(right)) == (3 * _MOST + 7, _MOST + 1)
    assert max(outputs.limits) <= _MOST
