"""How every catalog uses results again for items with the same bytes: `items` of `ports.catalog.runs`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import pytest

from playhead.ids import uuid7
from playhead.model import AdapterCode, Canary, Config, ReplayRequest, Skip, Step
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.prune import Candidate
from playhead.ports.catalog.runs import Reusable
from playhead.ports.catalog.work import (
    READS_ATTRIBUTES,
    READS_MESSAGE,
    READS_PATH,
    Done,
    Finished,
    NewOutput,
    fingerprint_of,
)
from tests.contract.publishing import Publisher
from tests.lab import Lab, Started

CODE = [AdapterCode("step", "1", "sha256:aa")]
OTHER = [AdapterCode("step", "2", "sha256:bb")]
ITEMS = {"split": [CODE], "embed": [CODE]}
CHAIN = Lab.config(
    "docs",
    Lab.route("split", stage="parts", to=("embed",)),
    Lab.route("embed", stage="vectors", to=("index",)),
    Lab.route("index"),
)


async def finish(
    lab: Lab,
    identity: UUID,
    *outputs: NewOutput,
    reads: int | None = 0,
    code: Sequence[AdapterCode] = CODE,
    skip: Skip | None = None,
) -> Finished:
    """Process a message whose steps have read this much of it."""
    claim = await lab.claim(identity)
    keys = [bound.key for bound in await lab.bind(claim, *outputs)] if outputs else []
    ran = await lab.catalog.record_code(code)
    done = Done(identity, claim.attempt, keys, skip=skip, ran=ran, reads=reads)
    (answer,) = await lab.catalog.finish("w1", [done])
    assert answer is not None, "the token holds"
    return answer


async def finished(
    lab: Lab,
    path: str = "doc.txt",
    parts: Sequence[NewOutput] = (Lab.output("doc/1.txt", "a"), Lab.output("doc/2.txt", "b")),
    *,
    content: str = "",
    reads: int | None = 0,
    code: Sequence[AdapterCode] = CODE,
    config: Config = CHAIN,
    own: dict[str, object] | None = None,
) -> UUID:
    """A run with one document, whose parts are embedded: `a` becomes `A`. It has ended."""
    run = await started(lab, path, content=content, config=config)
    split = await finish(lab, run.ids[0], *parts, code=code)
    for part, identity in zip(parts, lab.ids(split.children), strict=True):
        text = part.path.replace(".txt", ".json")
        vector = lab.output(text, part.path[-5:].upper(), **part.attributes, **(own or {}))
        for index in lab.ids((await finish(lab, identity, vector, reads=reads, code=code)).children):
            await finish(lab, index, code=code)
    assert await lab.catalog.end_executions([run.execution]) == [run.execution]
    return run.execution


async def started(
    lab: Lab, path: str, *, content: str = "", config: Config = CHAIN, items: object = None
) -> Started:
    """A run with one document. With `items`, it uses results again."""
    reuse = None if items is None else Reusable(items=items)  # type: ignore[arg-type]
    if reuse:
        await lab.catalog.index_results(config.name)
    version = await lab.save(config)
    opened = await lab.catalog.open_run(
        uuid7(), config.name, version, tags=(), owner="w1", lease=lab.LEASE, reuse=reuse
    )
    run = opened.execution_id
    await lab.catalog.bind_inputs(run, [lab.input(path, content)], takes_over=reuse is not None)
    assert await lab.catalog.seal(run)
    held = await lab.hold(run)
    dispatches = await lab.list_all(held, f"{run}/input/{path}")
    assert await lab.catalog.mark(held, 1)
    assert await lab.catalog.close_job(held)
    return Started(run, dispatches)


async def again(
    lab: Lab,
    *parts: NewOutput,
    items: object = ITEMS,
    config: Config = CHAIN,
    path: str = "doc.txt",
) -> tuple[UUID, list[str]]:
    """Run a changed document with these parts; return the run, and the parts that are processed."""
    run = await started(lab, path, content="changed", config=config, items=items)
    answer = await finish(lab, run.ids[0], *parts)
    at = f"{run.execution}/parts/"
    return run.execution, sorted(
        one.object_key.removeprefix(at) for one in answer.children if one.object_key.startswith(at)
    )


async def taken(lab: Lab, run: UUID) -> dict[str, str]:
    """The objects that a run refers to, with where they are; both without their executions."""
    found = await lab.catalog.references(str(run), limit=100)
    return {one.key.partition("/")[2]: one.location.partition("/")[2] for one in found}


# -- which results ---------------------------------------------------------------------------------


async def test_parts_that_have_moved_are_taken_over(lab: Lab):
    await finished(lab)

    run, processed = await again(
        lab, lab.output("doc/1.txt", "new"), lab.output("doc/2.txt", "a"), lab.output("doc/3.txt", "b")
    )

    assert processed == ["doc/1.txt"]
    assert await taken(lab, run) == {
        "vectors/doc/2.json": "vectors/doc/1.json",
        "vectors/doc/3.json": "vectors/doc/2.json",
    }


async def test_the_messages_below_them_are_published_by_who_finished_the_parent(lab: Lab):
    await finished(lab)
    run = await started(lab, "doc.txt", content="changed", items=ITEMS)

    answer = await finish(lab, run.ids[0], lab.output("doc/7.txt", "a"))

    (below,) = answer.children
    assert below.object_key == f"{run.execution}/vectors/doc/7.json"
    assert await lab.catalog.orphans("w1", limit=10, without=()) == []
    assert [one.correlation_id for one in await lab.catalog.orphans("w2", limit=10, without=())] == []
    await lab.die("w1")
    orphans = await lab.catalog.orphans("w2", limit=10, without=())
    assert [one.correlation_id for one in orphans] == [below.correlation_id]


async def test_an_attempt_whose_answer_was_lost_returns_what_follows_again(lab: Lab):
    await finished(lab)
    run = await started(lab, "doc.txt", content="changed", items=ITEMS)
    claim = await lab.claim(run.ids[0])
    keys = [
        one.key for one in await lab.bind(claim, lab.output("doc/7.txt", "a"), lab.output("doc/8.txt", "x"))
    ]
    done = Done(run.ids[0], claim.attempt, keys, ran=await lab.catalog.record_code(CODE), reads=0)
    (first,) = await lab.catalog.finish("w1", [done])

    (repeated,) = await lab.catalog.finish("w1", [done])

    assert first
    assert repeated
    names = {one.object_key.removeprefix(f"{run.execution}/") for one in first.children}
    assert names == {"parts/doc/8.txt", "vectors/doc/7.json"}
    assert {one.correlation_id for one in repeated.children} == {one.correlation_id for one in first.children}


async def test_a_renamed_document_is_taken_over_whole(lab: Lab):
    await finished(lab, content="text")

    run = await started(lab, "other.txt", content="text", items=ITEMS)

    assert run.dispatches == []
    assert await taken(lab, run.execution) == {
        "parts/other/1.txt": "parts/doc/1.txt",
        "parts/other/2.txt": "parts/doc/2.txt",
        "vectors/other/1.json": "vectors/doc/1.json",
        "vectors/other/2.json": "vectors/doc/2.json",
    }
    counts = await lab.counts(run.execution)
    assert (counts.taken_over, counts.pending) == (3, 2)


async def test_a_path_with_another_suffix_is_another_item(lab: Lab):
    """The paths of the outputs do not follow from its stem alone."""
    await finished(lab, "doc.html", content="text")

    same = await started(lab, "same.html", content="text", items=ITEMS)
    other = await started(lab, "other.htm", content="text", items=ITEMS)

    assert (len(same.dispatches), len(other.dispatches)) == (0, 1)


@pytest.mark.parametrize(
    ("reads", "path", "attribute", "is_taken"),
    [
        (0, "doc/9.txt", 2, True),
        (READS_PATH, "doc/1.txt", 2, True),
        (READS_PATH, "doc/9.txt", 1, False),
        (READS_ATTRIBUTES, "doc/9.txt", 1, True),
        (READS_ATTRIBUTES, "doc/1.txt", 2, False),
        (READS_PATH | READS_ATTRIBUTES, "doc/1.txt", 1, True),
        (READS_PATH | READS_ATTRIBUTES, "doc/9.txt", 1, False),
        (READS_MESSAGE, "doc/1.txt", 1, False),
        (READS_MESSAGE | READS_PATH, "doc/1.txt", 1, False),
        (None, "doc/1.txt", 1, True),
        (None, "doc/9.txt", 1, False),
        (None, "doc/1.txt", 2, False),
    ],
)
async def test_what_the_steps_have_read_must_be_the_same(
    lab: Lab, reads: int | None, path: str, attribute: int, is_taken: bool
):
    await finished(lab, parts=[lab.output("doc/1.txt", "a", n=1)], reads=reads)

    _, processed = await again(lab, lab.output(path, "a", n=attribute))

    assert processed == ([] if is_taken else [path])


async def test_another_type_of_content_is_another_item(lab: Lab):
    await finished(lab)

    _, processed = await again(lab, lab.output("doc/1.txt", "a")._replace(content_type="text/markdown"))

    assert processed == ["doc/1.txt"]


async def test_attributes_that_no_step_has_read_are_those_of_the_new_item(catalog: Catalog, lab: Lab):
    await finished(lab, parts=[lab.output("doc/1.txt", "a", n=1, old=True)], own={"model": "m"})

    run, processed = await again(lab, lab.output("doc/5.txt", "a", n=5, new=None))

    assert processed == []
    key = f"{run}/vectors/doc/5.json"
    source = (await catalog.sources([key]))[key]
    assert source.attributes == {"n": 5, "new": None, "model": "m"}
    (row,) = await catalog.recorded(key, f"{key}0", limit=1)
    made = NewOutput(key, row.size, row.sha256, b"", row.content_type, source.attributes)
    assert fingerprint_of(made.sha256, made.content_type, made.attributes)


@pytest.mark.parametrize("difference", ["code", "declaration", "config", "route"])
async def test_other_code_and_other_declarations_have_other_results(lab: Lab, difference: str):
    await finished(lab, code=OTHER if difference == "code" else CODE)
    config, items = CHAIN, ITEMS
    if difference == "declaration":
        embed = replace(CHAIN.routes["embed"], steps=(Step("step", {"size": 2}),))
        config = replace(CHAIN, routes={**CHAIN.routes, "embed": embed})
    elif difference == "config":
        config = replace(CHAIN, name="other")
        config = replace(config, routes={n: replace(r, queue=f"other.{n}") for n, r in config.routes.items()})
    elif difference == "route":
        items = {"split": [CODE]}

    _, processed = await again(lab, lab.output("doc/1.txt", "a"), config=config, items=items)

    assert processed == ["doc/1.txt"]


async def test_one_result_may_serve_many_items(lab: Lab):
    await finished(lab)

    run, processed = await again(lab, *(lab.output(f"doc/{n}.txt", "a") for n in range(5)))

    assert processed == []
    assert await taken(lab, run) == {f"vectors/doc/{n}.json": "vectors/doc/1.json" for n in range(5)}


async def test_the_reason_of_a_skipped_message_is_taken_over(catalog: Catalog, lab: Lab):
    run = await started(lab, "doc.txt")
    (embed,) = lab.ids((await finish(lab, run.ids[0], lab.output("doc/1.txt", "a"))).children)
    await finish(lab, embed, skip=Skip("no_output", "nothing to embed"))
    await catalog.end_executions([run.execution])

    new, processed = await again(lab, lab.output("doc/8.txt", "a"))

    assert processed == []
    rows, _ = await catalog.lineage_list(execution=new)
    (found,) = [one for one in rows if one.route == "embed"]
    assert (found.status, found.skip_reason) == ("taken_over", "nothing to embed")


async def test_a_replay_uses_results_again(catalog: Catalog, lab: Lab):
    source = await finished(lab)
    await catalog.index_results("docs")
    opened = await catalog.open_replay(
        batch=uuid7(),
        request=ReplayRequest(source, "input", None, "split", reuse=True),
        prefix=f"{source}/input",
        config="docs",
        version=await lab.save(CHAIN),
        route="split",
        reuse=Reusable(items={"embed": [CODE]}),
    )
    replay = opened.replay.execution_id
    await catalog.admit(per_queue=0)
    held = await lab.hold(replay)
    (root,) = lab.ids(await lab.list_all(held, f"{source}/input/doc.txt"))
    assert await catalog.mark(held, 1)

    answer = await finish(lab, root, lab.output("doc/1.txt", "new"), lab.output("doc/2.txt", "a"), code=OTHER)

    keys = [one.object_key.partition("/")[2] for one in answer.children]
    assert sorted(keys) == ["parts/doc/1.txt", "vectors/doc/2.json"]


async def test_an_execution_without_reuse_takes_nothing_over(lab: Lab):
    await finished(lab)

    _, processed = await again(lab, lab.output("doc/1.txt", "a"), items=None)

    assert processed == ["doc/1.txt"]


async def test_a_cancelled_execution_takes_nothing_over(catalog: Catalog, lab: Lab):
    await finished(lab)
    run = await started(lab, "doc.txt", content="changed", items=ITEMS)
    claim = await lab.claim(run.ids[0])
    await catalog.cancel(run.execution)

    assert await lab.done(claim, lab.output("doc/1.txt", "a")) == []

    assert await taken(lab, run.execution) == {}
    assert (await lab.counts(run.execution)).cancelled == 1


# -- what the index knows --------------------------------------------------------------------------


async def test_only_executions_that_have_settled_are_indexed(catalog: Catalog, lab: Lab):
    run = await started(lab, "doc.txt")
    (embed,) = lab.ids((await finish(lab, run.ids[0], lab.output("doc/1.txt", "a"))).children)
    (index,) = lab.ids((await finish(lab, embed, lab.output("doc/1.json", "A"))).children)
    _, processed = await again(lab, lab.output("doc/1.txt", "a"))
    assert processed == ["doc/1.txt"]

    await finish(lab, index)
    await catalog.end_executions([run.execution])

    _, processed = await again(lab, lab.output("doc/1.txt", "a"))
    assert processed == []


async def test_an_execution_that_ran_again_is_indexed_again(catalog: Catalog, lab: Lab):
    run = await started(lab, "doc.txt")
    (embed,) = lab.ids((await finish(lab, run.ids[0], lab.output("doc/1.txt", "a"))).children)
    await lab.kill(embed)
    await catalog.end_executions([run.execution])
    _, processed = await again(lab, lab.output("doc/1.txt", "a"))
    assert processed == ["doc/1.txt"]

    await catalog.resend(ids=[embed])
    await finish(lab, embed, lab.output("doc/1.json", "A"))
    rows, _ = await catalog.lineage_list(execution=run.execution)
    await finish(lab, next(one.correlation_id for one in rows if one.route == "index"))
    await catalog.end_executions([run.execution])

    _, processed = await again(lab, lab.output("doc/1.txt", "a"))
    assert processed == []


async def test_the_index_is_written_in_pages_and_tells_how_far_it_is(
    catalog: Catalog, lab: Lab, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("playhead.backends._sql_catalog.reusing._PAGE", 10)
    await finished(lab, parts=[lab.output(f"doc/{n}.txt", str(n)) for n in range(11)])
    seen: list[int] = []

    await catalog.index_results("docs", seen.append)

    assert seen == sorted(seen)
    assert seen[-1] == 12
    assert len(set(seen)) > 2
    await catalog.index_results("docs", seen.append)
    assert seen[-1] == 12, "an indexed execution is not read again"


async def test_publications_do_not_count_among_the_newest_executions(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("playhead.backends._sql_catalog.reusing._MOST_EXECUTIONS", 2)
    await finished(lab)
    publisher = Publisher(lab)
    await publisher.dataset()
    await publisher.publish(await publisher.run(doc="a b"))

    _, processed = await again(lab, lab.output("doc/1.txt", "a"))

    assert processed == []


async def test_the_newest_message_is_used(lab: Lab):
    await finished(lab)
    second = await finished(lab, content="2")

    run, _ = await again(lab, lab.output("doc/3.txt", "a"))

    (found,) = await lab.catalog.references(str(run), limit=10)
    assert found.location == f"{second}/vectors/doc/1.json"


# -- what may be gone ------------------------------------------------------------------------------


async def prune(catalog: Catalog, execution: UUID, *stages: str) -> None:
    for pruning in await catalog.begin_prune([Candidate(execution, stages, None)]):
        last = None
        while page := await catalog.prune_page(pruning, deleted=last, limit=10):
            last = page.last
        await catalog.end_prune(pruning)


async def test_pruned_objects_are_not_used(catalog: Catalog, lab: Lab):
    source = await finished(lab)
    await catalog.index_results("docs")
    await prune(catalog, source, "vectors")

    _, processed = await again(lab, lab.output("doc/1.txt", "a"))

    assert processed == ["doc/1.txt"]


async def test_pruned_objects_to_which_another_execution_refers_are_used(catalog: Catalog, lab: Lab):
    source = await finished(lab)
    first, _ = await again(lab, lab.output("doc/5.txt", "a"))
    await prune(catalog, source)

    second, processed = await again(lab, lab.output("doc/6.txt", "a"), lab.output("doc/7.txt", "b"))

    assert processed == ["doc/7.txt"], "nothing refers to the result of `b`"
    (found,) = await catalog.references(str(second), limit=10)
    assert found.location == f"{source}/vectors/doc/1.json"
    await prune(catalog, first)
    assert await catalog.unstored([found.key]) == set()


async def test_results_whose_records_were_deleted_are_forgotten(catalog: Catalog, lab: Lab):
    source = await finished(lab)
    await catalog.index_results("docs")
    await prune(catalog, source)
    for pruning in await catalog.begin_prune([Candidate(source, (), None, records=True)]):
        last = ""
        while page := await catalog.delete_records(pruning, after=last, limit=10):
            last = page.last
        await catalog.end_prune(pruning)

    _, processed = await again(lab, lab.output("doc/1.txt", "a"))

    assert processed == ["doc/1.txt"]


async def test_an_output_that_another_message_has_bound_is_not_taken_over(lab: Lab):
    """The message is processed, and its attempt reports the conflict."""
    await finished(lab)
    both = replace(
        CHAIN,
        routes={
            **CHAIN.routes,
            "split": replace(CHAIN.routes["split"], to=("embed", "embed2")),
            "embed2": Lab.route("embed2", stage="vectors", to=("index",)),
        },
    )
    run = await started(lab, "doc.txt", content="changed", config=both, items=ITEMS)
    first = await finish(lab, run.ids[0], lab.output("doc/0.txt", "new"))
    other = next(one for one in first.children if one.headers.route == "embed2")
    await finish(lab, lab.ids([other])[0], lab.output("doc/1.json", "X"))

    replayed = await started(lab, "doc.txt", content="changed again", config=both, items=ITEMS)
    answer = await finish(lab, replayed.ids[0], lab.output("doc/1.txt", "a"))

    assert [one.headers.route for one in answer.children].count("embed2") == 1


async def test_a_replay_that_is_held_back_takes_no_roots_over(catalog: Catalog, lab: Lab):
    """What follows them would be processed before the canary is decided, and faster than the pace."""
    source = await finished(lab)
    await catalog.index_results("docs")
    opened = await catalog.open_replay(
        batch=uuid7(),
        request=ReplayRequest(source, "input", None, "split", canary=Canary(1), reuse=True),
        prefix=f"{source}/input",
        config="docs",
        version=await lab.save(CHAIN),
        route="split",
        reuse=Reusable(items=ITEMS),
    )
    await catalog.admit(per_queue=0)
    held = await lab.hold(opened.replay.execution_id)

    assert await lab.list_all(held, f"{source}/input/doc.txt")
