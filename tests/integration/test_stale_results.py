"""Results of a publication that are not of the newest code, and the bytes that it protects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from playhead import Context, Item, Output, Reject
from playhead.errors import Conflict, NotFound
from playhead.model import PruneFilter, Publication, PublishRequest
from playhead.ports.adapter import AdapterSpec
from playhead.reading.newestcode import NewestCode
from playhead.services.doctor import DoctorService
from tests.inprocess import Playhead

DOCS = """
entry: convert
datasets: {docs: {routes: [segment, index]}}
routes:
  convert:
    adapters: [{type: passthrough}]
    outbound: {stage: md, to: [segment, index]}
  segment:
    adapters: [{type: do}]
    outbound: {stage: seg}
  index:
    adapters: [{type: ado}]
"""


@pytest.fixture
async def ph(either: Playhead) -> Playhead:
    """A Playhead on each catalog, whose step `segment` makes a part of each word."""
    either.steps.doing = split
    await either.apply(DOCS)
    return either


def split(item: Item, ctx: Context) -> list[Output]:
    words = item.data.decode().split()
    return [Output(word.encode(), path=f"{item.path}/{n}") for n, word in enumerate(words, 1)]


def fails(item: Item, ctx: Context) -> list[Output]:
    raise Reject("no words")


def loaded(ph: Playhead, **code: str) -> None:
    """Let the process that answers have loaded other code of some adapters; "" stands for none."""
    adapters: Mapping[str, AdapterSpec] = {
        name: replace(spec, code=code.get(name, spec.code))
        for name, spec in ph.rt.adapters.items()
        if code.get(name) != ""
    }
    ph.rt.services.publish._newest = NewestCode(ph.rt.catalog, adapters)


async def published(ph: Playhead, *executions: str, **given: Any) -> Publication:
    request = PublishRequest([UUID(one) for one in executions], **given)
    return await ph.rt.services.publish.publish("docs", request)


async def replayed(ph: Playhead, source: str, path: str | None = None) -> str:
    replay = str((await ph.replay(source, "md", "segment", path))["execution_id"])
    await ph.work(replay)
    return replay


def by_route(one: Publication) -> dict[str, tuple[int, int | None]]:
    return {f"{row.from_stage} {row.route}": (row.results, row.stale) for row in one.results}


async def found(ph: Playhead, n: int | None = None) -> Publication:
    return await ph.rt.services.publish.publication("docs", n)


async def test_results_of_other_code_are_counted_by_route(ph: Playhead):
    run = await ph.run({"a": "x y", "b": "x", "c": "x y z"})
    one = await published(ph, run)
    all_new = {"input convert": (3, 0), "md index": (3, 0), "md segment": (3, 0)}
    assert (one.stale, by_route(one)) == (0, all_new)

    loaded(ph, do="sha256:new", ado="sha256:new")
    assert by_route(await found(ph)) == all_new | {"md index": (3, 3), "md segment": (3, 3)}
    assert (await found(ph)).stale == 6
    [listed] = (await ph.rt.services.publish.publications("docs")).items
    assert listed == await found(ph)

    loaded(ph, do="")
    assert (await found(ph)).stale is None
    assert by_route(await found(ph))["md segment"] == (3, None)
    known = {row.route: row.is_newest for row in (await ph.rt.services.publish.code("docs")).items}
    assert known == {"convert": True, "index": True, "segment": None}
    with pytest.raises(Conflict, match="adapters of route segment are not loaded") as refused:
        await ph.rt.services.publish.stale("docs")
    assert refused.value.code == "code_unknown"


async def test_only_what_a_replay_replaced_is_of_the_newest_code(ph: Playhead):
    """The steps of a route also differ if the newest config version declares them otherwise."""
    run = await ph.run({"a": "x y", "b": "x", "c": "x y z"})
    await published(ph, run)
    await ph.apply(DOCS.replace("{type: do}", "{type: do, condition: {field: path, operator: exists}}"))
    assert by_route(await found(ph))["md segment"] == (3, 3)

    replay = await replayed(ph, run, "c")
    two = await published(ph, replay)
    assert by_route(two) == {"input convert": (3, 0), "md index": (3, 0), "md segment": (3, 2)}
    assert by_route(await found(ph, 1))["md segment"] == (3, 3)

    service = ph.rt.services.publish
    codes = await service.code("docs", limit=2)
    others = await service.code("docs", cursor=codes.next_cursor)
    assert [
        (row.route, row.from_stage, row.config_version, row.results, row.is_newest)
        for row in codes.items + others.items
    ] == [
        ("convert", "input", 1, 3, True),
        ("index", "md", 1, 3, True),
        ("segment", "md", 1, 2, False),
        ("segment", "md", 2, 1, True),
    ]
    page = await service.stale("docs", route="segment", limit=1)
    rest = await service.stale("docs", route="segment", cursor=page.next_cursor)
    assert rest.next_cursor is None
    assert [(row.route, row.from_stage, row.from_path, row.key) for row in page.items + rest.items] == [
        ("segment", "md", "a", f"{run}/seg/a/1"),
        ("segment", "md", "b", f"{run}/seg/b/1"),
    ]
    assert (await service.stale("docs", route="index")).items == []
    assert (await service.stale("docs", from_stage="input")).items == []
    with pytest.raises(NotFound, match="no result of the route 'segmen'; its routes: convert, index, seg"):
        await service.stale("docs", route="segmen")


async def test_a_stale_result_names_the_error_of_its_newest_replay(ph: Playhead):
    run = await ph.run({"a": "x y", "b": "x"})
    await published(ph, run)
    ph.steps.doing = fails
    replay = str((await ph.replay(run, "md", "segment", "a"))["execution_id"])
    await ph.work(replay)
    loaded(ph, do="sha256:new")

    items = (await ph.rt.services.publish.stale("docs", route="segment")).items

    assert [(one.from_path, one.error_code) for one in items] == [("a", "rejected"), ("b", None)]


async def test_results_are_counted_right_after_a_rollback_and_an_abandoned_draft(ph: Playhead):
    run = await ph.run({"a": "x y", "b": "x", "c": "x y z"})
    one = await published(ph, run)
    await ph.apply(DOCS.replace("{type: do}", "{type: do, condition: {field: path, operator: exists}}"))
    replays = [await replayed(ph, run, path) for path in ("a", "b")]
    await published(ph, replays[0])
    shorter = await ph.run({"a": "x", "b": "x"})
    three = await published(ph, shorter, allow=["removed"])
    assert by_route(three) == {"input convert": (2, 0), "md index": (2, 0), "md segment": (2, 0)}

    await ph.rt.services.publish.roll_back("docs", 1)
    with pytest.raises(Conflict) as refused:  # after its entries were written
        await published(ph, shorter, allow=["older"])
    assert refused.value.code == "publication_shrinks"
    five = await published(ph, replays[1])
    assert five.n == 5
    assert by_route(five)["md segment"] == (3, 2)
    assert five.bytes_protected == one.bytes_protected
    assert one.bytes_protected == sum([len("x y"), len("x"), len("x y z")]) * 2 + len("xyxxyz")


async def protected(ph: Playhead, *executions: str) -> int:
    return (await ph.rt.services.prune.plan(PruneFilter([UUID(one) for one in executions]))).bytes_protected


async def test_a_prune_counts_the_bytes_that_publications_protect(ph: Playhead):
    run = await ph.run({"a": "x y", "b": "xx"})
    assert await protected(ph, run) == 0
    one = await published(ph, run)
    replay = await replayed(ph, run, "a")
    assert await protected(ph, run) == one.bytes_protected == 2 * len("x yxx") + len("xyxx")
    assert await protected(ph, replay) == 0

    pruned = await ph.rt.services.prune.prune(PruneFilter([UUID(run), UUID(replay)]))
    assert (pruned.bytes_protected, pruned.objects, pruned.bytes) == (one.bytes_protected, 2, len("xy"))
    assert len(await ph.stored(str(one.execution_id))) == 7


async def findings(ph: Playhead) -> list[str]:
    found = await DoctorService([], ph.rt.catalog, ph.rt.broker).examine()
    return [
        f"{one.detail}. {one.fix}" for part in found.parts for one in part.findings if one.what == "datasets"
    ]


async def test_doctor_warns_of_many_protected_bytes(ph: Playhead):
    assert await findings(ph) == ["1 up to date; executions that wait for publication: 0. "]
    await published(ph, await ph.run({"a": "x" * 100_000}))
    await published(ph, await ph.run({"a": "y" * 50_000}))
    assert await findings(ph) == ["1 up to date; executions that wait for publication: 0. "]

    await published(ph, await ph.run({"a": "z" * 10_000}))
    [found] = await findings(ph)
    assert "publications of docs protect 480,000 bytes from prunes; the newest one, 3, has 30,000. " in found
    assert "playhead publications docs" in found
