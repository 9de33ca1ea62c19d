"""Totals that are counted while the execution runs again are never recorded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.catalog_memory import MemoryCatalog
from tests.lab import Clock, Lab


@pytest.mark.parametrize("ends_again", [False, True])
async def test_totals_are_not_recorded_if_the_execution_ran_again_after_the_count(ends_again: bool):
    between: list[Callable[[], Awaitable[None]]] = []
    transactions = 0

    async def pause() -> None:
        nonlocal transactions
        transactions += 1
        if between and transactions == 2:  # after the count, before the record
            await between.pop()()

    clock = Clock()
    catalog = MemoryCatalog(clock=clock, pause=pause)
    lab = Lab(catalog, clock)
    run = await lab.started("a.md")
    await lab.kill(run.ids[0])
    assert await catalog.end_executions([run.execution])

    async def reopen() -> None:
        await catalog.resend(ids=run.ids)
        [split] = lab.ids(await lab.work(run.ids[0], lab.output("a.md", "page")))
        if ends_again:
            await lab.work(split)
            assert await catalog.end_executions([run.execution])

    between.append(reopen)
    transactions = 0
    before = await catalog.stage_totals(run.execution)
    after = await catalog.stage_totals(run.execution)

    assert before is not None
    assert after is not None
    assert not between
    assert [one.objects for one in before.stages] == [1, 0, 0]
    assert [one.objects for one in after.stages] == [1, 1, 0]
    assert after.is_final is ends_again
