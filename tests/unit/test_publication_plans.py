"""Pages of a publication are read in the order of an index, so that no page sorts all entries."""

from __future__ import annotations

import sqlite3

import pytest

from playhead.backends.sql import migrations
from playhead.backends.sql.statements import SQL, Statement

PAGED = {
    "rewind_newer": "published_first (dataset=? AND first=? AND n>?)",
    "rewind_older": "published_last (dataset=? AND last=? AND n>?)",
    "duplicates": "published_first (dataset=? AND first=? AND n>?)",
    "added_entries": "published_first (dataset=? AND first=? AND n>?)",
    "closed_entries": "published_last (dataset=? AND last=? AND n>?)",
    "droppable_entries": "published_last (dataset=? AND last=? AND n>?)",
    "next_changes": "published_last (dataset=? AND last=? AND n>?)",
    "next_content": "INTEGER PRIMARY KEY (rowid>?)",
}
GIVEN = {"dataset": 1, "number": 1, "after": 0, "limit": 1, "base": 1, "draft": 1, "n": 1, "stage": "a"}


@pytest.mark.parametrize("name", PAGED)
def test_a_page_is_in_the_order_of_an_index(name: str):
    con = sqlite3.connect(":memory:")
    con.create_function("playhead_now", 0, lambda: 0.0)
    for one in migrations("sqlite"):
        con.executescript(one.sql)
    statement: Statement = getattr(SQL, name)
    text, values = statement.sqlite(GIVEN)

    plan = [row[3] for row in con.execute(f"EXPLAIN QUERY PLAN {text}", values)]

    assert any(PAGED[name] in line for line in plan), plan
    assert not any("TEMP B-TREE" in line for line in plan), plan
