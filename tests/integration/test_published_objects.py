"""In which publications readers see an object."""

from __future__ import annotations

from uuid import UUID

from playhead.wording import published_text
from tests.inprocess import Playhead
from tests.integration.test_incremental_sinks import since
from tests.integration.test_publications import DOCS, Splitter, published


async def test_an_object_says_in_which_publications_it_is(either: Playhead):
    ph = either
    await ph.apply(DOCS)
    splitter = Splitter(ph)
    publish = ph.rt.services.publish

    async def said(key: str) -> list[str]:
        versions = await ph.rt.services.objects.versions(key)
        return [published_text(one) for one in next(of for of in versions if of.key == key).published]

    run = await ph.run({"a": "x", "b": "x"})
    assert await said(f"{run}/seg/a/1") == []
    await published(ph, run)
    assert await said(f"{run}/input/a") == await said(f"{run}/seg/a/1") == ["current in docs since 1"]

    splitter.mark = "!"
    replay = (await ph.replay(run, "md", "segment", "a"))["execution_id"]
    await ph.work(replay)
    await published(ph, replay)
    assert await said(f"{run}/seg/a/1") == ["was in docs 1"]
    assert await said(f"{run}/seg/b/1") == ["current in docs since 1"]
    assert await said(f"{replay}/seg/a/1") == ["current in docs since 2"]

    await publish.roll_back("docs")
    assert await said(f"{replay}/seg/a/1") == ["was in docs 2"]
    again = (await ph.replay(run, "md", "segment", "b"))["execution_id"]
    await ph.work(again)
    await published(ph, again)
    assert await said(f"{run}/seg/a/1") == ["current in docs since 3, was in 1"]
    assert await said(f"{run}/seg/b/1") == ["was in docs 1 to 2"]
    assert await said(f"{replay}/seg/a/1") == ["was in docs 2"]

    # A reference, and the name of an object in a publication, have the bytes of the published object.
    taking = await since(ph, {"a": "x", "b": "x"}, run)
    assert await said(f"{taking}/seg/b/1") == ["was in docs 1 to 2"]
    current = (await publish.publication("docs")).execution_id
    assert isinstance(current, UUID)
    assert await said(f"{current}/seg/b/1") == ["current in docs since 3"]
