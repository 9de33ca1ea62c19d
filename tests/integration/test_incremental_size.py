"""What it costs to take over results: in proportion to their number, also if one message has most of them.
Outputs below unchanged inputs are copied by the database."""

from __future__ import annotations

from pathlib import Path

from playhead.backends._sqlite import Connection, Database
from playhead.backends.catalog_sqlite import SqliteCatalog
from playhead.backends.sql.statements import SQL, Statement
from playhead.ids import uuid7
from playhead.model import AdapterCode
from playhead.ports.catalog.jobs import Listed
from playhead.ports.catalog.prune import Candidate
from playhead.ports.catalog.runs import Reusable
from playhead.ports.catalog.work import Done
from tests.contract.test_catalog_takeover import bound, finished, under
from tests.lab import Clock, Lab

CODE = [AdapterCode("step", "1", "sha256:aa")]


class Steps:
    """Counts the instructions of the virtual machine of SQLite that the writing connection executes."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.count = 0

    async def begin(self) -> None:
        def watch(con: Connection) -> None:
            con.set_progress_handler(self._note, 100)

        await self._db.write(watch)

    def _note(self) -> int:
        self.count += 100
        return 0


class Statements:
    """Collects the texts of the statements that the writing connection executes."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.texts: list[str] = []

    async def begin(self) -> None:
        await self._db.write(lambda con: con.set_trace_callback(self.texts.append))

    def count(self, statement: Statement) -> int:
        head = " ".join(statement.texts["sqlite"].split())[:60]
        return sum(text.startswith(head) for text in self.texts)


async def steps_for(folder: Path, outputs: int) -> int:
    """Return the instructions of a page with one input, whose earlier message had this number of outputs."""
    db = Database(folder / f"{outputs}.db")
    await db.open()
    try:
        lab = Lab(SqliteCatalog(db), Clock())
        source = await lab.started("b.md")
        claim = await lab.claim(source.ids[0])
        bound = await lab.bind(claim, *(lab.output(f"b/{n}.md") for n in range(outputs)))
        ran = await lab.catalog.record_code(CODE)
        keys = [one.key for one in bound]
        assert await lab.catalog.finish("w1", [Done(claim.correlation_id, claim.attempt, keys, ran=ran)])
        since = Reusable(source.execution, {"convert": [CODE], "split": [CODE]})
        run = await lab.catalog.open_run(
            uuid7(), "docs", await lab.save(), tags=(), owner="w1", lease=lab.LEASE, reuse=since
        )
        await lab.catalog.bind_inputs(run.execution_id, [lab.input("b.md")], takes_over=True)
        assert await lab.catalog.seal(run.execution_id)
        held = await lab.hold(run.execution_id)
        key = f"{run.execution_id}/input/b.md"
        steps = Steps(db)
        await steps.begin()
        await lab.catalog.record(held, [Listed(key, "input")], cursor=key, last=True)
        counts = await lab.counts(run.execution_id)
        assert (counts.taken_over, counts.pending) == (1, outputs)
        return steps.count
    finally:
        await db.close()


async def steps_of_prune(folder: Path, runs: int) -> int:
    """Return the instructions of the last of many prunes: that of the last but one of this number of runs."""
    db = Database(folder / f"{runs}-runs.db")
    await db.open()
    try:
        lab = Lab(SqliteCatalog(db), Clock())
        catalog = lab.catalog
        inputs = [lab.input(f"{n}.md") for n in range(20)]
        source = await lab.sealed(*(one.path for one in inputs))
        executions = [source]
        for _ in range(runs):
            since = Reusable(executions[-1], {})
            run = await catalog.open_run(
                uuid7(), "docs", await lab.save(), tags=(), owner="w1", lease=lab.LEASE, reuse=since
            )
            assert len(await catalog.bind_inputs(run.execution_id, inputs, takes_over=True)) == len(inputs)
            assert await catalog.seal(run.execution_id)
            executions.append(run.execution_id)
        for execution in executions:
            await catalog.cancel(execution)
        steps = Steps(db)
        for execution in executions[:-1]:
            [pruning] = await catalog.begin_prune([Candidate(execution, (), None)])
            await steps.begin()
            steps.count = 0
            page = await catalog.prune_page(pruning, limit=100)
            assert page is not None
            assert page.keys == []
            await catalog.end_prune(pruning)
        return steps.count
    finally:
        await db.close()


async def test_the_cost_of_a_prune_does_not_grow_with_the_references_that_are_pruned(tmp_path: Path):
    few, many = [await steps_of_prune(tmp_path, runs) for runs in (3, 60)]
    assert many <= 1.5 * few


async def test_many_outputs_of_one_message_cost_in_proportion(tmp_path: Path):
    few, many = [await steps_for(tmp_path, outputs) for outputs in (300, 3000)]
    assert many <= 20 * few


async def test_no_output_of_an_unchanged_input_is_read(tmp_path: Path):
    db = Database(tmp_path / "catalog.db")
    await db.open()
    try:
        lab = Lab(SqliteCatalog(db), Clock())
        source = await finished(lab, "a", "b")
        run, _ = await bound(lab, source.execution, lab.input("a"), lab.input("b"))
        held = await lab.hold(run)
        statements = Statements(db)
        await statements.begin()
        await lab.list_all(held, *under(run, "input/a", "input/b"))
        counts = await lab.counts(run)
        assert counts.taken_over == counts.total == 8
        assert statements.count(SQL.copy_outputs) == 2  # the last routes have no outputs
        assert statements.count(SQL.outputs_of) == 0
    finally:
        await db.close()
