"""The difference of two texts is correct whatever they contain, and ends in time."""

import difflib
import random
import re
import time

import pytest
from hypothesis import given, strategies as st

from playhead.cli.difftexts import unified
from playhead.textdiff import Diff, Line, compare, hunks
from tests.slowness import slowness

LIMIT = 64 * 1024

lines = st.text(alphabet="ab c\n\r\t<é", max_size=80)


def old_of(diff: Diff) -> str:
    return "".join(map(with_end, (line for line in diff.lines if line.change != "add")))


def new_of(diff: Diff) -> str:
    return "".join(map(with_end, (line for line in diff.lines if line.change != "del")))


def with_end(line: Line) -> str:
    return line.text + ("" if line.lacks_newline else "\n")


def lines_of(text: str) -> list[str]:
    """Return lines with their ends. Only a newline ends a line."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def shown(diff: Diff) -> list[str]:
    signs = {"same": " ", "del": "-", "add": "+"}
    return [signs[line.change] + line.text for line in diff.lines]


@given(lines, lines)
def test_a_diff_holds_both_texts(old: str, new: str) -> None:
    diff = compare(old, new)
    assert (old_of(diff), new_of(diff)) == (old, new)
    assert diff.added == sum(line.change == "add" for line in diff.lines)
    assert [line.old for line in diff.lines if line.old] == list(range(1, len(lines_of(old)) + 1))
    assert [line.new for line in diff.lines if line.new] == list(range(1, len(lines_of(new)) + 1))


@given(st.lists(st.sampled_from("abcdef"), max_size=40), st.lists(st.sampled_from("abcdef"), max_size=40))
def test_a_small_diff_is_as_short_as_possible(old: list[str], new: list[str]) -> None:
    diff = compare("\n".join(old), "\n".join(new))
    a, b = lines_of("\n".join(old)), lines_of("\n".join(new))
    best = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(len(a)):
        for j in range(len(b)):
            equal = a[i] == b[j]
            best[i + 1][j + 1] = best[i][j] + 1 if equal else max(best[i][j + 1], best[i + 1][j])
    assert diff.is_exact
    assert diff.added + diff.removed == len(a) + len(b) - 2 * best[-1][-1]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        *(("", "\n"), ("\n", ""), ("", "a"), ("a", "a\n"), ("a\n", "a"), ("a\n", "a\n\n")),
        *(("a\nb", "a\nc"), ("a\nb\n", "a\nc"), ("a", "b\na"), ("a\r\n", "a\n"), ("a\fb", "a\fb\n")),
        *(("1\n2\n3\n4\n5", "1\n2\n3\n4\n5\n6"), ("a" + "\n" * 9 + "b\n", "c" + "\n" * 9 + "d")),
    ],
)
def test_a_difference_is_written_as_difflib_writes_it(old: str, new: str) -> None:
    expected = []
    for line in list(difflib.unified_diff(lines_of(old), lines_of(new)))[2:]:
        expected.append(line.removesuffix("\n"))
        if not line.endswith("\n"):
            expected.append("\\ No newline at end of file")

    assert list(unified(old, new)) == expected


def test_words_within_a_changed_line_are_marked() -> None:
    diff = compare("one two three\nend", "one 2 three!\nend")
    assert shown(diff) == ["-one two three", "+one 2 three!", " end"]
    assert [part.text for part in diff.lines[0].parts if part.is_changed] == ["two"]
    assert [part.text for part in diff.lines[1].parts if part.is_changed] == ["2", "!"]


def test_lines_with_little_in_common_are_not_marked() -> None:
    diff = compare("alpha beta gamma", "something else entirely")
    assert not any(part.is_changed for line in diff.lines for part in line.parts)


def test_a_moved_function_keeps_its_neighbours() -> None:
    old = "".join(f"line {n}\n" for n in range(2000))
    new = "".join(f"line {n}\n" for n in [*range(500), *range(1000, 2000), *range(500, 1000)])
    diff = compare(old, new)
    assert diff.is_exact
    assert (diff.added, diff.removed) == (500, 500)


@pytest.mark.parametrize("around", [0, 3])
@given(old=lines, new=lines)
def test_hunks_hold_every_change(old: str, new: str, around: int) -> None:
    diff = compare(old, new)
    found, rest = hunks(diff, around=around)
    changes = [line for hunk in found for line in hunk.lines if line.change != "same"]
    assert changes == [line for line in diff.lines if line.change != "same"]
    assert sum(hunk.hidden + len(hunk.lines) for hunk in found) + rest == len(diff.lines)


def test_hunks_end_at_the_limit() -> None:
    diff = compare("a\n" * 500, "b\n" * 500)
    found, rest = hunks(diff, limit=100)
    assert sum(len(hunk.lines) for hunk in found) == 100
    assert rest == len(diff.lines) - 100


def _adversarial() -> dict[str, tuple[str, str]]:
    chance = random.Random(7)
    few = ["a", "b", "c"]

    def of(lines: list[str]) -> str:
        return "\n".join(lines)[:LIMIT]

    return {
        "empty lines": ("\n" * LIMIT, "x\n" * (LIMIT // 2)),
        "two letters": (
            of([chance.choice("ab") for _ in range(32768)]),
            of([chance.choice("ab") for _ in range(32768)]),
        ),
        "reversed": (of([f"{n}" for n in range(9000)]), of([f"{n}" for n in range(9000, 0, -1)])),
        "shuffled": (
            of([f"{n}" for n in range(9000)]),
            of([f"{n}" for n in chance.sample(range(9000), 9000)]),
        ),
        "difflib": (
            of(few * 700 + [str(n) for n in range(2000)]),
            of([str(n) for n in range(2000)] + few * 700),
        ),
        "popular": (of(["a", "b"] * 16000), of(["b", "a", "a"] * 11000)),
        "interleaved": (of([f"{n // 2}" for n in range(12000)]), of([f"{n // 3}" for n in range(12000)])),
        "long lines": ("a b " * 16000, "b a " * 16000),
        "words": ("a b c d e f g h i j\n" * 3000, "a x c y e z g h i k\n" * 3000),
        "other words": (
            of([" ".join(chance.choices("abcdef", k=190)) for _ in range(170)]),
            of([" ".join(chance.choices("abcdef", k=190)) for _ in range(170)]),
        ),
        "one anchor a level": (
            of([f"{n}" for n in range(4000)] + [f"{n}" for n in range(4000)]),
            of([f"{n}" for n in range(3999, -1, -1)] + [f"{n}" for n in range(3999, -1, -1)]),
        ),
        "every other line": (
            of([f"{n}\nsame" for n in range(7000)]),
            of([f"x{n}\nsame" for n in range(7000)]),
        ),
    }


@pytest.mark.parametrize(("old", "new"), _adversarial().values(), ids=_adversarial().keys())
def test_an_adversarial_diff_ends_within_a_second(old: str, new: str) -> None:
    start = time.process_time()
    diff = compare(old, new)
    hunks(diff)
    took = time.process_time() - start
    assert (old_of(diff), new_of(diff)) == (old, new)
    assert took < slowness()
