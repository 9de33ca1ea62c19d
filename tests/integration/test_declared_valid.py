"""What shows that results were declared valid, and where a declaration is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from playhead.errors import NotFound
from playhead.ports.catalog.browse import ExecutionFilter
from playhead.wording import published_text
from tests.integration.documents_by_day import CONFIG, REASON, Days, Oracle, documents


@pytest.fixture
async def days(catalog_setting: dict[str, Any], tmp_path: Path) -> AsyncIterator[Days]:
    async with documents(tmp_path, **catalog_setting) as days:
        yield days


# -- what shows it ---------------------------------------------------------------------------------


@pytest.mark.timeout(120)
async def test_lineage_and_why_name_the_code_the_replay_and_the_reason(days: Days):
    ph = days.ph
    days.fix()
    replay = await days.replay(days.those("tables"), others_valid=True, reason=REASON)
    run = await days.run(days.edit())
    name = min(days.older())

    [row] = [one for one in await ph.messages(run, route="chunk") if one["input_key"].endswith(name)]
    [link] = await ph.items("lineage", object_key=row["output_keys"][0])
    found = await ph.rt.services.why.explain(UUID(run), name)

    for one in (row, link):
        assert (one["status"], one["declared_valid"]["execution_id"]) == ("taken_over", replay)
        assert one["declared_valid"]["reason"] == REASON
        assert one["adapters"][0]["code"] != one["declared_valid"]["adapters"][0]["code"] == "sha256:2"
    [route] = [one for one in found.routes if one.route == "chunk"]
    batch = row["declared_valid"]["replay_batch_id"]
    assert (
        f"taken over from an earlier execution (declared valid with replay {batch} on " in route.explanation
    )
    assert REASON in route.explanation
    assert "declared valid" not in next(one.explanation for one in found.routes if one.route == "embed")


@pytest.mark.timeout(120)
async def test_stale_results_are_those_that_are_not_declared_valid(days: Days):
    ph, service = days.ph, days.ph.rt.services.publish
    days.fix()
    tables = days.those("tables")
    failed = min(tables)
    await days.replay(tables, {failed}, others_valid=True, reason=REASON)

    codes = {
        one.adapters[0].code: one
        for one in (await service.code("docs")).items
        if one.route == "chunk" and one.adapters
    }
    assert codes["sha256:2"].declared_valid == 0
    [older] = [one for code, one in codes.items() if code != "sha256:2"]
    assert (older.is_newest, older.results, older.declared_valid) == (
        False,
        len(days.older()),
        len(days.older()) - 1,
    )
    [stale] = (await service.stale("docs", route="chunk")).items
    assert (stale.from_path, stale.error_code) == (failed, "rejected")
    # `ROUTE!=newest` selects what is stale, and `ADAPTER=VERSION` or another condition what has that code.
    source = str(await ph.rt.services.resolve.execution("current:docs"))
    body = {
        "from_execution_id": source,
        "from_stage": "docs",
        "to_route": "chunk",
        "made_by": "chunk!=newest",
    }
    plan = await ph.post("replay/plan", body)
    assert (plan["objects"], plan["others_valid"]) == (1, None)
    # Code that changes again makes nothing of it valid.
    days.fix()
    assert await days.numbers() == (len(days.oracle.texts), len(days.oracle.texts), 0)
    assert len(await days.declared()) == 1


@pytest.mark.timeout(120)
async def test_a_plan_says_how_many_objects_it_leaves_out_and_its_replay_declares_them_valid(days: Days):
    ph = days.ph
    days.fix()
    source = str(await ph.rt.services.resolve.execution("current:docs"))
    body = {"from_execution_id": source, "from_stage": "docs", "to_route": "chunk", "include": ["tables/**"]}
    plan = await ph.post("replay/plan", body | {"others_valid": True})
    assert plan["others_valid"] == len(days.oracle.texts) - plan["objects"]

    refused = await ph.http.post("/api/v1/replay", json={"plan_id": plan["plan_id"]})
    assert (refused.status_code, "it needs a reason" in refused.text) == (400, True)
    other = {"plan_id": plan["plan_id"], "others_valid": False, "reason": REASON}
    assert (await ph.http.post("/api/v1/replay", json=other)).status_code == 400

    made = await ph.post("replay", {"plan_id": plan["plan_id"], "reason": REASON})
    [one] = await days.declared()
    assert str(one.execution_id) == made["execution_id"]
    assert (await ph.get(f"replays/{one.replay_batch_id}"))["others_valid"] is True


@pytest.mark.timeout(120)
async def test_a_fix_of_the_settings_carries_over_too(days: Days):
    """The code of the step is the same. Only what the config declares of the route has changed."""
    ph, texts = days.ph, days.oracle.texts
    fixed = "{type: chunk, condition: {field: path, operator: exists}}"
    await ph.apply(CONFIG.replace("{type: chunk}", fixed))
    assert await days.numbers() == (len(texts), len(texts), 0)
    tables = days.those("tables")
    await days.replay(tables, others_valid=True, reason=REASON)
    assert await days.numbers() == (len(texts), 0, len(texts) - len(tables))

    changed = await days.run_edited()
    changed |= await days.run_edited()
    older = set(texts) - tables - changed
    assert await days.numbers() == (len(texts), 0, len(older))
    await ph.post("datasets/docs/forget", {"route": "chunk"})
    assert await days.numbers() == (len(texts), len(older), 0)
    await days.run(set(), older=older)
    assert await days.numbers() == (len(texts), 0, 0)


@pytest.mark.timeout(120)
async def test_what_readers_do_not_see_is_not_declared_valid(days: Days):
    """A run was not published before the fix. What it has changed is processed again, and nothing else."""
    ph, oracle = days.ph, days.oracle
    shown = Oracle(dict(oracle.texts), oracle.code, dict(oracle.cut_by))
    edited = days.edit()
    await days.run(edited, publishes=False)
    newer, days.oracle = oracle, shown
    days.fix()
    tables = days.those("tables")
    await days.replay(tables, others_valid=True, reason=REASON)

    days.oracle, newer.code = newer, shown.code
    unchanged = {name for name in tables if newer.texts.get(name) == shown.texts[name]}
    newer.cut_by |= dict.fromkeys(unchanged, newer.code)
    run = await days.run(set(), older=edited)

    assert {
        row["input_key"].partition("/docs/")[2]
        for row in await ph.messages(run, route="chunk")
        if row["declared_valid"]
    } == days.older()
    assert days.older() == set(newer.texts) - unchanged - edited


# -- where it can mean nothing -----------------------------------------------------------------------


@pytest.mark.timeout(120)
async def test_it_is_refused_where_it_can_mean_nothing(days: Days):
    ph = days.ph
    days.fix()
    [run], _ = await ph.rt.catalog.executions(ExecutionFilter(kind="run"))
    current = await ph.rt.services.resolve.execution("current:docs")

    async def refused(
        why: str, source: UUID = current, stage: str = "docs", route: str = "chunk", **given: Any
    ) -> None:
        asked = {
            "from_execution_id": str(source),
            "from_stage": stage,
            "to_route": route,
            "others_valid": True,
        }
        answer = await ph.http.post(
            "/api/v1/replay", json=asked | {"reason": REASON, "from_path": "tables"} | given
        )
        assert (answer.status_code, answer.json()["error_code"]) == (400, "invalid_body"), answer.text
        assert why in answer.json()["detail"]

    await refused("it needs a reason", reason=None)
    await refused("it needs a reason", reason=" ")
    await refused("leaves out no object", from_path=None)
    await refused("is not a publication of config docs", source=run.execution_id)
    await refused("has no result of the route chunk for stage input", stage="input")
    added = (
        CONFIG.replace("to: [chunk]", "to: [chunk, send, ask, other, plain]")
        + """
  send:
    adapters: [{type: send}]
    outbound: {stage: sent}
  ask:
    adapters: [{type: ask}]
    outbound: {stage: asked}
  other:
    external: true
  plain:
    adapters: [{type: do}]
"""
    )
    await ph.apply(added)
    await refused("the route send has external effects (send)", route="send")
    await refused("ask is declared with reuse=False", route="ask")
    await refused("other programs consume the queue of route other", route="other")
    await refused("the route plain has no stage", route="plain")
    assert await days.declared() == []
    assert await ph.rt.catalog.executions(ExecutionFilter(kind="replay")) == ([], None)

    other = await ph.run({"a.md": "x"})
    await days.publish(other, allow=["removed"])
    await refused("readers do not see publication 1 of docs, but 2")
    ph.rt.adapters.pop("chunk")  # type: ignore[attr-defined]
    source = await ph.rt.services.resolve.execution("current:docs")
    unknown = {
        "from_execution_id": str(source),
        "from_stage": "docs",
        "to_route": "chunk",
        "from_path": "a.md",
    }
    answer = await ph.http.post("/api/v1/replay", json=unknown | {"others_valid": True, "reason": REASON})
    assert (answer.status_code, answer.json()["error_code"]) == (409, "code_unknown")


@pytest.mark.timeout(60)
async def test_nothing_can_be_undone_that_was_not_declared(days: Days):
    with pytest.raises(
        NotFound, match="no results of the route 'embed' are declared valid in docs"
    ) as refused:
        await days.ph.rt.services.publish.forget("docs", "embed")
    assert refused.value.code == "route_not_found"


@pytest.mark.timeout(120)
async def test_lineage_and_why_of_what_readers_see_name_the_declaration(days: Days):
    """Before a run has taken it over: the message that made the result is that of the first run."""
    ph = days.ph
    days.fix()
    await days.replay(days.those("tables"), others_valid=True, reason=REASON)
    current = await ph.rt.services.resolve.execution("current:docs")

    async def published(name: str) -> list[str | None]:
        """Why the chunks of a document are valid."""
        found = []
        for n in (1, 2):
            key = f"{current}/chunks/{name.removesuffix('.md')}/{n:04}.txt"
            [version] = [one for one in await ph.rt.services.objects.versions(key) if one.key == key]
            [one] = version.published
            found.append(one.declared_valid.reason if one.declared_valid else None)
            assert ("declared valid with" in published_text(one)) == (one.declared_valid is not None)
        return found

    assert await published("letters/1.md") == [REASON, REASON]
    assert await published("tables/0.md") == [None, None]
    why = await ph.rt.services.why.explain(current, "chunks/letters/1/0002.txt")
    assert (
        f"readers of docs see it: declared valid with replay {(await days.declared())[0].replay_batch_id}"
        in why.explanation
    )
    why = await ph.rt.services.why.explain(current, "chunks/tables/0/0002.txt")
    assert "declared valid" not in why.explanation

    await ph.post("datasets/docs/forget", {"route": "chunk"})
    assert await published("letters/1.md") == [None, None]
