"""What a text leads to, over the backends in memory."""

from __future__ import annotations

from uuid import UUID

import pytest

from playhead.model import Found
from playhead.services.find import FindService
from playhead.services.resolve import ResolveService
from tests.lab import MemoryDeployment, Started


@pytest.fixture
def place() -> MemoryDeployment:
    return MemoryDeployment()


@pytest.fixture
async def run(place: MemoryDeployment) -> Started:
    await place.lab.beat("w1", "w2")
    run = await place.lab.started("a.md", "b.md", "sub/c.md", tags=("nightly",))
    await place.lab.kill(run.ids[1])
    return run


@pytest.fixture
def find(place: MemoryDeployment) -> FindService:
    return FindService(place.catalog, place.store, ResolveService(place.catalog))


def ids(found: list[Found], *, exact: bool | None = None) -> list[tuple[str, str]]:
    return [(one.kind, one.id) for one in found if exact in (None, one.is_exact)]


async def test_every_id_leads_to_what_it_names(place: MemoryDeployment, run: Started, find: FindService):
    again = await place.lab.started_replay(run.execution, f"{run.execution}/input/a.md")
    for kind, identity in (
        ("execution", run.execution),
        ("execution", again.execution),
        ("replay", again.batch),
        ("message", run.ids[0]),
        ("dead_letter", run.ids[1]),
    ):
        [one] = await find.find(str(identity))
        assert (one.kind, one.id, one.is_exact) == (kind, str(identity), True)
        assert (kind, str(identity)) in ids(
            await find.find(str(identity)[-8:]), exact=True
        ) or kind == "message"


@pytest.mark.parametrize(
    "text",
    [
        " 'ID' ",
        "`ID`,",
        '"ID"\n',
        "http://127.0.0.1:8080/executions/ID",
        "/executions/ID?stage=input",
        "https://playhead.example/api/v1/executions/ID/stages#top",
        "execution_id=ID status=failed",
        "run ID has failed (see ID)",
        "urn:uuid:ID",
    ],
)
async def test_an_id_is_found_in_a_longer_text(run: Started, find: FindService, text: str):
    for spelling in (str(run.execution), str(run.execution).upper()):
        found = await find.find(text.replace("ID", spelling))
        assert ids(found) == [("execution", str(run.execution))]


async def test_names_of_executions_and_tags_lead_to_the_execution(run: Started, find: FindService):
    there = [("execution", str(run.execution))]
    for text in ("latest", "latest:docs", "latest:run", "tag:nightly", "nightly", "/executions/latest"):
        assert ids(await find.find(text), exact=True) == there
    for text in ("night", "tag:n"):
        assert ids(await find.find(text), exact=False) == there
    assert (await find.find("nightly"))[
        0
    ].title == "Run of config docs: running; the newest with the tag nightly"
    for text in ("latest:replay", "latest:other", "tag:other", "tag:", "%", "_", "nightlyx"):
        assert ids(await find.find(text), exact=True) == []


async def test_a_key_or_its_beginning_leads_to_objects(
    place: MemoryDeployment, run: Started, find: FindService
):
    folder = f"{run.execution}/input"
    await place.put(f"{folder}/a.md")
    keys = [("object", f"{folder}/{path}") for path in ("a.md", "b.md", "sub/c.md")]

    [one, *_] = await find.find(f"{folder}/a.md")
    assert (one.kind, one.id, one.execution_id, one.is_exact) == ("object", keys[0][1], run.execution, True)
    assert one.title == f"Object input/a.md of execution {run.execution}"
    assert ids(await find.find(f"{folder}/"), exact=False) == keys
    assert ids(await find.find("latest/input/s")) == keys[2:]
    assert ids(await find.find(f"{str(run.execution)[-6:]}/input/b.md"))[0] == keys[1]
    assert (
        ids(await find.find(f"http://x/objects?key={folder}%2Fb.md&view=content"), exact=True)[0] == keys[1]
    )
    near = await find.find(f"{folder}/missing.md")
    assert ids(near, exact=True) == [("execution", str(run.execution))]
    assert ids(near, exact=False) == keys


async def test_executions_and_objects_of_other_programs_are_found(place: MemoryDeployment, find: FindService):
    execution = await place.external(2)

    [one] = await find.find(str(execution))
    assert (one.kind, one.execution_id, one.is_exact) == ("execution", execution, True)
    [one, *_] = await find.find(f"{execution}/pages/001.md")
    assert (one.kind, one.id, one.is_exact) == ("object", f"{execution}/pages/001.md", True)


async def test_names_of_configs_routes_queues_and_stages(run: Started, find: FindService):
    for text, kind, identity in (
        ("docs", "config", "docs"),
        ("convert", "route", "docs/convert"),
        ("docs/convert", "route", "docs/convert"),
        ("docs.convert", "queue", "docs.convert"),
        ("pages", "route", "docs/convert"),
    ):
        assert (kind, identity) in ids(await find.find(text), exact=True)
    assert ids(await find.find("docs.c"), exact=False) == [("queue", "docs.convert")]
    assert (await find.find("docs"))[0].is_exact


async def test_an_id_that_does_not_exist_leads_to_similar_ones(run: Started, find: FindService):
    text = run.execution.hex
    typing_error = UUID(text[:31] + ("0" if text[31] != "0" else "1"))
    [one, *_] = await find.find(str(typing_error))
    assert (one.id, one.is_exact) == (str(run.execution), False)
    same_end = UUID("00000000-0000-7000-8000-0000" + text[-8:])
    assert ids(await find.find(str(same_end)), exact=False) == [("execution", str(run.execution))]
    assert ids(await find.find(text[:10]), exact=False) != []
    assert await find.find(str(UUID(int=5))) == []


@pytest.mark.parametrize(
    "text", ["", " ", "\0", "\udc80", "http://[", "/", "''", "x" * 5000, "?", "tag:\0", "a//b"]
)
async def test_a_text_that_names_nothing_leads_nowhere(run: Started, find: FindService, text: str):
    assert ids(await find.find(text), exact=True) == []


async def test_a_limit_keeps_the_exact_ones(run: Started, find: FindService):
    [one] = await find.find("docs", limit=1)
    assert one.is_exact
