"""A replay of what readers see is compared with what they saw when it was requested."""

from __future__ import annotations

from uuid import UUID

from playhead.model import After
from tests.inprocess import Playhead
from tests.integration.test_publications import DOCS, Splitter, published
from tests.integration.test_replay_results import cells


async def seen(ph: Playhead) -> str:
    """Return the execution of the publication that readers see."""
    return str(await ph.rt.services.resolve.execution("current:docs"))


async def paths(ph: Playhead, a: str, b: str, after: After) -> list[str]:
    return [one["path"] for one in await ph.items(f"executions/{a}/result/{b}/objects", after=after)]


async def test_each_object_is_compared_with_the_result_that_readers_saw(either: Playhead):
    ph = either
    await ph.apply(DOCS)
    splitter = Splitter(ph)
    run = await ph.run({"a": "x y", "b": "x", "c": "x", "d": "x"})
    assert await published(ph, run) == 1
    splitter.mark, splitter.fails = "!", {"b"}
    assert await published(ph, await ph.replayed(run, "md", "segment")) == 2
    current = await seen(ph)

    # Readers see the replay's results, except that of `b`, which failed: its earlier result was kept.
    splitter.fails, splitter.extra = {"c"}, {"d": 1}
    again = await ph.replayed(current, "md", "segment")

    expected = {"done same": 1, "done other": 2, "done other_error": 1}
    assert await cells(ph, current, again) == expected
    assert await paths(ph, current, again, "other") == ["b", "d"]
    # From the inputs on, results of the run and of the replay belong to the same object.
    splitter.fails = set()
    whole = await ph.replayed(current, "input", "convert")
    assert await cells(ph, current, whole) == {"done same": 2, "done other": 2}
    assert await paths(ph, current, whole, "other") == ["b", "d"]

    # Later publications change nothing. The replay can be compared with them, too.
    assert await published(ph, whole) == 3
    assert await cells(ph, current, again) == expected
    assert await cells(ph, await seen(ph), again) == {"done same": 3, "done other_error": 1}


async def test_its_outputs_are_compared_with_those_that_readers_saw(either: Playhead):
    ph = either
    await ph.apply(DOCS)
    splitter = Splitter(ph)
    run = await ph.run({"a": "x y"})
    await published(ph, run)
    splitter.mark = "!"
    first = await ph.replayed(run, "md", "segment")
    await published(ph, first)
    current = await seen(ph)
    splitter.extra = {"a": 1}
    again = await ph.replayed(current, "input", "convert")
    service, pair = ph.rt.services.result, (UUID(current), UUID(again))

    [one] = (await service.objects(*pair)).items
    outputs = await service.outputs(*pair, one)

    assert [(found.stage, found.path, found.state) for found in outputs] == [
        ("md", "a", "same"),
        ("seg", "a/1", "same"),
        ("seg", "a/2", "same"),
        ("seg", "a/3", "added"),
    ]
    owners = [found.a.key.partition("/")[0] for found in outputs if found.a]
    assert owners == [run, first, first]


async def test_an_object_whose_result_was_left_out_had_none(either: Playhead):
    ph = either
    await ph.apply(DOCS)
    splitter = Splitter(ph)
    run = await ph.run({"a": "x", "b": "x"})
    await published(ph, run)
    splitter.fails = {"b"}
    await published(ph, await ph.replayed(run, "md", "segment"), on_failure="leave_out")
    splitter.fails = set()

    again = await ph.replayed(await seen(ph), "md", "segment")

    assert await cells(ph, await seen(ph), again) == {"done same": 1, "none other": 1}
    assert await paths(ph, await seen(ph), again, "other") == ["b"]


async def test_a_publication_that_is_not_kept_is_refused_and_one_that_is_named_second(either: Playhead):
    ph = either
    await ph.apply(DOCS.replace("{docs: {}}", "{docs: {keep: 0}}"))
    Splitter(ph)
    run = await ph.run({"a": "x"})
    await published(ph, run)
    first = await seen(ph)
    again = await ph.replayed(first, "md", "segment")

    refused = await ph.get(f"executions/{run}/result/{first}", 400)
    assert (refused["error_code"], "has listed no objects" in refused["detail"]) == ("not_comparable", True)

    for _ in range(2):
        await published(ph, await ph.run({"a": "x"}))
    await ph.rt.services.publish.drafts.drop_due()
    gone = await ph.get(f"executions/{first}/result/{again}", 410)
    assert gone["error_code"] == "publication_dropped"


async def test_a_plan_estimates_from_the_results_that_readers_see(either: Playhead):
    ph = either
    await ph.apply(DOCS)
    splitter = Splitter(ph)
    splitter.fails = {"b"}
    run = await ph.run({"a": "x", "b": "x"})
    splitter.fails = set()
    await published(ph, run, await ph.replayed(run, "md", "segment"))

    source = {"from_execution_id": await seen(ph), "from_stage": "md", "to_route": "segment"}
    plan = await ph.post("replay/plan", source)

    # The run has failed for `b`, but the publication has the result of the replay.
    assert (plan["objects"], plan["known"]) == (2, 2)
