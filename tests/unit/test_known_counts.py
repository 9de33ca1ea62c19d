"""Which counts a process remembers."""

from __future__ import annotations

from playhead.backends._sql_catalog.counts import Known

MANY = 20_000


def test_counts_of_few_rows_are_never_remembered_so_a_slow_machine_shows_no_old_ones():
    known = Known[int, str](60)
    known.keep(1, "none", 0)
    known.keep(2, "few", MANY - 1)
    assert (known.get(1), known.get(2)) == (None, None)


def test_counts_of_many_rows_are_remembered_until_they_are_forgotten():
    known = Known[int, str](60)
    known.keep(1, "many", MANY)
    assert known.get(1) == "many"
    known.forget(1)
    assert known.get(1) is None


def test_counts_of_many_rows_are_remembered_for_a_limited_time():
    known = Known[int, str](0)
    known.keep(1, "many", MANY)
    assert known.get(1) is None
