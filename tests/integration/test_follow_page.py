"""The program of the page about copies keeps a copy exact, whatever is published and taken back."""

from __future__ import annotations

import asyncio
import random
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import playhead
from playhead.model import PublishRequest
from tests.inprocess import Playhead, opened
from tests.stored import stored

PAGE = Path(__file__).parents[2] / "docs/howto/follow-a-dataset.md"
PROGRAM = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[0]
CONFIG = """
entry: keep
datasets: {docs: {max_removed: 1, keep: 3}}
routes:
  keep:
    adapters: [{type: passthrough}]
    outbound: {stage: pages}
"""


@pytest.fixture
def follow() -> Any:
    scope: dict[str, Any] = {"__name__": "follow"}
    exec(PROGRAM, scope)
    return scope["follow"]


def _inputs(draw: random.Random) -> dict[str, str]:
    return {path: f"text {draw.randrange(3)}" for path in draw.sample("abcdef", draw.randrange(1, 6))}


def _copied(file: Path) -> Iterator[tuple[str, bytes]]:
    con = sqlite3.connect(file)
    yield from con.execute("SELECT path, data FROM pages")
    con.close()


async def test_a_copy_is_what_readers_see(tmp_path: Path, follow: Any):
    draw = random.Random(7)
    home, file = tmp_path / "home", tmp_path / "copy.db"
    async with opened(home) as ph, playhead.AsyncClient(home) as client:
        await ph.apply(CONFIG)
        service = ph.rt.services.publish
        for step in range(14):
            run = await ph.run(_inputs(draw))
            await service.publish("docs", PublishRequest([UUID(run)]))
            if draw.random() < 0.4:
                kept = [one.n for one in (await service.publications("docs")).items]
                await service.roll_back("docs", draw.choice(kept))
            if draw.random() < 0.3:
                await service.drafts.drop_due()
            if step % 3 == 2:  # the copy is often several publications behind
                now = await _run(follow, home, file)
                assert now == (await client.dataset("docs")).current
                assert dict(_copied(file)) == await _published(ph)


async def _run(follow: Any, home: Path, file: Path) -> Any:
    def call() -> Any:
        with playhead.connect(home) as client:
            return follow(client, "docs", "pages", file)

    return await asyncio.to_thread(call)


async def _published(ph: Playhead) -> dict[str, bytes]:
    listed = await ph.items("storage/objects", execution_id="current:docs", stage="pages")
    below = stored(ph.objects)
    return {one["path"]: below[one["key"]] for one in listed}
