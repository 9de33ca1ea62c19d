"""A fix for a part of the documents carries over to the runs of the following days (`others_valid`).

Each day, some documents change, and a run processes what has changed. Twice, a fault of the step `chunk` is
fixed: a replay makes the chunks of the affected documents again, and a person declares that all others are
valid.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.integration.documents_by_day import REASON, Days, documents
from tests.servers.schema import emptied_schema


@pytest.fixture(params=["sqlite", "postgres"])
async def days(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Days]:
    async with AsyncExitStack() as stack:
        on: dict[str, Any] = {}
        if request.param == "postgres":
            on["catalog"] = await stack.enter_async_context(emptied_schema())
        yield await stack.enter_async_context(documents(tmp_path, **on))


@pytest.mark.timeout(300)
async def test_a_fix_for_a_part_carries_over_to_the_runs_of_the_following_days(days: Days):
    ph = days.ph
    await days.run(days.edit())

    # The first fix.
    days.fix()
    tables = days.those("tables")
    assert await days.numbers() == (len(days.oracle.texts), len(days.oracle.texts), 0)
    first = await days.replay(tables, others_valid=True, reason=REASON)
    others = days.older()
    assert others == set(days.oracle.texts) - tables
    assert await days.numbers() == (len(days.oracle.texts), 0, len(others))
    [one] = await days.declared()
    assert (one.route, one.from_stage, one.reason, str(one.execution_id)) == ("chunk", "docs", REASON, first)

    for _ in range(2):
        run = await days.run(days.edit())
        assert await days.numbers() == (len(days.oracle.texts), 0, len(days.older()))
        rows = [one for one in await ph.messages(run, route="chunk") if one["declared_valid"]]
        assert {row["input_key"].partition("/docs/")[2] for row in rows} == days.older()
        assert {row["adapters"][0]["code"] for row in rows} != {"sha256:2"}
        assert {row["declared_valid"]["execution_id"] for row in rows} == {first}
        assert {row["declared_valid"]["reason"] for row in rows} == {REASON}

    # The second fix; one of the selected documents fails, and keeps its old result only until the next run.
    days.fix()
    letters = days.those("letters")
    failed = {min(letters)}
    await days.replay(letters, failed, others_valid=True, reason="only letters")
    assert await days.numbers() == (len(days.oracle.texts), 1, len(days.older()) - 1)
    await days.run(days.edit(keep=failed), older=failed)
    assert await days.numbers() == (len(days.oracle.texts), 0, len(days.older()))

    # The declarations are undone.
    assert (await ph.post("datasets/docs/forget", {"route": "chunk"}))["declared_valid"] == []
    assert await days.declared() == []
    older = days.older()
    assert older
    assert await days.numbers() == (len(days.oracle.texts), len(older), 0)
    changed = days.edit()
    await days.run(changed, older=(older & set(days.oracle.texts)) - changed)
    assert await days.numbers() == (len(days.oracle.texts), 0, 0)


@pytest.mark.timeout(120)
async def test_without_a_declaration_results_of_older_code_run_again(days: Days):
    days.fix()
    await days.replay(days.those("tables"))

    await days.run(set(), older=days.older())
