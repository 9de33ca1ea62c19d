"""Sinks that follow publications, with random histories, and sinks with a fault, which must be found."""

from __future__ import annotations

import json
from typing import Any

import pytest

from playhead import Item, adapter
from playhead.adapters.sqlite_search import SqliteSearch
from playhead.adapters.sqlite_vectors import SqliteVectors
from playhead.ports.sinks import LiveTables, StagePage
from playhead.testing import check_sink

VECTOR = Item("a/1.json", json.dumps({"text": "a", "vector": [1.0, 0.5]}).encode())


def test_the_index_shows_whole_publications_in_any_history():
    check_sink(SqliteSearch, Item("a.md", b"the text"), {"path": "search.db"}, schedules=25)


def test_the_file_of_vectors_shows_whole_publications_in_any_history():
    check_sink(SqliteVectors, VECTOR, {"path": "vectors.db"}, schedules=25)


def test_an_adapter_without_the_methods_is_refused():
    @adapter("no_sink")
    def no_sink(item: Item) -> None:
        return None

    with pytest.raises(TypeError, match="stage, switch, forget, shown, results"):
        check_sink(no_sink, Item("a.md", b""))


class _Broken(LiveTables):
    """Without one of the rules, as statements that do nothing."""

    def __init__(self, rule: str) -> None:
        super().__init__("sqlite", "entry", deletes=SqliteSearch.tables._deletes)
        self._rule = rule

    def _without(self, script: Any) -> Any:
        rows: Any = None
        while True:
            try:
                statement, values = script.send(rows)
            except StopIteration as end:
                return end.value
            rows = [] if self._rule in statement else (yield statement, values)

    def stage(self, page: StagePage, ctx: Any) -> Any:
        if self._rule == "fence" and page.of > 1:
            page = StagePage(page.n + 1_000, page.k, page.of, page.after, page.added, page.removed)
        return (yield from self._without(super().stage(page, ctx)))

    def switch(self, n: int, seq: int, ctx: Any) -> Any:
        for statement, values in super().switch(n, seq, ctx):
            if self._rule == "any switch":
                statement = statement.replace("AND seq < ?3", "")
            if self._rule == "incomplete":
                statement = statement.replace("AND complete >= ?2", "")
            yield statement, values

    def forget(self, dropped: Any, upto: int, executions: Any, ctx: Any) -> Any:
        if self._rule == "everything":
            dropped = [range(1_000)]
        return (yield from super().forget(dropped, upto, executions, ctx))


@pytest.mark.parametrize(
    "rule",
    ["first > ?2 AND first < ?3", "SET last = NULL", "SET last = ?2", "any switch", "everything", "fence"],
)
def test_a_sink_that_breaks_a_rule_is_found(rule: str):
    @adapter("broken_search", sink=True)
    class Broken(SqliteSearch):
        tables = _Broken(rule)

    with pytest.raises(AssertionError, match="seed"):
        check_sink(Broken, Item("a.md", b"the text"), {"path": "search.db"}, schedules=200)
