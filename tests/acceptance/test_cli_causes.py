"""`playhead causes replay` of a cause with objects of many executions."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from playhead import Reject
from tests.acceptance.shell import commands_here
from tests.inprocess import opened

ONE = """
entry: read
routes:
  read:
    adapters: [{type: do}]
    outbound: {stage: read}
"""
SOURCES = 102


async def _failed(home: Path) -> None:
    """Leave runs that have each failed for the same cause."""

    def fail(item: object, ctx: object) -> None:
        raise Reject("torn")

    async with opened(home) as ph:
        ph.steps.doing = fail
        await ph.apply(ONE)
        runs = await asyncio.gather(*(ph.submit({f"{n:03}": "x"}) for n in range(SOURCES)))
        async with ph.working():
            for run in runs:
                await ph.ended(run)


def test_a_command_replays_100_sources_and_prints_how_to_continue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    asyncio.run(_failed(tmp_path))
    with commands_here(tmp_path, {"PLAYHEAD_HOME": str(tmp_path)}, monkeypatch, capfd) as run:
        capfd.readouterr()
        [cause] = json.loads(run("causes", "--json")[1])["items"]
        code, out, err = run("causes", "replay", cause["id"])
        assert (code, len(out.splitlines())) == (0, 1 + 100)
        assert "2 objects of older sources are left. To plan the next ones, repeat the command" in err
        [cursor] = re.findall(r"--cursor (\S+)", err)

        code, out, err = run("causes", "replay", cause["id"], "--cursor", cursor, "--json")

        rest = json.loads(out)
        assert (code, rest["objects_left"], rest["next_cursor"], rest["left_out"]) == (0, 0, None, [])
        assert len(rest["replays"]) == 2
        assert "are left" not in err
        assert len(json.loads(run("replays", "--json", "--limit", "200")[1])["items"]) == SOURCES
