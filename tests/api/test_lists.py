"""Properties of every list of the API: pages, their size, and cursors that are valid for one list."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from playhead.model import PublishRequest, ReplayRequest
from playhead.model.access import ROLES, Caller, KeyRequest
from playhead.ports.catalog.upkeep import Process
from tests.api.server import WORDS

if TYPE_CHECKING:
    from tests.api.server import Playhead

TOP_OF_A_LIST = ("search", "queues/{queue}/messages")
"""Operations that return the best or first `limit` items and have no further pages."""

LISTS: dict[str, list[dict[str, str]]] = {
    "executions": [
        {},
        {"status": "failed"},
        {"config": "words"},
        {"kind": "run"},
        {"tag": "t"},
        {"since": "-24h", "until": "2126-01-31T18:00:00Z"},
        {"parent": "RUN"},
    ],
    "executions/RUN/routes": [{}],
    "executions/RUN/code": [{}],
    "executions/RUN/stages": [{}],
    "executions/RUN/replays": [{}],
    "executions/RUN/diff/TWIN/objects": [{}, {"stage": "input"}, {"state": "same"}, {"by": "content"}],
    "executions/RUN/result/TWIN/groups": [{"by": "folder"}, {"by": "folder", "before": "done"}],
    "executions/RUN/result/TWIN/objects": [{}, {"before": "done"}, {"folder": "d"}],
    "executions/RUN/lineage": [{}, {"route": "split"}, {"status": "completed"}],
    "replays": [{}, {"from_execution_id": "RUN"}],
    "replay/plans": [{}],
    "replay/plans/PLAN/objects": [{}],
    "configs": [{}],
    "configs/words/versions": [{}],
    "lineage": [{"object_key": "RUN/input/a"}],
    "lineage/chain": [{"object_key": "RUN/input/a"}, {"object_key": "RUN/input/a", "direction": "down"}],
    "replays/BATCH/deliveries": [{}],
    "lineage/batch/BATCH": [{}, {"route": "split"}, {"status": "completed"}],
    "lineage/ROOT/chain": [{}, {"direction": "down"}],
    "storage/objects": [
        *({"execution_id": "RUN"}, {"execution_id": "RUN", "stage": "shouted"}),
        {"execution_id": "RUN", "stage": "input", "path": "d"},
    ],
    "storage/objects/versions": [{"key": "RUN/shouted/a.md"}],
    "routes": [{}],
    "dead-letters": [{}, {"execution_id": "RUN"}, {"route": "upper"}],
    "dead-letters/groups": [{}, {"execution_id": "RUN"}, {"route": "upper", "config": "words"}],
    "affected": [{"adapter": "upper@1"}, {"adapter": "upper@1", "since": "-1h"}],
    "causes": [{}, {"state": "all"}, {"route": "upper", "since": "-24h", "until": "2126-01-31T18:00:00Z"}],
    "causes/CAUSE/objects": [{}],
    "datasets/words/deliveries": [{}],
    "datasets/words/publications": [{}, {"all": "true"}],
    "datasets/words/changes": [{"since": "0"}, {"since": "0", "stage": "input"}],
    "datasets/words/notes": [{}, {"kind": "left_out"}],
    "datasets/words/code": [{}],
    "datasets/words/stale": [{}, {"route": "upper"}, {"from_stage": "input"}],
    "datasets/words/objects": [{}, {"stage": "input"}, {"stage": "input", "path": "d"}],
    "adapters": [{}],
    "workers": [{}],
    "errors": [{}],
    "audit": [{}, {"action": "key"}],
    "keys": [{}],
    "sessions": [{}],
}
"""Every list with its filters. In `full` each has at least two items, so that it returns a cursor."""
HOOK = 'webhook: "https://hooks.example/"'
EVERY = [(path, query) for path, queries in LISTS.items() for query in queries]
OF_SEVERAL_PARTS = ("affected", "causes", "causes/CAUSE/objects")
"""Lists whose places have several parts."""
IN_AN_ORDER_OF_THEIR_OWN = (
    *("executions/RUN/routes", "executions/RUN/code", "executions/RUN/stages", "routes"),
    *("executions/RUN/diff/TWIN/objects", "executions/RUN/result/TWIN/groups"),
    "executions/RUN/result/TWIN/objects",
    *("lineage/ROOT/chain", "lineage/chain", "storage/objects/versions"),
    *("datasets/words/changes", "datasets/words/notes", "datasets/words/objects", "datasets/words/stale"),
    "datasets/words/code",
    *("storage/objects", "adapters", "workers", "errors", "replay/plans/PLAN/objects", "dead-letters/groups"),
    *("causes", "causes/CAUSE/objects", "affected", "audit", "keys", "sessions"),
)


class Full:
    """A Playhead with at least two items in each list, and the values for the paths of the lists."""

    def __init__(self, playhead: Playhead) -> None:
        self.playhead = playhead

    async def fill(self) -> None:
        playhead = self.playhead
        await playhead.catalog.heartbeat(Process("worker-1", "worker", "there", 2))
        files = {"a": b"x y z", "b": b"bad", "c": b"bad too", "d/e": b"v w", "d/f": b"u", "g": b"bad"}
        run = await playhead.run(files, tags=("t",))
        twin = await playhead.run(files, tags=("t",))
        for version in (f"datasets: {{words: {{{HOOK}}}}}\n", f"datasets: {{words: {{{HOOK}, keep: 2}}}}\n"):
            await playhead.apply(version + WORDS.replace("elsewhere", f"elsewhere{len(version)}"))
        await playhead.apply(WORDS.replace("name: words", "name: other").replace("elsewhere", "away"))
        for _ in range(2):
            batch = (await playhead.replay(run, "input", "upper"))["replay_batch_id"]
        hooked = ReplayRequest(UUID(run), "input", None, "upper", webhook="https://hooks.example/")
        batch = str((await playhead.services.replay.execute(hooked)).replay_batch_id)
        await playhead.work()
        publish = playhead.services.publish.publish
        for _ in range(2):
            await publish("words", PublishRequest([UUID(run)]))
        playhead.load("upper", code="sha256:bb")  # so its results are stale
        [root] = (await playhead.get("lineage", object_key=f"{run}/shouted/a.md"))["items"]
        request = {"from_execution_id": run, "from_stage": "input", "to_route": "upper"}
        for _ in range(2):
            plan = (await playhead.post("replay/plan", request))["plan_id"]
        cause = max(await playhead.items("causes"), key=lambda one: one["objects"])["id"]
        await self._require_keys()
        self.names = {"RUN": run, "TWIN": twin, "BATCH": batch, "ROOT": root["correlation_id"], "PLAN": plan}
        self.names["CAUSE"] = cause

    async def _require_keys(self) -> None:
        """Create two keys, log two browsers in, and send the following requests with the first key."""
        services = self.playhead.services
        root, _ = [
            await services.access.create(KeyRequest(name, sorted(ROLES["admin"]))) for name in ("root", "ada")
        ]
        await services.identity.beat()
        caller = Caller("key", root.record.id, "root", ROLES["admin"])
        for _ in range(2):
            await services.access.log_in(caller, old=None, address=None, browser=None)
        self.playhead.http.headers["Authorization"] = f"Bearer {root.key}"

    def said(self, text: str) -> str:
        for name, value in self.names.items():
            text = text.replace(name, value)
        return text

    async def get(self, path: str, query: dict[str, str], wanted: int = 200, /, **more: Any) -> Any:
        asked = {key: self.said(value) for key, value in query.items()}
        return await self.playhead.get(self.said(path), wanted, **asked, **more)


@pytest.fixture
async def full(playhead: Playhead) -> Full:
    made = Full(playhead)
    await made.fill()
    return made


async def test_the_table_above_has_all_lists_of_the_api(playhead: Playhead):
    described = (await playhead.http.get("/openapi.json")).json()["paths"]
    lists = {
        path.removeprefix("/api/v1/")
        for path, operations in described.items()
        if {"limit", "cursor"} <= {p["name"] for p in operations.get("get", {}).get("parameters", ())}
    }
    tried = {
        path.replace("RUN", "{execution_id}")
        .replace("TWIN", "{other_execution_id}")
        .replace("words", "{name}")
        .replace("BATCH", "{replay_batch_id}")
        .replace("PLAN", "{plan_id}")
        .replace("CAUSE", "{cause}")
        .replace("ROOT", "{correlation_id}")
        for path in LISTS
    }
    assert lists - set(TOP_OF_A_LIST) == tried


async def test_every_list_has_the_same_items_in_pages_of_one(full: Full):
    for path, query in EVERY:
        whole = (await full.get(path, query, limit=1000))["items"]
        assert len(whole) >= 2, (path, query)
        found, cursor = [], None
        while True:
            page = await full.get(path, query, 200, limit=1, cursor=cursor)
            assert len(page["items"]) == 1, (path, query)
            found += page["items"]
            if (cursor := page["next_cursor"]) is None:
                break
        if path.endswith("/chain"):  # nearest first; the order by distance holds within a page only
            found.sort(key=lambda link: (link["distance"], link["correlation_id"]))
            whole.sort(key=lambda link: (link["distance"], link["correlation_id"]))
        for one in (*found, *whole):
            one.pop("heartbeat_age_seconds", None)  # it grows
        assert found == whole, (path, query)


async def test_a_page_of_every_list_has_1_to_1000_items(full: Full):
    for path, query in EVERY:
        assert (await full.get(path, query, limit=1000))["next_cursor"] is None, (path, query)
        for limit in ("0", "1001", "-1", "x", ""):
            await full.get(path, query, 422, limit=limit)


async def test_every_list_refuses_the_cursors_of_the_other_lists(full: Full):
    """A cursor has a place and the mark of its list. No two lists share a mark, and each checks its own."""
    cursors = [(await full.get(path, query, limit=1))["next_cursor"] for path, query in EVERY]
    # That of the objects of a dataset begins with the number of the publication.
    heads = ["".join(cursor.rpartition(".")[:2]) for cursor in cursors]
    read = [json.loads(urlsafe_b64decode(cursor.rpartition(".")[2] + "==")) for cursor in cursors]
    lists: dict[str, list[tuple[str, dict[str, str]]]] = {}
    for one, (_, mark) in zip(EVERY, read, strict=True):
        lists.setdefault(mark, []).append(one)
    # Replays of an execution are one list, at two addresses.
    shared = [{path for path, query in several} for several in lists.values() if len(several) > 1]
    assert shared == [{"executions/RUN/replays", "replays"}]

    for (path, query), cursor, head, (place, mark) in zip(EVERY, cursors, heads, read, strict=True):
        await full.get(path, query, limit=1, cursor=cursor)
        other = next(one for one in lists if one != mark)
        forged = head + urlsafe_b64encode(json.dumps([place, other]).encode()).decode().rstrip("=")
        for wrong in ("x", "[]") if path in OF_SEVERAL_PARTS else ():
            cut = urlsafe_b64encode(json.dumps([wrong, mark]).encode()).decode().rstrip("=")
            await full.get(path, query, 400, limit=1, cursor=cut)
        for invalid in (forged, "", "!", "MQ", "x" * 5000, "é"):
            answer = await full.get(path, query, 400, limit=1, cursor=invalid)
            assert answer["error_code"] == "invalid_cursor", (path, query, invalid)


async def _pages(
    full: Full, path: str, query: dict[str, str], between: Callable[[], Awaitable[object]]
) -> Any:
    """Read a list in pages of two and call `between` after the first; return the items before and after."""
    before = (await full.get(path, query))["items"]
    page = await full.get(path, query, limit=2)
    found = page["items"]
    await between()
    while page["next_cursor"]:
        page = await full.get(path, query, limit=2, cursor=page["next_cursor"])
        found += page["items"]
    return before, found


@pytest.mark.parametrize(
    ("path", "query", "key"),
    [
        ("executions", {}, "execution_id"),
        ("executions", {"tag": "t"}, "execution_id"),
        ("replays", {}, "replay_batch_id"),
        ("executions/RUN/lineage", {}, "correlation_id"),
        ("lineage", {"object_key": "RUN/input/a"}, "correlation_id"),
        ("dead-letters", {}, "correlation_id"),
        ("configs/words/versions", {}, "version"),
    ],
)
async def test_items_added_while_a_list_is_read_do_not_shift_its_pages(
    full: Full, path: str, query: Any, key: str
):
    async def more() -> None:
        await full.playhead.run({"n": b"bad"}, tags=("t",))
        await full.playhead.replay(full.names["RUN"], "input", "upper", "a")
        await full.playhead.apply(WORDS.replace("elsewhere", "somewhere"))

    before, found = await _pages(full, path, query, more)
    assert [item[key] for item in found] == [item[key] for item in before]


async def test_routes_moved_by_a_new_version_are_listed_exactly_once(full: Full):
    async def move() -> None:
        # A new route before those already read: every route of the config now has another number.
        source = WORDS.replace("name: words", "name: other").replace("elsewhere", "away")
        first = "routes:\n  first:\n    inbound: {queue: new}\n    external: true\n"
        await full.playhead.apply(source.replace("routes:\n", first))

    before, found = await _pages(full, "routes", {}, move)
    assert before[1]["config"] == before[2]["config"] == "other", "the first page ends within the config"
    names = [(r["config"], r["route"]) for r in found]
    assert names == [(r["config"], r["route"]) for r in before]


async def test_lists_of_events_begin_with_the_newest(full: Full):
    for path, query in EVERY:
        if path in IN_AN_ORDER_OF_THEIR_OWN:
            continue
        items = (await full.get(path, query))["items"]
        # Ids follow the time of creation.
        names = ("created_at", "correlation_id", "delivery_id")
        moments = [next(item[name] for name in names if name in item) for item in items]
        assert moments == sorted(moments, reverse=True), (path, query)
