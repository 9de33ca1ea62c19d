"""The page of one input and its outcome in each route, and the page of one message."""

from __future__ import annotations

from uuid import UUID

from playhead.web.page import url
from tests.ui.site import Site
from tests.ui.test_replays_pages import SLOW, replayed


async def test_a_failed_input_is_explained_by_route(site: Site):
    execution = await site.run({"a.md": b"bad", "b.md": b"fine"})

    page = await site.page(url("/why", execution_id=execution, path="a.md"))

    assert "this is bad" in page
    view = (await site.twin(url("/why", execution_id=execution, path="a.md")))["view"]
    assert view["why"]["outcome"] == "rejected"
    assert [one["route"] for one in view["parts"][0]["routes"]] == ["upper", "split"]


async def test_the_answer_is_that_of_the_api(site: Site):
    execution = await site.run({"a.md": b"one two"})
    api = await site.get(f"executions/{execution}/why", path="a.md")

    view = (await site.twin(url("/why", execution_id=execution, path="a.md")))["view"]

    assert view["why"] == api
    assert (await site.twin(url("/why", execution_id=execution, path="a.md")))["api"][0]["path"].startswith(
        f"/api/v1/executions/{execution}/why"
    )


async def test_an_item_of_a_replay_is_followed_through_its_source(site: Site):
    execution = await site.run({"a.md": b"one two"})
    replay = (await site.replay(execution, "shouted", "split"))["execution_id"]
    await site.work()

    view = (await site.twin(url("/why", execution_id=replay, path=f"{execution}/input/a.md")))["view"]

    assert [part["execution"]["execution_id"] for part in view["parts"]] == [execution, replay]


async def test_a_message_that_a_paused_replay_has_not_published_is_not_said_to_wait(site: Site):
    execution = await site.run({f"{n}.md": b"one" for n in range(9)})
    replay = await replayed(site, execution, **SLOW)
    await site.replay_when(replay["replay_batch_id"], lambda shown: shown["objects_found"] == 9)
    await site.services.control.pause(UUID(replay["replay_batch_id"]))

    why = await site.get(f"executions/{replay['execution_id']}/why", path=f"{execution}/input/8.md")

    [route] = [one for one in why["routes"] if one["outcome"] == "pending"]
    assert route["explanation"] == (
        "the replay is paused: the message is not published yet, or it waits in queue words.split"
    )


async def test_an_unknown_path_is_answered_with_similar_ones_and_a_form(site: Site):
    execution = await site.run({"guide/a.md": b"one two"})

    page = await site.page(url("/why", execution_id=execution, path="guide/b.md"), 404)

    assert "Did you mean" in page
    assert f"<p>Execution {execution} has no object" in page
    assert "For an output that is missing, enter the path of its input." in page
    assert 'name="path" value="guide/b.md"' in page
    assert "Which item" in await site.page(url("/why", execution_id=execution))


async def test_a_message_shows_its_attempts_its_way_and_what_is_below(site: Site):
    execution = await site.run({"a.md": b"one two"})
    replay = (await site.replay(execution, "shouted", "split"))["execution_id"]
    await site.work()
    key = f"{replay}/split/words/a/0001.txt"
    message = (await site.items("lineage", object_key=key))[0]

    view = (await site.twin(f"/lineage/{message['correlation_id']}"))["view"]
    page = await site.page(f"/lineage/{message['correlation_id']}")

    assert view["message"]["route"] == "split"
    assert [step["kind"] for step in view["steps"]] == ["message", "replay", "object", "message", "object"]
    assert view["executions"] == 2
    assert "2 objects" in page
    assert f"/objects?key={replay}%2Fsplit%2Fwords%2Fa%2F0002.txt" in page


async def test_a_message_lists_the_messages_below_it_also_in_replays(site: Site):
    execution = await site.run({"a.md": b"one two"})
    await site.replay(execution, "shouted", "split")
    await site.work()
    first = (await site.items("lineage", object_key=f"{execution}/shouted/a.md"))[0]["correlation_id"]

    view = (await site.twin(f"/lineage/{first}"))["view"]

    assert view["below_count"] == 2
    assert [one["via"] for one in view["next"]] == ["parent", "replay"]


async def test_a_dead_message_names_its_error_and_its_dead_letter(site: Site):
    execution = await site.run({"a.md": b"bad"})
    [letter] = await site.items("dead-letters", execution_id=execution)

    page = await site.page(f"/lineage/{letter['correlation_id']}")

    assert "this is bad" in page
    assert f"/dead-letters/{letter['correlation_id']}" in page


BACKWARD = """
version: "1.0"
name: backward
entry: first
routes:
  last:
    adapters: [{type: upper}]
    outbound: {stage: last}
  second:
    adapters: [{type: split}]
    outbound: {stage: second, to: [last]}
  first:
    adapters: [{type: upper}]
    outbound: {stage: first, to: [second]}
"""


async def test_outcomes_and_bars_are_in_pipeline_order(site: Site):
    await site.apply(BACKWARD)
    source = await site.run({"a.txt": b"one"}, config="backward")
    batch = (await site.replay(source, "input", "first"))["replay_batch_id"]
    await site.work()

    why = (await site.twin(f"/why?execution_id={source}&path=a.txt"))["view"]
    bars = (await site.twin(f"/replays/{batch}"))["view"]["bars"]

    assert [one["route"] for one in why["parts"][0]["routes"]] == ["first", "second", "last"]
    assert [one["title"] for one in bars] == ["published", "first", "second", "last"]
