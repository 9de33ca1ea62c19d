"""Why readers of a dataset see what they see: the trace follows the results that the publication has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from playhead.cli.why import _write
from tests.inprocess import Playhead, opened
from tests.integration.test_publications import DOCS, Splitter, published


@pytest.fixture
async def ph(catalog_setting: dict[str, Any], tmp_path: Path) -> AsyncIterator[Playhead]:
    async with opened(tmp_path / "home", **catalog_setting) as playhead:
        await playhead.apply(DOCS)
        yield playhead


@pytest.fixture
def splitter(ph: Playhead) -> Splitter:
    return Splitter(ph)


async def trace(ph: Playhead, path: str) -> list[tuple[str, str, str | None]]:
    """Route, execution and `replaced_by` of each part of the trace of what readers see."""
    current = await ph.rt.services.resolve.execution("current:docs")
    found = await ph.rt.services.why.explain(current, path)
    assert (found.outcome, found.publication_id) == ("completed", current)
    return [
        (one.route, str(one.execution_id), str(one.replaced_by) if one.replaced_by else None)
        for one in found.routes
    ]


async def test_the_trace_has_the_run_and_the_replay_that_has_replaced_its_results(
    ph: Playhead, splitter: Splitter, capsys: pytest.CaptureFixture[str]
):
    one = await ph.run({"a": "1 2 3 4 5", "b": "1"})
    await published(ph, one)
    fix = (await ph.replay(one, "md", "segment", path="a"))["execution_id"]
    await ph.work(fix)
    await published(ph, fix)

    assert await trace(ph, "a") == [("convert", one, None), ("segment", one, fix), ("segment", fix, None)]
    assert await trace(ph, "b") == [("convert", one, None), ("segment", one, None)]

    current = await ph.rt.services.resolve.execution("current:docs")
    _write(await ph.rt.services.why.explain(current, "a"))
    printed = capsys.readouterr().out
    assert f"In execution {one} (docs v1):" in printed
    assert f"; readers see the result of execution {fix} instead" in printed
    assert f"In execution {fix}, whose results readers see (docs v1):" in printed
    assert f"  out  {fix}/seg/a/3\n  … and 2 more\n" in printed


async def test_a_result_that_was_kept_is_not_replaced_by_the_failed_one(ph: Playhead, splitter: Splitter):
    one = await ph.run({"a": "x", "b": "x"})
    await published(ph, one)
    splitter.fails = {"b"}
    fix = (await ph.replay(one, "md", "segment"))["execution_id"]
    await ph.work(fix)
    await published(ph, fix)

    assert await trace(ph, "a") == [("convert", one, None), ("segment", one, fix), ("segment", fix, None)]
    assert await trace(ph, "b") == [("convert", one, None), ("segment", one, None)]


async def test_a_run_that_takes_over_an_input_is_in_the_trace_where_readers_see_its_results(
    ph: Playhead, splitter: Splitter
):
    one = await ph.run({"a": "x", "b": "x"})
    await published(ph, one)
    fix = (await ph.replay(one, "md", "segment", path="a"))["execution_id"]
    await ph.work(fix)
    await published(ph, await ph.run({"a": "x", "b": "y"}, changed_since=one))

    [_, (_, of_b, _)] = await trace(ph, "b")
    assert of_b not in (one, fix)
    assert await trace(ph, "a") == [("convert", one, None), ("segment", one, None)]


async def test_results_of_the_same_object_in_an_earlier_publication_are_not_shown(
    ph: Playhead, splitter: Splitter
):
    one = await ph.run({"a": "x"})
    await published(ph, one)
    fix = (await ph.replay(one, "md", "segment"))["execution_id"]
    await ph.work(fix)
    await published(ph, fix)
    await ph.rt.services.publish.roll_back("docs")

    assert await trace(ph, "a") == [("convert", one, None), ("segment", one, None)]
