"""Pages whose client disconnects, or whose key ends, before they are complete."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from typing import Final

import pytest

from tests.ui.site import Site

_MOST_STEPS: Final = 500


@pytest.mark.parametrize("path", ["/", "/executions/{}", "/objects?key={}/input/a.txt", "/queues", "/system"])
async def test_a_page_that_is_cancelled_leaves_no_coroutine_that_is_never_awaited(site: Site, path: str):
    path = path.format(await site.run({"a.txt": b"one two"}))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for steps in range(_MOST_STEPS):
            reading = asyncio.create_task(site.http.get(path))
            for _ in range(steps):
                await asyncio.sleep(0)
            if reading.done():
                break
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
        else:
            pytest.fail("the page is never complete")
    assert steps > 5, "the page was never cancelled"
    assert (await reading).status_code == 200
    assert [str(one.message) for one in warned if issubclass(one.category, RuntimeWarning)] == []
