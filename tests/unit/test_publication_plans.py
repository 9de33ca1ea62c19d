"""Pages of a publication are read in the order of an index, so that no page sorts all entries."""

from __future__ import annotations

import sqlite3

import pytest

from playhead.backends.sql import migrations
from playhead.backends.sql.statements import SQL, Statement

PAGED = {
    "rewind_newer": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "rewind_older": "published_last (dataset=? AND last=? AND n>?)",
    "duplicates": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "added_entries": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "first_entries": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "closed_entries": "published_last (dataset=? AND last=? AND n>?)",
    "droppable_entries": "published_last (dataset=? AND last=? AND n>?)",
    "undo_added": "INTEGER PRIMARY KEY (rowid>?)",
    "next_added": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "next_closed": "published_last (dataset=? AND last=? AND n>?)",
    "next_content": "INTEGER PRIMARY KEY (rowid>?)",
}
GIVEN = {
    "dataset": 1,
    "number": 1,
    "after": 0,
    "limit": 1,
    "base": 1,
    "draft": 1,
    "n": 1,
    "stage": "a",
    "decided": 0,
}


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
