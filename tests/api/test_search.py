"""Search over HTTP, and the lists that the command line needs: adapters, error codes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from playhead import Context, Item
from playhead.adapters.sqlite_search import SqliteSearch, SqliteSearchConfig
from playhead.api.errors import ERRORS
from playhead.ids import uuid7

if TYPE_CHECKING:
    from tests.api.server import Playhead


def fill(data: Path, execution: UUID, **texts: str) -> None:
    """Add texts to the index `search.db`, as a worker of that execution would."""
    data.mkdir(exist_ok=True)
    step = SqliteSearch(SqliteSearchConfig(path="search.db"))
    ctx = Context(execution, uuid7(), "docs", 1, "index", 1, None, str(data), logging.getLogger())
    for name, text in texts.items():
        step(Item(name, text.encode(), key=f"{execution}/segments/{name}"), ctx)
    step.close()


@pytest.fixture
def executions(tmp_path: Path) -> list[UUID]:
    found = [uuid7(), uuid7()]
    for execution in found:
        fill(tmp_path / "data", execution, one="red and green", two="green")
    return found


async def test_an_index_is_searched_for_the_newest_entries_or_those_of_a_given_execution(
    playhead: Playhead, executions: list[UUID]
):
    older, newest = map(str, executions)
    [hit] = await playhead.items("search", index="search.db", words="red blue")
    assert (hit["key"], hit["execution_id"]) == (f"{newest}/segments/one", newest)
    assert "[red]" in hit["snippet"]
    assert isinstance(hit["score"], float)
    hits = await playhead.items("search", index="search.db", words="green", execution=older)
    assert [hit["execution_id"] for hit in hits] == [older, older]
    assert len(await playhead.items("search", index="search.db", words="green", limit=1)) == 1


@pytest.mark.parametrize(
    ("index", "status", "code"),
    [
        ("other.db", 404, "index_not_found"),
        ("../playhead.db", 400, "invalid_path"),
        ("/etc/passwd", 400, "invalid_path"),
        ("a/../../b", 400, "invalid_path"),
        ("out/playhead.db", 400, "invalid_path"),
        ("x" * 300, 400, "invalid_path"),
    ],
)
async def test_only_files_in_the_data_folder_are_searched(
    playhead: Playhead, tmp_path: Path, index: str, status: int, code: str
):
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "playhead.db").touch()
    (tmp_path / "data" / "out").symlink_to(tmp_path)
    answer = await playhead.get("search", status, index=index, words="x")
    assert answer["error_code"] == code


async def test_adapters_are_listed_with_the_schema_of_their_config(playhead: Playhead):
    page = await playhead.get("adapters")
    assert [a["type"] for a in page["items"]] == ["keep", "split", "upper"]
    upper: dict[str, Any] = page["items"][2]
    assert (upper["produces"], upper["effects"], upper["config"]) == ("text/markdown", "none", None)


async def test_error_codes_are_listed_with_their_status(playhead: Playhead):
    listed = {e["code"]: e["status"] for e in await playhead.items("errors")}
    assert listed == {error.code: error.status for error in ERRORS}
