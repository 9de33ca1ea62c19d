"""Runs with `changed_since`: what they process, and how the results that they take over are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

if TYPE_CHECKING:
    from tests.api.server import Playhead

FILES: Mapping[str, bytes] = {"a.md": b"one two", "b.md": b"three", "none.md": b""}


async def since(playhead: Playhead, earlier: str, files: Mapping[str, bytes], **fields: Any) -> str:
    """Run files since an earlier run, and return the id of the new one."""
    answer = await playhead.http.post(
        f"/api/v1/configs/{fields.pop('config', 'words')}/run",
        files=[("files", (name, data)) for name, data in files.items()],
        data={"changed_since": earlier, **fields},
    )
    assert answer.status_code == 202, answer.text
    await playhead.work()
    return str(answer.json()["execution_id"])


async def listed(playhead: Playhead, execution: str, **where: str) -> list[tuple[str, str | None]]:
    """Return stage/path of each object, and where its bytes are."""
    found = await playhead.items("storage/objects", execution_id=execution, **where)
    return [(f"{one['stage']}/{one['path']}", one["taken_over_from"]) for one in found]


async def text(playhead: Playhead, key: str) -> str:
    answer = await playhead.http.get("/api/v1/storage/objects/content", params={"key": key})
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_only_new_and_changed_files_are_processed(playhead: Playhead):
    earlier = await playhead.run(FILES)

    run = await since(playhead, "latest", {**FILES, "b.md": b"four", "c.md": b"five"})

    shown = await playhead.get(f"executions/{run}")
    assert (shown["status"], shown["changed_since"]) == ("completed", earlier)
    assert (shown["counts"]["total"], shown["counts"]["taken_over"]) == (8, 4)
    assert {
        row["input_key"].partition("/")[2]: row["status"]
        for row in await playhead.items(f"executions/{run}/lineage")
        if row["route"] == "upper"
    } == {
        "input/a.md": "taken_over",
        "input/b.md": "completed",
        "input/c.md": "completed",
        "input/none.md": "taken_over",
    }
    assert await text(playhead, f"{run}/shouted/a.md") == "ONE TWO"
    assert await text(playhead, f"{run}/shouted/b.md") == "FOUR"
    routes = (await playhead.get(f"executions/{run}/routes"))["items"]
    assert {one["route"]: one["counts"]["taken_over"] for one in routes} == {
        "upper": 2,
        "split": 2,
        "aside": 0,
    }


async def test_references_are_listed_in_order_with_the_objects(playhead: Playhead):
    earlier = await playhead.run(FILES)
    run = await since(playhead, earlier, {"a.md": b"changed", "b.md": b"three", "c.md": b""})

    async def pages(limit: int) -> list[tuple[str, str | None]]:
        return await listed(playhead, run, stage="input", limit=str(limit))

    expected = [
        ("input/a.md", None),
        ("input/b.md", f"{earlier}/input/b.md"),
        ("input/c.md", None),
    ]
    assert [await pages(limit) for limit in (1, 2, 100)] == [expected] * 3
    [stage, *_] = (await playhead.get(f"executions/{run}/stages"))["items"]
    assert (stage["stage"], stage["objects"], stage["bytes"]) == ("input", 3, 12)
    totals = await playhead.get(f"executions/{run}/totals")
    assert totals["stages"][0] == {"stage": "input", "objects": 3, "bytes": 12}
    assert await listed(playhead, run, stage="shouted", path="b.md") == [
        ("shouted/b.md", f"{earlier}/shouted/b.md")
    ]


async def test_a_taken_over_object_has_the_content_and_the_sidecar_of_the_original(playhead: Playhead):
    earlier = await playhead.run(FILES)
    run = await since(playhead, earlier, FILES)
    key = f"{run}/shouted/a.md"

    assert await text(playhead, key) == "ONE TWO"
    sidecar = await playhead.get("storage/objects/metadata", key=key)
    assert (sidecar["key"], sidecar["execution_id"]) == (f"{earlier}/shouted/a.md", earlier)
    head = await playhead.http.head("/api/v1/storage/objects/content", params={"key": key})
    assert (head.status_code, head.headers["Content-Type"]) == (200, "text/markdown")


async def test_lineage_and_why_name_what_was_processed(playhead: Playhead):
    earlier = await playhead.run(FILES)
    second = await since(playhead, earlier, FILES)
    run = await since(playhead, second, FILES)
    originals = {
        row["output_keys"][0].partition("/")[2]: row["correlation_id"]
        for row in await playhead.items(f"executions/{earlier}/lineage")
        if row["output_keys"]
    }

    [link] = await playhead.items("lineage", object_key=f"{run}/shouted/a.md")
    assert (link["status"], link["taken_over_from"]) == ("taken_over", originals["shouted/a.md"])
    assert link["adapters"] == [{"type": "upper", "version": "1", "code": "sha256:aa"}]
    why = await playhead.get(f"executions/{run}/why", path="a.md")
    assert why["outcome"] == "completed"
    assert [route["explanation"] for route in why["routes"]] == [
        "taken over from an earlier execution: outputs are in stage shouted",
        "taken over from an earlier execution: outputs are in stage split/words",
    ]
    why = await playhead.get(f"executions/{run}/why", path="none.md")
    assert (why["outcome"], why["routes"][-1]["outcome"]) == ("no_output", "no_output")
    assert "returned no output" in why["explanation"]


async def reasons(playhead: Playhead, earlier: str, **fields: Any) -> tuple[list[str], dict[str, int]]:
    """Run one text since an earlier run. Return the warnings, and how many messages each route took over."""
    answer = await playhead.http.post(
        "/api/v1/configs/words/run",
        files=[("files", ("a.md", b"one two"))],
        data={"changed_since": earlier, **fields},
    )
    assert answer.status_code == 202, answer.text
    await playhead.work()
    routes = (await playhead.get(f"executions/{answer.json()['execution_id']}/routes"))["items"]
    taken_over = {one["route"]: one["counts"]["taken_over"] for one in routes}
    return [unquote(one) for one in answer.headers.get_list("X-Playhead-Warning")], taken_over


@pytest.mark.parametrize(
    ("name", "changed", "taken_over", "why"),
    [
        ("split", {}, (1, 1), None),
        (
            "upper",
            {"code": "sha256:bb"},
            (0, 1),  # its output is the same, so the result of the next route is
            "route upper processes all items again: the code of upper differs from that of execution {}, but "
            "not the version. To keep the results: --compare version",
        ),
        (
            "split",
            {"version": "2", "code": "sha256:bb"},
            (1, 0),
            "route split processes all items again: the version of split differs from that of execution {}",
        ),
    ],
)
async def test_a_warning_names_the_code_that_has_changed(
    playhead: Playhead, name: str, changed: dict[str, str], taken_over: tuple[int, int], why: str | None
):
    earlier = await playhead.run({"a.md": b"one two"})
    playhead.load(name, **changed)

    found, counts = await reasons(playhead, earlier)

    assert [one for one in found if one.startswith("route ")] == ([why.format(earlier)] if why else [])
    assert (counts["upper"], counts["split"]) == taken_over


async def test_results_of_other_code_of_the_same_version_may_be_accepted(playhead: Playhead):
    earlier = await playhead.run({"a.md": b"one two"})
    playhead.load("upper", code="sha256:bb")
    playhead.load("split", code="sha256:bb", version="2")

    found, counts = await reasons(playhead, earlier, compare="version")

    assert counts == {"upper": 1, "split": 0, "aside": 0}
    why = "route split processes all items again: the version of split differs from that of execution"
    assert [one for one in found if one.startswith("route ")] == [f"{why} {earlier}"]
    assert (await reasons(playhead, "latest"))[1] == {"upper": 0, "split": 1, "aside": 0}


async def test_results_of_a_route_with_mixed_code_are_taken_over_where_they_fit(playhead: Playhead):
    earlier = await playhead.run({"a.md": b"one two", "b.md": b"three"})
    playhead.load("upper", code="sha256:bb")
    mixed = await since(playhead, earlier, {"a.md": b"one two", "b.md": b"four"}, compare="version")
    playhead.load("upper", code="sha256:aa")

    found, counts = await reasons(playhead, mixed)

    assert found[0].startswith("route upper processes some items again: the code of upper differs")
    assert counts["upper"] == 1


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (
            "{type: split}",
            "{type: split, condition: {field: size, operator: gt, value: 0, otherwise: drop}}",
            "route split processes all items: its stage or its steps have changed in the config since "
            "execution {}",
        ),
        (
            "to: [split]}",
            "to: [split, new]}\n  new: {adapters: [{type: upper}], outbound: {stage: new}}",
            "route new processes all items: execution {} did not have this route",
        ),
    ],
)
async def test_a_warning_names_the_route_that_has_changed_in_the_config(
    playhead: Playhead, old: str, new: str, why: str
):
    earlier = await playhead.run({"a.md": b"one two"})
    await playhead.apply(playhead.config_source.replace(old, new))
    assert (await reasons(playhead, earlier))[0] == [why.format(earlier)]


async def test_a_warning_names_the_route_that_has_no_stage(playhead: Playhead):
    await playhead.apply(playhead.config_source.replace("    outbound: {stage: split/words}\n", ""))
    earlier = await playhead.run({"a.md": b"one two"})
    why = "route split processes all items: it has no stage, so its results are not stored"
    assert (await reasons(playhead, earlier))[0] == [why]


async def test_a_warning_names_the_route_whose_stage_was_pruned(playhead: Playhead):
    earlier = await playhead.run({"a.md": b"one two"})
    await playhead.post("prune", {"execution_ids": [earlier], "stages": ["shouted"]})
    why = f"route upper processes all items: stage shouted of execution {earlier} was pruned"
    assert (await reasons(playhead, earlier))[0] == [why]


async def test_results_of_a_replay_are_taken_over(playhead: Playhead):
    files = {"a.md": b"one two", "b.md": b"three"}
    earlier = await playhead.run(files)
    playhead.load("split", version="2")
    replay = (await playhead.replay(earlier, "shouted", "split", "a.md"))["execution_id"]
    await playhead.work()

    found, _ = await reasons(playhead, earlier)
    run = await since(playhead, earlier, files)

    why = f"the version of split differs from that of execution {earlier}"
    assert f"route split processes the items that no replay has processed, if there are any: {why}" in found
    assert await listed(playhead, run, stage="split/words") == [
        ("split/words/a/0001.txt", f"{replay}/split/words/a/0001.txt"),
        ("split/words/a/0002.txt", f"{replay}/split/words/a/0002.txt"),
        ("split/words/b/0001.txt", None),
    ]
    why = await playhead.get(f"executions/{run}/why", path="a.md")
    assert why["routes"][-1]["explanation"] == (
        "taken over from an earlier execution: outputs are in stage split/words"
    )
    assert (await reasons(playhead, run))[0] == []


async def test_a_replay_with_another_declaration_of_the_route_is_not_taken_over(playhead: Playhead):
    earlier = await playhead.run({"a.md": b"one two"})
    playhead.load("split", version="2")
    source = playhead.config_source
    drop = "{field: content_type, operator: equals, value: text/plain, otherwise: drop}"
    await playhead.apply(source.replace("{type: split}", f"{{type: split, condition: {drop}}}"))
    await playhead.replay(earlier, "shouted", "split")
    await playhead.work()
    await playhead.apply(source)

    run = await since(playhead, earlier, {"a.md": b"one two"})

    assert await listed(playhead, run, stage="split/words") == [
        ("split/words/a/0001.txt", None),
        ("split/words/a/0002.txt", None),
    ]


async def test_a_payload_may_be_compared_too(playhead: Playhead):
    earlier = await playhead.post("configs/words/run", {"payload": "x"}, 202)
    await playhead.work()

    answer = await playhead.post(
        "configs/words/run", {"payload": "x", "changed_since": earlier["execution_id"][-8:]}, 202
    )
    await playhead.work()

    assert answer["changed_since"] == earlier["execution_id"]
    shown = await playhead.get(f"executions/{answer['execution_id']}")
    assert shown["counts"]["taken_over"] == shown["counts"]["total"] == 2
