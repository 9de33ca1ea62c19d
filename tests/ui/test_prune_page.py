"""The form that prunes, and the buttons that pin."""

from __future__ import annotations

import re
from html import unescape

from tests.ui.site import Site


async def a_run(site: Site, *tags: str, inputs: int = 2) -> str:
    return await site.run({f"{n}.txt": b"one two" for n in range(inputs)}, tags=tags)


def counted_of(page: str) -> str:
    found = re.search(r'name="counted" value="(\w+)"', page)
    assert found
    return found.group(1)


async def test_the_counted_executions_are_deleted_and_no_others(site: Site):
    run, other = await a_run(site, "old"), await a_run(site)
    for path in ("/system", "/executions"):
        assert 'href="/prune"' in await site.page(path)
    path = "/prune?tag=old&count=1"

    page = await site.page(path)

    found = (await site.twin(path))["view"]["found"]
    assert found["execution_ids"] == [run]
    stages = {one["stage"]: (one["objects"], one["bytes"]) for one in found["stages"]}
    assert stages == {"input": (2, 14), "shouted": (2, 14), "split/words": (4, 12)}
    assert "Delete 8 objects of 1 execution" in page
    deleted = await site.send("/prune", tag="old", counted=counted_of(page))
    assert (deleted.status_code, deleted.headers["location"]) == (303, "/executions?tag=old")
    assert "pruned" in await site.page("/executions?tag=old")
    executions = (await site.twin("/executions"))["view"]["executions"]
    assert {one["execution_id"]: bool(one["pruned"]) for one in executions} == {run: True, other: False}
    assert "Nothing to delete." in await site.page(path)


async def test_nothing_is_deleted_if_other_executions_match_than_were_counted(site: Site):
    first = await a_run(site, "old")
    counted = counted_of(await site.page("/prune?tag=old&count=1"))
    await a_run(site, "old")

    refused = await site.send("/prune", tag="old", counted=counted)
    unseen = await site.send("/prune", tag="old")

    assert (refused.status_code, unseen.status_code) == (409, 409)
    assert "nothing was deleted" in refused.text
    assert "Delete 16 objects of 2 executions" in refused.text
    assert (await site.twin(f"/executions/{first}"))["view"]["execution"]["pruned"] == []


async def test_only_the_chosen_stages_are_counted_and_deleted(site: Site):
    run = await a_run(site)
    page = await site.page(f"/prune?execution={run[-8:]}&stages=shouted&count=1")
    assert "Delete 2 objects of 1 execution" in page

    await site.send("/prune", execution=run, stages="shouted", counted=counted_of(page))

    [pruned] = (await site.twin(f"/executions/{run}"))["view"]["execution"]["pruned"]
    assert pruned["stage"] == "shouted"


async def test_the_form_names_its_faults_and_keeps_its_fields(site: Site):
    for query, status, why in (
        ("older_than=soon", 400, "is not a duration"),
        ("config=words&keep_last=few", 400, "keep_last is"),
        ("", 400, "no executions selected"),
        ("config=none", 404, "no config is named"),
        ("config=words&stages=shout", 404, "does not have the stage"),
        ("config=words&records=1&stages=shouted", 400, "are deleted for whole executions"),
    ):
        page = await site.page(f"/prune?count=1&{query}", status)
        assert why in page
        assert "Delete " not in page.replace("press Delete", "").replace("Delete the records", "")
        for name, _, value in (part.partition("=") for part in query.split("&") if part):
            assert f'value="{value}"' in page or f">\n{value}</textarea>" in page or name == "records"


async def test_the_form_shows_its_command_its_call_and_what_is_kept(site: Site):
    run = await a_run(site)
    await site.send(f"/executions/{run}/pin")

    page = unescape(await site.page("/prune?config=words&older_than=0s&keep_last=0&count=1"))

    assert "playhead prune --older-than 0s --config words --keep-last 0 --dry-run" in page
    assert re.search(r'"config": "words",\s+"older_than_seconds": 0.0,\s+"dry_run": true', page)
    assert "It is pinned." in page
    assert "Nothing to delete." in page


async def test_a_link_of_another_site_counts_nothing(site: Site):
    await a_run(site)

    answer = await site.http.get("/prune?config=words&count=1", headers={"Sec-Fetch-Site": "cross-site"})

    assert "What would be deleted" not in answer.text


async def test_an_execution_is_pinned_and_unpinned_on_its_page(site: Site):
    run = await a_run(site)
    path = f"/executions/{run}"
    assert f"playhead pin {run}" in await site.page(path)

    pinned = await site.send(f"{path}/pin")

    assert (pinned.status_code, pinned.headers["location"]) == (303, path)
    assert '<span class="tag">pinned</span>' in await site.page(path)
    assert "Unpin" in await site.page(path)
    await site.send(f"{path}/unpin")
    assert '<span class="tag">pinned</span>' not in await site.page(path)


async def test_an_execution_that_was_pruned_meanwhile_cannot_be_pinned(site: Site):
    run = await a_run(site)
    page = await site.page(f"/prune?execution={run}&count=1")
    await site.send("/prune", execution=run, counted=counted_of(page))

    refused = await site.send(f"/executions/{run}/pin")

    assert refused.status_code == 409
    assert "execution_pruned" in refused.text
    assert 'action="/executions/' not in refused.text
