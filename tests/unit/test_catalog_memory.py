"""The transactions of the catalog in memory. Its statements are those of SQLite."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from tests.catalog_memory import MemoryTransactions
from tests.lab import Clock


@pytest.mark.parametrize(("fails", "kept"), [(True, 0), (False, 1)])
async def test_what_a_body_wrote_is_kept_only_if_it_does_not_fail(fails: bool, kept: int):
    transactions = MemoryTransactions(Clock())

    async def body(session):
        transactions.con.execute("INSERT INTO configs (name, active, created_at) VALUES ('docs', true, 0)")
        if fails:
            raise LookupError("after the statement")

    with pytest.raises(LookupError) if fails else nullcontext():
        await transactions.write(body)

    assert not transactions.con.in_transaction
    assert transactions.con.execute("SELECT count(*) FROM configs").fetchone() == (kept,)
