"""What has changed for an object between two executions, and the matrix of all objects."""

from __future__ import annotations

from itertools import count

import pytest

from playhead.model import RowState
from playhead.ports.catalog.outcomes import OutcomesBelow
from playhead.reading.outcomes import _MOST_FOLDERS, AFTER, BEFORE, Compared, Matrix, compare

REACHED = ("read", "split")
_numbers = count(1)


def row(state: RowState, route: str = "read", *, group: int | None = None, digest: int = 0) -> OutcomesBelow:
    stage = None if route == "index" else f"{route}s"
    return OutcomesBelow(route == "read", route, stage, state, group, 1, next(_numbers), digest)


DONE = [row("completed", digest=5), row("completed", "split", digest=7)]
FAILED = [row("completed", digest=5), row("dead", "split", group=1)]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (DONE, DONE, ("done", "same")),
        (DONE, [row("skipped")], ("done", "other")),
        (DONE, [row("taken_over", digest=5), row("taken_over", "split", digest=7)], ("done", "same")),
        (DONE, [], ("done", "undecided")),
        (DONE, [*DONE[:1], row("retry", "split")], ("done", "undecided")),
        (DONE, [*DONE, row("cancelled", "split")], ("done", "undecided")),
        (DONE, FAILED, ("done", "other_error")),
        (FAILED, DONE, ("failed", "other")),
        (FAILED, FAILED, ("failed", "same_error")),
        (FAILED, [*FAILED, row("running", "split")], ("failed", "same_error")),
        (FAILED, [*FAILED, row("dead", "split", group=2)], ("failed", "other_error")),
        ([*FAILED, row("dead", "split", group=2)], FAILED, ("failed", "same_error")),
        ([row("dead", group=1)], [row("completed")], ("failed", "same")),
        ([], DONE, ("none", "other")),
        ([row("cancelled")], [row("completed")], ("none", "other")),
        ([row("pending")], FAILED, ("none", "other_error")),
        ([*DONE, row("dead", "index", group=9)], DONE, ("done", "same")),
    ],
)
def test_an_object_is_compared_by_all_messages_that_count(
    before: list[OutcomesBelow], after: list[OutcomesBelow], expected: tuple[str, str]
):
    found = compare(before, after, REACHED)
    assert (found.before, found.after) == expected


def test_the_stages_that_differ_are_in_the_order_of_the_pipeline():
    other = [row("completed", digest=6), row("completed", "split", digest=8)]
    assert compare(DONE, other, REACHED).stages == ["reads", "splits"]
    assert compare(DONE, [*DONE[:1], other[1]], REACHED).stages == ["splits"]


def one(before: str, after: str, failure: OutcomesBelow | None = None) -> Compared:
    return Compared(before, after, (), None, failure, None)  # type: ignore[arg-type]


def test_objects_are_found_by_their_cell_and_their_names():
    matrix = Matrix()
    dead = [row("dead", group=4), row("dead", "split", group=5)]
    matrix.add(1, "a/1", one("done", "same"))
    matrix.add(2, "a/2", one("failed", "same_error", dead[0]))
    matrix.add(5, "b/c/3", one("failed", "same_error", dead[1]))
    matrix.add(6, "4", one("done", "other_error", dead[1]))

    assert {(c.before, c.after): c.objects for c in matrix.cells() if c.objects} == {
        ("done", "same"): 1,
        ("done", "other_error"): 1,
        ("failed", "same_error"): 2,
    }
    assert len(matrix.cells()) == len(BEFORE) * len(AFTER)
    assert [*matrix.ordinals(None, None, [], 0)] == [1, 2, 5, 6]
    assert [*matrix.ordinals("failed", None, [], 2)] == [5]
    assert [*matrix.ordinals(None, None, [("error", 5)], 0)] == [5, 6]
    assert [*matrix.ordinals(None, None, [("error", 5), ("folder", "/")], 0)] == [6]
    assert [*matrix.ordinals(None, None, [("folder", "a")], 0)] == [1, 2]
    assert [*matrix.ordinals(None, None, [("stage", "none")], 0)] == []
    groups = matrix.groups("error", None, None)
    assert [(name, group.objects, matrix.folders(group)) for name, group in groups] == [
        (5, 2, ["b/c", "/"]),
        (4, 1, ["a"]),
    ]
    assert [name for name, _ in matrix.groups("stage", "failed", None)] == ["read", "split"]


def test_too_many_folders_are_counted_for_the_first_part_of_their_paths():
    matrix = Matrix()
    for n in range(_MOST_FOLDERS + 50):
        matrix.add(n + 1, f"top/{n}/file", one("done", "same"))
    groups = matrix.groups("folder", "done", "same")
    assert (groups[0][0], groups[0][1].objects) == ("top", 50)
    assert len(groups) == _MOST_FOLDERS + 1
    assert matrix.folders(groups[0][1]) == ["top"]


def test_a_group_shows_its_first_folders_and_its_last_one():
    matrix = Matrix()
    for n in range(9):
        matrix.add(n + 1, f"{n}/file", one("done", "other_error", row("dead", group=1)))
    [(_, group)] = matrix.groups("error", None, None)
    assert matrix.folders(group) == ["0", "1", "2", "8"]
