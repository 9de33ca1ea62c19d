"""The page that compares two executions."""

from __future__ import annotations

import asyncio
from uuid import UUID

from playhead.web.page import url
from tests.ui.site import Site


def compare(a: str, b: str, **query: object) -> str:
    return url(f"/executions/{a}/compare", **{"with": b, **query})


async def test_the_counts_are_those_of_the_api(site: Site):
    first = await site.run({"a.md": b"one two", "b.md": b"same", "c.md": b"only here"})
    second = await site.run({"a.md": b"one 2", "b.md": b"same", "d.md": b"new"})

    view = (await site.twin(compare(first, second)))["view"]

    api = await site.get(f"executions/{first}/diff/{second}")
    assert view["diff"] == api
    assert [view["diff"]["totals"][one] for one in ("same", "changed", "added", "missing")] == [4, 3, 3, 4]
    found = await site.items(f"executions/{first}/diff/{second}/objects", state="different")
    assert view["objects"] == found


async def test_the_objects_of_a_state_and_a_stage_are_listed(site: Site):
    first = await site.run({"a.md": b"one two", "b.md": b"same"})
    second = await site.run({"a.md": b"one 2", "b.md": b"same"})

    view = (await site.twin(compare(first, second, stage="shouted", state="changed")))["view"]
    page = await site.page(compare(first, second, stage="shouted", state="changed"))

    assert [one["path"] for one in view["objects"]] == ["a.md"]
    assert f"view=changes&amp;against={first}%2Fshouted%2Fa.md" in page
    empty = await site.page(compare(first, second, stage="shouted", state="missing"))
    assert "No object is in this state in this stage" in empty


async def test_a_replay_is_compared_with_its_source(site: Site):
    execution = await site.run({"a.md": b"one two"})
    replay = (await site.replay(execution, "shouted", "split"))["execution_id"]
    await site.work()

    answer = await site.http.get(f"/executions/{replay}/compare")

    assert (answer.status_code, answer.headers["location"]) == (303, compare(execution, replay))
    page = await site.page(compare(execution, replay))
    assert "No object differs" in page
    assert "Not part of the replay" in page
    assert "not part of the replay" in await site.page(compare(execution, replay, state="not_produced"))


async def test_messages_that_failed_are_compared_too(site: Site):
    source = await site.run({"a.md": b"bad", "b.md": b"bad", "c.md": b"good"})
    replay = (await site.replay(source, "input", "upper", "a.md"))["execution_id"]
    await site.work()

    page = await site.page(compare(source, replay))

    assert "No object differs, and 1 message failed" in page
    assert f'2 <a href="/dead-letters?execution_id={source}">before</a>' in page
    assert f'1 <a href="/dead-letters?execution_id={replay}">after</a>' in page


async def test_objects_that_a_running_replay_lacks_are_not_yet_produced(site: Site):
    source = await site.run({f"{name}.md": f"one {name}".encode() for name in "abc"})
    again = await site.replay(source, "shouted", "split")
    replay = again["execution_id"]
    await site.driven()

    page = await site.page(compare(source, replay))
    lacking = await site.page(compare(source, replay, state="missing"))
    swapped = await site.page(compare(replay, source, state="added"))

    assert "No object differs so far</h1>" in page
    assert (await site.twin(compare(source, replay)))["view"]["objects"] == []
    assert (await site.get(f"executions/{source}/diff/{replay}"))["totals"]["missing"] == 6
    assert lacking.count("<span>not yet produced</span>") == 6
    assert swapped.count("<span>not yet in the first</span>") == 6
    for html in (page, lacking, swapped):
        assert "st fail" not in html

    await site.services.control.cancel(UUID(again["replay_batch_id"]), withdraw=True)

    ended = await site.page(compare(source, replay))
    assert "6 objects differ</h1>" in ended
    assert ended.count("<span>missing</span>") == 6


async def test_parts_can_be_paired_by_content(site: Site):
    first = await site.run({"a.md": b"one two three"})
    second = await site.run({"a.md": b"new one two three"})

    page = await site.page(compare(first, second))
    by_content = compare(first, second, by="content", stage="split/words", state="moved")
    view = (await site.twin(by_content))["view"]

    assert ">Moved<" not in page
    assert "by=content" in page
    assert (view["diff"]["totals"]["moved"], view["different"]) == (3, 3)
    assert [one["path"] for one in view["objects"]] == [f"a/000{n}.txt" for n in (2, 3, 4)]
    assert ">Moved<" in await site.page(by_content)
    assert "1 object differs" not in page


async def test_without_a_second_execution_the_replays_are_offered(site: Site):
    execution = await site.run({"a.md": b"one two"})
    assert "No replay of this execution exists" in await site.page(f"/executions/{execution}/compare")
    replay = (await site.replay(execution, "shouted", "split"))["execution_id"]
    await site.work()

    assert compare(execution, replay) in await site.page(f"/executions/{execution}/compare")


async def test_the_list_continues_on_the_next_page(site: Site):
    first = await site.run({f"{n:03}.md": b"one" for n in range(60)})
    second = await site.run({"none.md": b"two"})

    view = (await site.twin(compare(first, second, state="missing")))["view"]
    following = (await site.twin(view["next_url"]))["view"]

    paths = [(one["stage"], one["path"]) for one in (*view["objects"], *following["objects"])]
    assert len(paths) == len(set(paths)) == 180
    assert following["next_url"] is None
    assert following["first_url"] == compare(first, second, state="missing")


async def test_counts_that_take_long_follow_as_live_numbers(site: Site):
    site.patience = 0
    site.make_app()
    source = await site.run({"a.txt": b"one"})
    other = await site.run({"a.txt": b"two"})

    assert "Comparing…" in await site.page(compare(source, other))
    async with asyncio.timeout(30):
        while "Comparing…" in await site.page(compare(source, other)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    assert (await site.twin(compare(source, other)))["view"]["diff"]["totals"]["changed"] == 3


async def test_a_list_that_compares_many_objects_ends_early_and_continues(site: Site):
    source = await site.run({f"{n:02}.txt": b"one" for n in range(5)})
    other = await site.run({f"{n:02}.txt": b"one" if n < 4 else b"two" for n in range(5)})
    paths, cursor, pages = [], None, 0
    while True:
        page = await site.services.diff.objects(
            UUID(source), UUID(other), "shouted", "changed", cursor=cursor, budget=1
        )
        paths += [one.path for one in page.items]
        pages += 1
        if (cursor := page.next_cursor) is None:
            break

    assert paths == ["04.md"]
    assert pages > 1
