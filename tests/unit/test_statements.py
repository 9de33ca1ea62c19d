"""Named SQL statements: reading a file, and the text for SQLite."""

from __future__ import annotations

import ast
import json
import re
import sqlite3
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

import playhead.backends.sql
from playhead.backends._sqlite import add_functions, statements
from playhead.backends.sql import migrations
from playhead.backends.sql.statements import FILES, SQL, Statement
from playhead.ids import mint, uuid7

HEAD = re.compile(r"^-- (?:name|fragment): (\w+)(?: \((\w+)\))?$", re.M)
PARAMETER = re.compile(r"(?<![:\w]):([a-z_0-9]+)(?:::(\w+)(\[\])?)?")
INSERTED_IN_BULK = {
    "insert_lanes",
    "insert_tags",
    "bind_inputs",
    "insert_listed",
    "bind",
    "insert_children",
    "refer",
    "insert_dispatches",
    "insert_terms",
    "insert_trigrams",
    "insert_term_uses",
}


def one(text: str) -> Statement:
    return Statement("one", {"postgresql": text, "sqlite": text})


# -- rendering -------------------------------------------------------------------------------------


def test_parameters_are_numbered_for_postgresql_and_keep_their_casts():
    found = one("SELECT n FROM t WHERE a = :a::uuid AND b < :b AND c <> :a::uuid")
    assert found.postgres({"a": 1, "b": 2}) == (
        "SELECT n FROM t WHERE a = $1::uuid AND b < $2 AND c <> $1::uuid",
        [1, 2],
    )


def test_sqlite_has_no_casts_row_locks_or_greatest_and_uses_index_hints():
    found = one(
        "SELECT greatest(n, :a::bigint), (b = 1)::int FROM t /* INDEXED BY i */ WHERE c IS DISTINCT FROM :c "
        "AND d IS NOT DISTINCT FROM :d ORDER BY n FOR NO KEY UPDATE OF t SKIP LOCKED"
    )
    assert found.sqlite({"a": 1, "c": 2, "d": 3}) == (
        "SELECT max(n, ?), (b = 1) FROM t INDEXED BY i WHERE c IS NOT ? AND d IS ? ORDER BY n",
        [1, 2, 3],
    )


@pytest.mark.parametrize(
    ("count", "marks"), [(0, ""), (1, "?"), (3, "?, ?, ?, ?"), (64, ", ".join("?" * 64))]
)
def test_a_short_array_is_a_list_of_one_of_few_lengths_in_sqlite(count: int, marks: str):
    text, bound = one("SELECT n FROM t WHERE n = ANY(:rows::bigint[])").sqlite({"rows": [*range(count)]})
    assert text == f"SELECT n FROM t WHERE n IN ({marks})"
    assert sorted(set(bound)) == [*range(count)]


def test_a_long_array_is_json_in_sqlite():
    ids = [uuid7() for _ in range(257)]
    text, (bound,) = one("DELETE FROM t WHERE id <> ALL(:ids::uuid[])").sqlite({"ids": ids})
    assert text == "DELETE FROM t WHERE id NOT IN (SELECT unhex(value) FROM json_each(?))"
    assert json.loads(bound) == [identity.hex for identity in ids]


def test_columns_are_rows_of_json_in_sqlite():
    identity = uuid7()
    text, (bound,) = one("SELECT * FROM unnest(:ids::uuid[], :numbers::int[])").sqlite(
        {"ids": [str(identity)], "numbers": [7]}
    )
    assert text == "SELECT unhex(json_extract(value, '$[0]')), json_extract(value, '$[1]') FROM json_each(?)"
    assert json.loads(bound) == [[identity.hex, 7]]


def test_a_line_is_left_out_when_its_parameter_is_not_given():
    found = one("SELECT n FROM t WHERE a = :a\nAND b = :b -- if given\nLIMIT :limit")
    assert found.postgres({"a": 1, "b": 2, "limit": 3}) == (
        "SELECT n FROM t WHERE a = $1 AND b = $2 LIMIT $3",
        [1, 2, 3],
    )
    assert found.sqlite({"a": 1, "b": None, "limit": 3}) == ("SELECT n FROM t WHERE a = ? LIMIT ?", [1, 3])


def test_many_rows_are_inserted_by_few_statements_in_sqlite_and_by_arrays_in_postgresql():
    found = one("INSERT INTO t (a, b, c) VALUES (:a::uuid, 0, coalesce(:c::text, '')) ON CONFLICT DO NOTHING")
    assert found.postgres_insert() == (
        "INSERT INTO t (a, b, c) SELECT g.a, 0, coalesce(g.c, '') "
        "FROM unnest($1::uuid[], $2::text[]) AS g (a, c) ON CONFLICT DO NOTHING"
    )
    inserts = list(found.sqlite_inserts([(n, "x") for n in range(37)]))
    assert [len(bound) // 2 for _, bound in inserts] == [32, 4, 1]
    assert inserts[-1] == (
        "INSERT INTO t (a, b, c) VALUES (?, 0, coalesce(?, '')) ON CONFLICT DO NOTHING",
        [36, "x"],
    )


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("INSERT INTO t (a, b) VALUES (:a::uuid, :other::text)", ("t", ["a", "b"])),
        ("INSERT INTO t (a, b) VALUES (:a::uuid, 1)", None),
        ("INSERT INTO t (a) VALUES (:a::uuid) ON CONFLICT DO NOTHING", None),
        ("INSERT INTO t (a) VALUES (:a::uuid) RETURNING a", None),
    ],
)
def test_only_an_insert_of_given_values_alone_can_be_a_copy(text: str, target: object):
    assert one(text).copy_target == target


def test_an_unknown_statement_is_an_error():
    with pytest.raises(AttributeError, match="no statement is named nothing"):
        SQL.nothing  # noqa: B018


# -- the statements of Playhead --------------------------------------------------------------------


def source(file: str) -> str:
    return (resources.files(playhead.backends.sql) / file).read_text("utf-8")


@pytest.mark.parametrize("file", FILES)
def test_each_statement_is_described(file: str):
    text = source(file)
    for head in HEAD.finditer(text):
        assert text[head.end() :].startswith("\n-- "), f"{head[1]} has no description"


@pytest.mark.parametrize("file", FILES)
def test_no_state_is_a_literal_number(file: str):
    literal = re.compile(r"\b(state|published)\s*(=|<>|IN \()\s*-?\d")
    assert not literal.findall(source(file))


def test_each_statement_is_used_and_each_used_one_exists():
    defined = {statement.name for statement in SQL}
    used: set[str] = set()
    for module in Path(str(resources.files(playhead.backends))).rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
                continue
            if node.value.id == "SQL":
                used.add(node.attr)
    assert used == defined


def test_each_name_is_given_once():
    heads = [head[0] for file in FILES for head in HEAD.finditer(source(file))]
    assert sorted(set(heads)) == sorted(heads)


def test_each_statement_is_valid_in_sqlite_with_and_without_its_optional_parameters():
    con = sqlite3.connect(":memory:")
    add_functions(con, lambda: 0.0)
    for step in migrations("sqlite"):
        for part in statements(step.sql):
            con.execute(part)
    con.execute(SQL.create_trigrams.sqlite({})[0])
    for statement in SQL:
        for optional in (True, False):
            for text, bound in _texts(statement, optional):
                if text:
                    con.execute(f"EXPLAIN {text}", bound)


@pytest.mark.parametrize("file", ["canary.sql", "control.sql", "selection.sql", "outcomes.sql", "trace.sql"])
def test_no_statement_over_messages_reads_a_whole_table_in_sqlite(file: str):
    con = sqlite3.connect(":memory:")
    add_functions(con, lambda: 0.0)
    for step in migrations("sqlite"):
        for part in statements(step.sql):
            con.execute(part)
    names = {head[1] for head in HEAD.finditer(source(file))}
    found = [statement for statement in SQL if statement.name in names]
    assert len(found) > 2
    for statement in found:
        for optional in (True, False):
            for text, bound in _texts(statement, optional):
                # Arrays of one value, because SQLite drops the search for a value in an empty list.
                text = text.replace("IN ()", "IN (1)")
                steps = [row[3] for row in con.execute(f"EXPLAIN QUERY PLAN {text}", bound)]
                scans = [
                    step for step in steps if re.match("SCAN (m|o|e|p|messages|outputs|executions)\\b", step)
                ]
                assert scans == [], f"{statement.name}: {steps}"


def _texts(statement: Statement, optional: bool) -> list[tuple[str, list[Any]]]:
    text = statement.texts["sqlite"]
    parameters = PARAMETER.findall(text)
    if statement.name in INSERTED_IN_BULK:
        return list(statement.sqlite_inserts([[None] * len(parameters)]))
    values: dict[str, Any] = {}
    for name, kind, array in parameters:
        values[name] = [] if array else mint(1)[0] if kind == "uuid" else 1
    if not optional:
        lines = [line for line in text.splitlines() if line.endswith("-- if given")]
        values |= dict.fromkeys((found[1] for line in lines for found in PARAMETER.finditer(line)), None)
    return [statement.sqlite(values)]
