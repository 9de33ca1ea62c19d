"""Which counts of messages a process remembers."""

from __future__ import annotations

from playhead.backends._sql_catalog.counts import KnownCounts

MANY = 20_000


def test_counts_of_few_rows_are_never_remembered_so_a_slow_machine_shows_no_old_ones():
    known = KnownCounts()
    known.keep(1, {})
    known.keep(2, {(1, 0): MANY - 1})
    assert (known.get(1), known.get(2)) == (None, None)


def test_counts_of_many_rows_are_remembered_until_they_are_forgotten():
    known = KnownCounts()
    known.keep(1, {(1, 0): MANY})
    assert known.get(1) == {(1, 0): MANY}
    known.forget(1)
    assert known.get(1) is None
