"""An index follows what is published: also when it was damaged, restored from a backup, or moved."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from playhead.adapters.sqlite_search import search
from playhead.errors import Conflict
from playhead.model import Dataset, PruneFilter, PublishRequest, SinkRepair, SinkState
from playhead.services.repair import RepairService
from playhead.work.sinks import SinkFollower
from tests.inprocess import Playhead, opened
from tests.integration.test_publications import DOCS, Splitter, published
from tests.waiting import until

INDEXED = (
    DOCS.replace("{stage: seg}", "{stage: seg, to: [index]}")
    + """
  index:
    adapters: [{type: sqlite_search, config: {path: search.db}}]
"""
)


OF_B = "SELECT result FROM entry WHERE path = 'b/1'"


class Indexed:
    """A Playhead with a dataset and its index."""

    def __init__(self, ph: Playhead, home: Path) -> None:
        self.ph = ph
        self.home = home
        self.file = home / "data" / "search.db"
        self.service = ph.rt.services.publish

    def shown(self, n: int | None = None) -> dict[str, str]:
        """Return path and execution of all rows that a search finds."""
        found = search(self.file, "w", limit=1_000, publication=n)
        assert len({one.path for one in found}) == len(found)
        return {one.path: str(one.execution_id) for one in found}

    def change(self, statement: str) -> None:
        with closing(sqlite3.connect(self.file)) as db, db:
            db.execute(statement)

    async def dataset(self) -> Dataset:
        return await self.service.dataset("docs")

    async def index(self) -> SinkState:
        [found] = (await self.dataset()).sinks
        return found

    async def up_to_date(self) -> None:
        async def is_so() -> bool:
            found = await self.dataset()
            return all(one.seq == found.seq and not one.is_checked for one in found.sinks)

        await until(is_so)

    async def checked(self, *, repair: bool = False) -> tuple[int, int]:
        """Return how many results are missing, and how many are left over."""
        await self.service.check("docs", repair=repair)

        async def is_checked() -> bool:
            return not (await self.index()).is_checked

        await until(is_checked)
        found = (await self.index()).check
        assert found
        return found.missing, found.left_over

    async def repaired(self) -> SinkRepair:
        """Repair the index, let workers write lost rows again, and return how it was done."""
        await self.service.check("docs", repair=True)

        async def is_repaired() -> bool:
            await self.service.publish_repaired()
            index = await self.index()
            if index.is_checked or index.repair is None:
                return False
            for one in index.repair.replays if index.repair.is_open else ():
                await self.ph.work(one)
            return not index.repair.is_open

        await until(is_repaired)
        await self.up_to_date()
        found = (await self.index()).repair
        assert found
        return found

    async def replay(self, source: str) -> str:
        execution = str((await self.ph.replay(source, "md", "segment"))["execution_id"])
        await self.ph.work(execution)
        return execution


@pytest.fixture
async def of(tmp_path: Path) -> AsyncIterator[Indexed]:
    async with opened(tmp_path / "home") as ph:
        await ph.apply(INDEXED)
        Splitter(ph)
        yield Indexed(ph, tmp_path / "home")


async def test_a_search_finds_what_is_published_and_nothing_else(of: Indexed):
    one = await of.ph.run({"a": "w w", "b": "w"})
    assert of.shown() == {"a/1": one, "a/2": one, "b/1": one}, "as long as nothing is published"
    await published(of.ph, one)
    await of.up_to_date()
    two = await of.replay(one)
    assert of.shown() == {"a/1": one, "a/2": one, "b/1": one}
    await published(of.ph, two)
    await of.up_to_date()
    assert of.shown() == {"a/1": two, "a/2": two, "b/1": two}
    assert of.shown(1) == {"a/1": one, "a/2": one, "b/1": one}
    three = await of.ph.run({"a": "w"})
    await published(of.ph, three, allow=["removed"])
    await of.up_to_date()
    assert of.shown() == {"a/1": three}
    await of.service.roll_back("docs", 1)
    await of.up_to_date()
    assert of.shown() == {"a/1": one, "a/2": one, "b/1": one}
    assert await of.checked() == (0, 0)


async def test_a_process_that_ends_waits_for_what_its_loops_have_begun_to_publish(of: Indexed):
    await of.ph.apply(INDEXED.replace("{docs: {}}", "{docs: {publish: automatic}}"))
    one = await of.ph.run({"a": "x w"})
    await of.service.publish_automatic()
    await of.ph.rt.finish_outcome()
    found = await of.dataset()
    assert (found.current, found.sinks[0].shown) == (1, 1)
    assert of.shown() == {"a/2": one}


async def test_a_message_without_rows_is_published(of: Indexed):
    await of.ph.apply(
        INDEXED.replace(
            "[{type: sqlite_search, ",
            "[{type: passthrough, condition: {field: path, operator: equals, value: a/1, otherwise: drop}}, "
            "{type: sqlite_search, ",
        )
    )
    one = await of.ph.run({"a": "w w", "b": "w"})
    await published(of.ph, one)
    await of.up_to_date()
    assert of.shown() == {"a/1": one}
    assert await of.checked() == (0, 0)


async def test_missing_and_left_over_results_are_found_and_repaired(of: Indexed):
    one = await of.ph.run({"a": "w w", "b": "w"})
    await published(of.ph, one)
    two = await of.replay(one)
    await published(of.ph, two)
    await of.up_to_date()
    of.change(f"DELETE FROM live WHERE last IS NULL AND result IN ({OF_B})")
    of.change(f"UPDATE live SET last = NULL WHERE last IS NOT NULL AND result IN ({OF_B})")
    assert await of.checked() == (1, 1)
    found = (await of.index()).check
    assert found
    assert (found.publication, found.stages) == (2, ["seg"])
    assert found.first_missing == [f"{two}/seg/b/1"]
    assert await of.checked(repair=True) == (0, 0)
    assert of.shown() == {"a/1": two, "a/2": two, "b/1": two}
    # It began again with the publication that was repaired.
    await of.service.roll_back("docs", 1)
    assert "it begins with publication 2" in str((await of.index()).problem)
    assert await of.checked(repair=True) == (0, 0)
    assert of.shown() == {"a/1": one, "a/2": one, "b/1": one}
    await published(of.ph, await of.replay(one))
    await of.up_to_date()
    assert await of.checked() == (0, 0)


async def test_rows_that_were_lost_are_named_and_written_again_by_a_replay(of: Indexed):
    one = await of.ph.run({"a": "w w", "b": "w"})
    of.change("DELETE FROM entry_text WHERE rowid IN (SELECT written FROM entry WHERE path = 'b/1')")
    of.change("DELETE FROM entry WHERE path = 'b/1'")
    with pytest.raises(Conflict, match="index lacks rows of 1 results, the first for seg/b/1") as refused:
        await published(of.ph, one)
    assert refused.value.code == "sink_rows_missing"
    again = str((await of.ph.replay(one, "seg", "index"))["execution_id"])
    await of.ph.work(again)
    await published(of.ph, one, again)
    await of.up_to_date()
    assert of.shown() == {"a/1": again, "a/2": again, "b/1": again}


async def test_an_index_from_a_backup_refuses_publications_until_it_is_rebuilt(of: Indexed):
    one = await of.ph.run({"a": "w w", "b": "w"})
    await published(of.ph, one)
    await of.up_to_date()
    with closing(sqlite3.connect(of.file)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    backup = of.file.with_suffix(".bak")
    shutil.copy(of.file, backup)
    await published(of.ph, await of.replay(one))
    await of.up_to_date()
    for path in of.file.parent.glob("search.db*"):
        if path != backup and path.suffix != ".bak":
            path.unlink()
    shutil.copy(backup, of.file)
    three = await of.replay(one)
    with pytest.raises(Conflict, match="index has missed an earlier publication") as refused:
        await published(of.ph, three)
    assert refused.value.code == "sink_behind"
    missing, left_over = await of.checked(repair=True)
    assert (missing, left_over) == (3, 0), "the rows of the second publication are not in the backup"
    assert of.shown() == {"a/1": one, "a/2": one, "b/1": one}, "a whole publication"
    repair = await of.repaired()
    assert (repair.results, repair.publication) == (3, 4)
    [four] = repair.replays
    assert of.shown() == {"a/1": four, "a/2": four, "b/1": four}
    assert await of.checked() == (0, 0)


async def test_a_new_index_gets_all_that_is_published(of: Indexed):
    one = await of.ph.run({"a": "w w", "b": "w"})
    await published(of.ph, one)
    await of.up_to_date()
    await of.ph.apply(INDEXED.replace("search.db", "other.db"))
    two = str((await of.ph.replay(one, "seg", "index"))["execution_id"])
    await of.ph.work(two)
    await published(of.ph, two)
    await of.up_to_date()
    of.file = of.file.with_name("other.db")
    assert of.shown() == {"a/1": two, "a/2": two, "b/1": two}


async def test_rows_of_a_pruned_execution_are_deleted_although_no_publication_was_dropped(of: Indexed):
    one = await of.ph.run({"a": "w w", "b": "w"})
    await published(of.ph, one)
    two = await of.replay(one)
    await of.up_to_date()
    await of.service.drafts.drop_due()
    await of.ph.rt.services.prune.prune(PruneFilter([UUID(two)]))
    with closing(sqlite3.connect(of.home / "playhead.db", timeout=30)) as db, db:
        db.execute("UPDATE sinks SET forgot_at = 0")  # as an hour later

    async def forgotten() -> bool:
        await of.service.drafts.drop_due()
        with closing(sqlite3.connect(of.file)) as db:
            return not db.execute("SELECT 1 FROM entry WHERE execution_id = ?", (two,)).fetchone()

    await until(forgotten)
    assert of.shown() == {"a/1": one, "a/2": one, "b/1": one}


LEAKY = """
from pydantic import BaseModel, SecretStr

from playhead import Item, adapter


class Settings(BaseModel):
    url: SecretStr


@adapter("leaky", sink=True)
class Leaky:
    def __init__(self, config: Settings) -> None:
        self.config = config

    def __call__(self, item: Item) -> None:
        return None

    def stage(self, page, ctx):
        raise OSError(f"no connection to {self.config.url.get_secret_value()}")

    switch = forget = shown = results = stage
"""


async def test_the_problem_of_a_sink_contains_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LEAKY_URL", "db://user:hunter22@host")
    (tmp_path / "leaky.py").write_text(LEAKY)
    async with opened(tmp_path / "home", more=[tmp_path / "leaky.py"], secrets_env=("LEAKY_URL",)) as ph:
        leaky = "leaky, config: {url: '${env:LEAKY_URL}'}"
        await ph.apply(INDEXED.replace("sqlite_search, config: {path: search.db}", leaky))
        Splitter(ph)
        run = await ph.run({"a": "w"})
        await ph.rt.services.publish.begin("docs", PublishRequest([UUID(run)]))

        async def problem() -> str | None:
            sinks = (await ph.rt.services.publish.dataset("docs")).sinks
            return sinks[0].problem if sinks else None

        await until(problem)
        assert await problem() == "OSError: no connection to ***"
        await ph.rt.services.publish.cancel("docs")


async def test_a_call_of_a_sink_that_does_not_return_is_reported_until_it_does(tmp_path: Path):
    steps = Path(__file__).parents[1] / "acceptance" / "hanging_steps.py"
    async with opened(tmp_path / "home", more=[steps]) as ph:
        await ph.apply(INDEXED.replace("sqlite_search, config: {path: search.db}", "waits"))
        Splitter(ph)
        run = await ph.run({"a": "w"})
        impatient = SinkFollower(
            *(ph.rt.catalog, ph.rt.adapters, ph.rt.environment),
            data_dir=str(tmp_path),
            write_again=RepairService(ph.rt.catalog, ph.rt.services.replay.start).write_again,
            slow_seconds=0.01,
        )
        draft = await ph.rt.services.publish.begin("docs", PublishRequest([UUID(run)]))

        async def problem() -> str | None:
            await impatient.follow(0)
            sinks = (await ph.rt.services.publish.dataset("docs")).sinks
            return sinks[0].problem if sinks else None

        await until(problem)
        assert await problem() == "stage() has not returned after 0.01 seconds"
        (tmp_path / "go-on").touch()
        (tmp_path / "home" / "data" / "go-on").touch()

        async def is_staged() -> bool:
            found = await ph.rt.services.publish.publication("docs", draft.n)
            return found.state == "published" and await problem() is None

        await until(is_staged)


@pytest.mark.parametrize("is_replaced", [False, True])
async def test_rows_are_not_written_to_an_index_that_was_removed(of: Indexed, *, is_replaced: bool):
    async def run(path: str) -> str:
        files = [("files", (path, b"w"))]
        answer = await of.ph.http.post("/api/v1/configs/docs/run", files=files)
        return str((await of.ph.ended(answer.json()["execution_id"]))["execution_id"])

    async with of.ph.working():
        one = await run("a")
        backup = of.file.with_suffix(".bak")
        with closing(sqlite3.connect(of.file)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(of.file, backup)
        for path in of.file.parent.glob("search.db*"):
            path.unlink()
        if is_replaced:
            backup.rename(of.file)
        two = await run("b")
    assert of.shown() == ({"a/1": one} if is_replaced else {}) | {"b/1": two}
