"""The form that starts a run."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import httpx

from playhead.errors import store_unavailable
from tests.ui.site import Site

PATH = "/run?config=words"
NOT_CHOSEN = ("folder", ("", b""))
"""What a browser sends for a choice of files that is empty."""


async def start(site: Site, *files: tuple[str, bytes], path: str = PATH, **fields: Any) -> httpx.Response:
    """Send the form as a browser does: the fields come first."""
    parts: list[tuple[str, Any]] = [(name, (None, value)) for name, value in fields.items()]
    parts += [("files", file) for file in files or [("", b"")]]
    return await site.http.post(path, files=[*parts, NOT_CHOSEN], headers={"Origin": "http://playhead"})


async def execution_of(site: Site, answer: httpx.Response) -> Any:
    assert answer.status_code == 303, answer.text
    return (await site.twin(answer.headers["location"]))["view"]["execution"]


async def test_files_start_a_run_and_lead_to_its_execution(site: Site):
    assert 'href="/run?config=words"' in await site.page("/configs/words")
    assert 'href="/run"' in await site.page("/executions")
    assert '<a href="/run?config=words">words</a>' in await site.page("/run")
    assert "Start the run" in await site.page(PATH)

    answer = await start(site, ("a.txt", b"one"), ("b.txt", b"two"), tags="nightly\r\nsecond one\r\n")

    run = await execution_of(site, answer)
    assert (run["config"], run["tags"]) == ("words", ["nightly", "second one"])
    for path, text in (("a.txt", "one"), ("b.txt", "two")):
        assert f">{text}<" in await site.page(f"/objects?key={run['execution_id']}/input/{path}")


async def test_files_of_a_folder_keep_their_paths_below_it(site: Site):
    files = [
        ("files", ("", b"")),
        ("folder", ("pages/de/a.txt", b"one")),
        ("folder", ("pages/b.txt", b"two")),
    ]

    answer = await site.http.post(PATH, files=files, headers={"Origin": "http://playhead"})

    identity = (await execution_of(site, answer))["execution_id"]
    for path in ("de/a.txt", "b.txt"):
        await site.page(f"/objects?key={identity}/input/{path}")


async def test_a_run_takes_over_what_has_not_changed(site: Site):
    first = await execution_of(site, await start(site, ("a.txt", b"one"), ("b.txt", b"two")))
    await site.work()

    later = await start(site, ("a.txt", b"one"), ("b.txt", b"new"), take="changed", changed_since="previous")
    await site.work()
    other_path = await start(site, ("c.txt", b"one"), take="reuse")
    await site.work()

    run = await execution_of(site, later)
    assert (run["changed_since"], run["counts"]["taken_over"] > 0) == (first["execution_id"], True)
    reused = await execution_of(site, other_path)
    assert (reused["changed_since"], reused["counts"]["taken_over"] > 0) == (None, True)


async def test_a_refused_run_keeps_the_fields_and_says_what_to_do(site: Site):
    for files, fields, status, why in (
        ([], {"tags": "mine"}, 400, "a run needs at least one file"),
        ([("../a.txt", b"")], {"tags": "mine"}, 400, "invalid_path"),
        ([("a", b""), ("a", b"")], {"tags": "mine"}, 400, "rename one of them"),
        ([("a", b"")], {"tags": "mine\n" + "x" * 201}, 400, "a tag has 1 to 200 characters"),
        ([("a", b"")], {"tags": "mine", "take": "all"}, 400, "use one of"),
        ([("a", b"")], {"tags": "mine", "take": "changed"}, 404, "processed all of its inputs yet"),
        ([("a", b"")], {"tags": "mine", "require_code": "1"}, 409, "code_differs"),
    ):
        answer = await start(site, *files, **fields)

        assert answer.status_code == status, why
        assert why in answer.text
        assert ">\nmine" in answer.text
        assert "choose them again" in answer.text
    assert (await site.twin("/executions"))["view"]["executions"] == []


async def test_a_file_may_be_as_large_as_in_the_api_and_the_store_may_be_gone(site: Site):
    large = await start(site, ("a.txt", b"x" * 200_000), tags="mine")
    assert large.status_code == 413
    site.store_outage.error = store_unavailable("the disk is gone")

    answer = await start(site, ("a.txt", b"one"), tags="mine")

    assert (answer.status_code, "the disk is gone" in answer.text) == (503, True)


async def test_a_file_in_another_part_is_refused(site: Site):
    files = [("other", ("a.txt", b"one"))]

    answer = await site.http.post(PATH, files=files, headers={"Origin": "http://playhead"})

    assert (answer.status_code, "Only the part `files` may be a file" in answer.text) == (400, True)


async def test_stored_objects_reach_the_entry_by_a_replay(site: Site):
    source = await site.run({"de/a.txt": b"one", "b.txt": b"two"})
    page = await site.page(PATH)
    assert 'action="/replay"' in page
    [to_route] = re.findall(r'name="to_route" value="([^"]*)"', page)
    fields = {"from_stage": "input", "from_path": "de", "to_route": to_route}

    for named in ("latest", source):
        counted = await site.http.get("/replay", params={"from_execution_id": named, **fields})
        view = (await site.twin(counted.headers["location"]))["view"]
        assert (view["plan"]["objects"], view["form"]["to_route"]) == (1, to_route)
        assert view["form"]["from_execution_id"] == source

    without_stage = await site.page(f"/replay?from_execution_id=latest&from_stage=&to_route={to_route}")
    assert "Choose a stage" in without_stage


async def test_an_inactive_config_accepts_no_run(site: Site):
    await site.services.configs.set_active("words", False)

    assert "it accepts no runs" in await site.page(PATH)
    assert "/run?config=words" not in await site.page("/run")
    assert (await start(site, ("a.txt", b"one"))).status_code == 409
    assert (await start(site, ("a.txt", b"one"), path="/run?config=other")).status_code == 404


async def test_the_form_shows_its_command_and_its_call(site: Site):
    page = unescape(
        await site.page(f"{PATH}&tags=two%20words&take=changed&changed_since=latest&require_code=1")
    )

    assert "playhead run words FILES --tag 'two words' --changed-since latest --require-code" in page
    assert "/api/v1/configs/words/run?require_code=true" in page
    assert "-F files=@FILE" in page
    assert "-F changed_since=latest" in page
