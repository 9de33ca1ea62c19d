"""Processes on PostgreSQL: the lost answer to a COMMIT, migrations, the checks of `doctor`."""

from __future__ import annotations

from pathlib import Path

import pytest

from playhead import bootstrap
from playhead.bootstrap import open_runtime
from playhead.errors import NotFound, Unavailable
from playhead.ports.catalog.browse import ExecutionFilter
from playhead.settings import Settings
from tests.lab import KEEP, pages
from tests.servers.commits import Commits
from tests.waiting import until, until_told


async def test_a_commit_with_a_lost_answer_is_reported_as_possibly_done(url: str, tmp_path: Path):
    with Commits(url) as network:
        async with open_runtime(Settings(home=tmp_path, catalog=network.url)) as rt:
            await rt.services.configs.apply(KEEP)
            network.lose("INSERT INTO configs")
            with pytest.raises(Unavailable, match="may have happened"):
                await rt.services.configs.apply(KEEP.replace("docs", "others"))

            # The commit may still be running when its answer is lost.
            found = await until_told(lambda: rt.services.configs.get("others"), NotFound)
            assert found.version == 1


@pytest.mark.parametrize("statement", ["INSERT INTO jobs", "SET state = 'publishing'"])
async def test_a_run_with_a_lost_answer_to_its_start_does_not_stay_open(
    url: str, tmp_path: Path, statement: str
):
    with Commits(url) as network:
        settings = Settings(home=tmp_path, catalog=network.url)
        async with open_runtime(settings, kind="serve") as rt:
            await rt.services.configs.apply(KEEP)
            network.lose(statement)
            with pytest.raises(Unavailable):
                await rt.services.submit.run("docs", pages())

            async def is_cancelled() -> bool:
                found, _ = await rt.catalog.executions(ExecutionFilter())
                return [run.status for run in found] == ["cancelled"]

            await until(is_cancelled, "the run to be cancelled")


async def test_migrate_reports_its_steps_if_catalog_and_broker_share_a_database(url: str, tmp_path: Path):
    settings = Settings(home=tmp_path, catalog=url, broker=url)
    waiting = await bootstrap.migrate(settings, check=True)

    assert waiting
    assert await bootstrap.migrate(settings, check=False) == waiting
    assert await bootstrap.migrate(settings, check=False) == []
