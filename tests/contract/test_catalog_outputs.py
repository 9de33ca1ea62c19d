"""The contract of `ports.catalog.outputs`, for every catalog."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from playhead.ports.catalog import Catalog
from playhead.ports.catalog.outputs import InputOf
from playhead.ports.catalog.prune import Candidate

if TYPE_CHECKING:
    from tests.lab import Lab


def ends(execution: object) -> tuple[str, str]:
    return f"{execution}/", f"{execution}0"


async def test_stored_outputs_are_returned_in_byte_order_with_what_is_recorded_of_them(
    catalog: Catalog, lab: Lab
):
    run = await lab.started("a.md", "b.md")
    (split,) = lab.ids(await lab.work(run.ids[0], lab.output("é.md", "text")))
    await lab.work(split, lab.output("z.md"), lab.output("~.md"), lab.output("B.md"))
    await lab.bind(await lab.claim(run.ids[1]), lab.output("unfinished.md"))
    await lab.started("other.md")

    first, last = ends(run.execution)
    found = await catalog.recorded(first, last, limit=100)
    paths = ["input/a.md", "input/b.md", "pages/é.md"]
    paths += [f"segments/small/{name}.md" for name in ("B", "z", "~")]
    assert [one.key.partition("/")[2] for one in found] == paths
    page = found[2]
    assert (page.size, page.sha256, page.content_type) == (4, sha256(b"text").digest(), "text/markdown")
    assert page.pruned_at is None

    assert await catalog.recorded(found[1].key, found[4].key, limit=100) == found[1:4]
    assert await catalog.recorded(first, last, limit=2) == found[:2]
    assert await catalog.recorded(found[1].key + " ", last, limit=1) == [page]
    assert await catalog.recorded(*ends(lab.unknown()), limit=1) == []


async def test_pruned_outputs_are_still_recorded(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    (split,) = lab.ids(await lab.work(run.ids[0], lab.output("a.md", "text")))
    await lab.work(split)
    await catalog.end_executions([run.execution])
    pruned = await catalog.begin_prune([Candidate(run.execution, ("pages",), None)])
    for pruning in pruned:
        while await catalog.prune_page(pruning, limit=10):
            break
    found = await catalog.recorded(*ends(run.execution), limit=10)
    assert [(one.key.split("/")[1], one.pruned_at is None) for one in found] == [
        ("input", True),
        ("pages", False),
    ]


async def test_the_inputs_of_outputs_are_those_of_their_messages(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    (split,) = lab.ids(await lab.work(run.ids[0], lab.output("a.md")))
    await lab.work(split, lab.output("1.md"), lab.output("2.md"))
    segments = [f"{run.execution}/segments/small/{n}.md" for n in (1, 2)]
    page = f"{run.execution}/pages/a.md"
    source = f"{run.execution}/input/a.md"

    found = await catalog.inputs_of([*segments, page, source, f"{run.execution}/pages/none"])
    assert found == {
        **dict.fromkeys(segments, InputOf(page, "pages")),
        page: InputOf(source, "input"),
    }
    assert await catalog.inputs_of([]) == {}


async def test_sent_objects_are_those_with_a_root_in_the_execution(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    (split,) = lab.ids(await lab.work(run.ids[0], lab.output("a.md")))
    await lab.work(split)
    inputs = [f"{run.execution}/input/{name}.md" for name in "ab"]
    page = f"{run.execution}/pages/a.md"
    replay = await lab.started_replay(run.execution, inputs[0], route="split")
    again = await lab.started_replay(run.execution, page, stage="pages", route="split")

    keys = [*inputs, page]
    assert await catalog.sent_by(run.execution, keys) == set(inputs)
    assert await catalog.sent_by(replay.execution, keys) == {inputs[0]}
    assert await catalog.sent_by(again.execution, keys) == {page}
    assert await catalog.sent_by(lab.unknown(), keys) == set()
    assert await catalog.sent_by(run.execution, []) == set()


async def test_objects_that_a_paused_or_cancelled_replay_has_not_sent_do_not_count(
    catalog: Catalog, lab: Lab
):
    """They were compared as missing."""
    run = await lab.started("a.md", "b.md", "c.md")
    keys = [f"{run.execution}/input/{name}.md" for name in "abc"]
    replay = await lab.replayed(run.execution)
    held = await lab.hold(replay.execution_id)
    sent = await lab.list_all(held, *keys)
    assert await catalog.mark(held, 1)
    await lab.work(lab.ids(sent)[1])  # before it was marked

    await catalog.pause(replay.replay_batch_id)
    assert await catalog.sent_by(replay.execution_id, keys) == set(keys[:2])

    await catalog.cancel_replay(replay.replay_batch_id)
    assert await catalog.sent_by(replay.execution_id, keys) == set(keys[:2])
