"""Replays of the objects of a cause, started from its page."""

from __future__ import annotations

import html
import re

from tests.ui.site import Site


async def test_objects_of_several_executions_are_planned_and_replayed(site: Site):
    first = await site.run({"a": b"bad", "b": b"bad"})
    second = await site.run({"b": b"bad"})
    [cause] = await site.items("causes")
    path = f"/causes/{cause['id']}"
    assert f'action="{path}/plan"' in await site.page(path)

    planned = (await site.send(f"{path}/plan")).text

    assert "2 replays with 2 messages" in planned
    assert "Start 2 replays" in planned
    plans = re.findall(r'name="plan" value="([^"]+)"', planned)
    assert await site.items("replays") == []
    for _ in range(2):  # a second press starts no other replays
        begun = await site.http.post(
            f"{path}/replay",
            data={"plan": plans, "reason": "fixed in 2"},
            headers={"Origin": "http://playhead"},
        )
        assert "2 replays started" in begun.text
    replays = await site.items("replays")
    assert {one["from_execution_id"] for one in replays} == {first, second}
    assert {(one["reason"], one["to_route"]) for one in replays} == {("fixed in 2", "words/upper")}


async def test_the_page_of_a_cause_lists_its_objects_by_pages(site: Site):
    await site.run({f"{n:02}": b"bad" for n in range(21)})
    [cause] = await site.items("causes")

    first = await site.page(f"/causes/{cause['id']}")

    newest = f'href="/dead-letters/{cause["newest"]}"'
    assert newest in first
    assert first.count("this is bad") > 20
    assert len(re.findall(r">input/\d\d</a>", first)) == 20
    [following] = re.findall(r'rel="next" href="([^"]+)"', first)
    assert len(re.findall(r">input/\d\d</a>", await site.page(html.unescape(following)))) == 1
    await site.run({f"{n:02}": b"good" for n in range(21)})
    closed = await site.page(f"/causes/{cause['id']}")
    assert "Objects that were processed since" in closed
    assert f'href="/lineage/{cause["newest"]}"' in closed


async def test_after_100_sources_the_page_plans_the_next_ones(site: Site):
    runs = [await site.submit({f"{n:03}": b"bad"}) for n in range(101)]
    await site.work()
    [cause] = await site.items("causes")
    path = f"/causes/{cause['id']}"

    planned = (await site.send(f"{path}/plan")).text

    assert "100 replays with 100 messages" in planned
    assert "1 object of an older source is left" in planned
    [cursor] = re.findall(r'name="next_cursor" value="([^"]+)"', planned)
    [plan, *_] = re.findall(r'name="plan" value="([^"]+)"', planned)
    begun = (await site.send(f"{path}/replay", plan=plan, next_cursor=cursor)).text
    assert "Objects of older sources are left" in begun
    assert f'name="cursor" value="{cursor}"' in begun
    rest = (await site.send(f"{path}/plan", cursor=cursor)).text
    assert "1 replay with 1 message" in rest
    assert runs[0] in rest
    assert "Plan the next ones" not in rest


async def test_objects_that_cannot_be_replayed_are_listed_with_the_reason(site: Site):
    pruned = await site.run({"a": b"bad"})
    await site.run({"b": b"bad"})
    [cause] = await site.items("causes")
    await site.post("prune", {"execution_ids": [pruned]})

    planned = (await site.send(f"/causes/{cause['id']}/plan")).text

    assert "1 replay with 1 message" in planned
    assert "1 object of words/upper" in planned
    assert "were pruned" in planned


async def test_a_replay_of_a_cause_warns_once_about_workers_with_old_code(site: Site):
    await site.consume("words.upper", source=site.changed_file())
    for _ in range(2):
        await site.run({"a": b"bad"})
    await site.run({"b": b"bad"})
    [cause] = await site.items("causes")

    planned = (await site.send(f"/causes/{cause['id']}/plan")).text

    assert "2 replays with 2 messages" in planned
    assert planned.count("steps.py has changed since it was loaded by worker 1 on") == 1


async def test_failures_that_repeat_an_earlier_one_are_counted(site: Site):
    for repeats, text in enumerate(("1 dead letter", "2 dead letters, 1 is a repeat")):
        await site.run({"a": b"bad"})
        [row] = (await site.twin("/causes"))["view"]["rows"]
        assert (await site.cells("/causes"))[f"letters.{row['cause']['id']}"] == text, repeats
    await site.run({"a": b"bad"})
    assert "3 dead letters, 2 are repeats" in await site.page("/")


async def test_a_form_without_a_plan_starts_nothing(site: Site):
    await site.run({"a": b"bad"})
    [cause] = await site.items("causes")

    answer = await site.send(f"/causes/{cause['id']}/replay", reason="why")

    assert answer.status_code == 400
    assert "plan again" in answer.text
