"""Without a server, the last worker writes the report of a replay before it ends."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.pipelines import PIPELINES
from tests.acceptance.processes import open_deployment


@pytest.mark.slow
def test_a_worker_that_ends_when_it_is_idle_has_written_the_report() -> None:
    with open_deployment() as deployment:
        (deployment.folder / "bulk.yaml").write_text(PIPELINES["bulk"].source)
        pages = deployment.folder / "pages"
        pages.mkdir()
        for name in "abc":
            (pages / f"{name}.txt").write_text(name)
        run = deployment.cli("run", "bulk.yaml", "pages")["execution_id"]
        replay = deployment.cli("replay", run, "input", "shout", "--limit", "2")["execution_id"]

        assert deployment.start("worker", "--until-idle").popen.wait(60) == 0

        [part] = deployment.cli("ls", replay, "_replay")["items"]
        lines = deployment.stored(replay)[part["key"]].splitlines()
        assert [json.loads(line)["key"] for line in lines] == [f"{run}/input/{name}.txt" for name in "ab"]
        assert {one["stage"] for one in deployment.cli("ls", replay)["items"]} == {"loud"}
        assert [one["stage"] for one in deployment.cli("stages", replay)["items"]] == ["input", "loud"]
