"""Objects of another program as the inputs of a dataset: a copy of them, which that program cannot change."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from playhead.errors import Conflict
from playhead.ids import uuid7
from playhead.ports.store import Blob
from tests.inprocess import Playhead, opened
from tests.integration.test_publication_bases import NO_INPUTS
from tests.integration.test_publications import Splitter, content, published
from tests.servers import need
from tests.servers.schema import emptied_schema

COPY = """
name: copy
entry: keep
routes:
  keep:
    adapters: [{type: passthrough}]
    outbound: {stage: html}
"""


@pytest.fixture(params=["sqlite and files", "postgres and files", "sqlite and s3", "postgres and s3"])
async def ph(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Playhead]:
    """A Playhead on each catalog and each kind of store, whose config `docs` has no runs."""
    catalog, _, store = request.param.split()
    async with AsyncExitStack() as stack:
        on: dict[str, Any] = {}
        if catalog == "postgres":
            on["catalog"] = await stack.enter_async_context(emptied_schema())
        if store == "s3":
            on["store"] = need("s3").replace("?", f"/{uuid7()}?")
        playhead = await stack.enter_async_context(opened(tmp_path / "home", **on))
        await playhead.apply(NO_INPUTS)
        await playhead.apply(COPY)
        Splitter(playhead)
        yield playhead


async def store(ph: Playhead, execution: str, **files: str) -> None:
    """Store objects as another program would: without records and sidecars."""
    await ph.rt.store.write(
        [[Blob(f"{execution}/html/{path}", text.encode())] for path, text in files.items()]
    )


async def replay(ph: Playhead, source: str, route: str) -> str:
    execution = str((await ph.replay(source, "html", route))["execution_id"])
    await ph.work(execution)
    return execution


async def refusal(ph: Playhead, *executions: str, **given: object) -> str:
    with pytest.raises(Conflict) as caught:
        await published(ph, *executions, **given)
    assert caught.value.code == "not_a_base"
    return caught.value.detail


async def test_a_copy_of_objects_of_another_program_defines_the_inputs(ph: Playhead):
    adopted = str(uuid7())
    await store(ph, adopted, a="x y", b="x")
    direct = await replay(ph, adopted, "docs/convert")

    why = await refusal(ph, direct)

    assert "another program stored the objects of its source" in why
    # The commands of the error, one after the other.
    first, second = re.findall(r"playhead replay (\S+ \S+ [^\s,.]+)", why)
    assert first == f"{adopted} html copy/keep"
    assert second == "latest:replay html docs/convert"
    copy = await replay(ph, adopted, "copy/keep")
    base = await replay(ph, copy, "docs/convert")
    assert await published(ph, base) == 1
    assert await content(ph, "html") == {"a": copy, "b": copy}
    assert await content(ph) == {"a/1": base, "a/2": base, "b/1": base}

    await store(ph, adopted, a="changed")
    await ph.rt.store.delete([f"{adopted}/html/b"])
    current = str((await ph.rt.services.publish.publication("docs")).execution_id)
    again = await replay(ph, current, "docs/convert")
    assert await published(ph, again) == 2
    assert await content(ph) == {"a/1": again, "a/2": again, "b/1": again}, (
        "what is published has not changed"
    )

    newer = await replay(ph, await replay(ph, adopted, "copy/keep"), "docs/convert")
    assert await published(ph, base=UUID(newer)) == 3
    assert set(await content(ph)) == {"a/1"}


async def test_an_adopted_execution_itself_is_refused_with_what_to_do(ph: Playhead):
    adopted = str(uuid7())
    await store(ph, adopted, a="x")
    await replay(ph, adopted, "docs/convert")

    assert "Copy them by a replay into another config" in await refusal(ph, adopted)
