"""A run is published on the results that it took over: what is the same is not compared again.

`test_publication_histories.py` has all other cases. These are rare in its histories.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.inprocess import Playhead, opened
from tests.integration.test_publications import DOCS, Splitter, content, published

TWO = {"a": "x", "b": "x"}


@pytest.fixture
async def ph(tmp_path: Path) -> AsyncIterator[Playhead]:
    async with opened(tmp_path / "home") as playhead:
        await playhead.apply(DOCS)
        yield playhead


@pytest.fixture
def splitter(ph: Playhead) -> Splitter:
    return Splitter(ph)


async def test_results_are_not_read_again_if_the_base_publication_has_them(
    ph: Playhead, splitter: Splitter, monkeypatch: pytest.MonkeyPatch
):
    one = await ph.run(TWO)
    await published(ph, one)
    two = await ph.run({**TWO, "b": "y"}, changed_since=one)
    catalog, read = ph.rt.catalog, list[int]()
    units = catalog.units

    async def counted(*args: Any, **given: Any) -> Any:
        roots, nodes = await units(*args, **given)
        read.append(len(nodes))
        return roots, nodes

    monkeypatch.setattr(catalog, "units", counted)
    assert await published(ph, two) == 2
    # The root of `a`, and of `b` also the message below.
    assert sum(read) == 3
    assert await content(ph) == {"a/1": one, "b/1": two}
    assert (await ph.rt.services.publish.publication("docs")).units.good == 2


async def test_what_was_resent_after_the_base_publication_is_published(ph: Playhead, splitter: Splitter):
    splitter.fails = {"b"}
    one = await ph.run(TWO)
    await published(ph, one)
    assert await content(ph) == {"a/1": one}
    splitter.fails = set()
    [letter] = await ph.items("dead-letters")
    await ph.post(f"dead-letters/{letter['correlation_id']}/resend", {}, 202)
    await ph.work(one)
    await published(ph, await ph.run(TWO, changed_since=one))
    assert await content(ph) == {"a/1": one, "b/1": one}


async def test_the_results_of_a_replay_in_the_base_publication_are_replaced(ph: Playhead, splitter: Splitter):
    one = await ph.run(TWO)
    run = await ph.submit(
        TWO, changed_since=one
    )  # begins before the replay, and so does not take its results
    fix = (await ph.replay(one, "md", "segment"))["execution_id"]
    await ph.work(fix)
    await ph.work(run)
    await published(ph, fix, base=UUID(one))
    assert await content(ph) == {"a/1": fix, "b/1": fix}
    await published(ph, run, allow=["older"])
    assert await content(ph) == {"a/1": one, "b/1": one}


async def test_results_of_a_route_that_a_dataset_has_since_are_published(ph: Playhead, splitter: Splitter):
    await ph.apply(DOCS.replace("{docs: {}}", "{docs: {routes: [convert]}}"))
    one = await ph.run(TWO)
    await published(ph, one)
    assert await content(ph) == {}
    await ph.apply(DOCS)
    await published(ph, await ph.run(TWO, changed_since=one))
    assert await content(ph) == {"a/1": one, "b/1": one}
