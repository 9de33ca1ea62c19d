"""Random histories: each publication has exactly the content that its definition says.

The definition is written with nested trees and full copies. It is computed from lineage and stored objects
over HTTP alone, and shares no code with the rules in Playhead, which use pages and intervals.
"""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Coroutine
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from playhead import Context, Item, Output
from playhead.errors import Conflict
from playhead.model import PublishRequest
from tests.inprocess import Playhead, opened
from tests.servers.schema import emptied_schema

# Two branches reach the route `sink`, which stores nothing; `b` makes one to three objects.
DOCS = """
entry: a
error_handling: {max_attempts: 1}
datasets: {docs: {routes: [a, b, c, sink], max_removed: 1, keep: 1000}}
routes:
  a:
    adapters: [{type: do}]
    outbound: {stage: A, to: [b, c]}
  b:
    adapters: [{type: do}]
    outbound: {stage: B, to: [sink]}
  c:
    adapters: [{type: do}]
    outbound: {stage: C, to: [sink]}
  sink:
    adapters: [{type: do}]
"""
ROUTES = {"input": ["a"], "A": ["b", "c"], "B": ["sink"], "C": ["sink"]}
HISTORIES = int(os.environ.get("PLAYHEAD_TEST_HISTORIES", "8"))
STEPS = 18

Tree = dict[str, Any]
"""A result: its message, and its objects, each with the results below it by route."""


class World:
    """One history."""

    def __init__(self, ph: Playhead, seed: int) -> None:
        self.ph = ph
        self.random = random.Random(seed)
        self.inputs = {"p": "p0", "q": "q0"}
        self.fails = self.random.choice([0.0, 0.1, 0.3])
        self.code = dict.fromkeys("abc", 0)
        self.executions: list[tuple[str, str]] = []
        self.contents: dict[int, dict[str, Tree]] = {}
        ph.steps.doing = self.step

    # -- what happens ------------------------------------------------------------------------------

    def step(self, item: Item, ctx: Context) -> Any:
        if self.random.random() < self.fails:
            raise ValueError("failed")
        route, text = ctx.route, item.data.decode()
        if route == "sink":
            return None
        made = f"{route}{self.code[route]}({text})"
        if route != "b":
            return made
        count = 1 + sha256(made.encode()).digest()[0] % 3
        if self.code["b"] == 3:  # a path that several documents have
            return [Output(made.encode(), path="shared")]
        return [Output(f"{made}.{n}".encode(), path=f"{item.path}/{n}") for n in range(count)]

    async def act(self) -> None:
        kind = self.random.choices(
            ["run", "replay", "input", "code", "resend", "publish", "rollback"], [3, 4, 3, 3, 1, 6, 1]
        )[0]
        await getattr(self, f"_{kind}")()

    async def _input(self) -> None:
        path = self.random.choice("pqr")
        if path in self.inputs and len(self.inputs) > 1 and self.random.random() < 0.3:
            del self.inputs[path]
        else:
            self.inputs[path] = f"{path}{self.random.randrange(3)}"

    async def _code(self) -> None:
        route = self.random.choice("abc")
        self.code[route] = self.random.choice([0, 1, 2, 3])

    async def _run(self) -> None:
        form = {}
        if any(kind == "run" for kind, _ in self.executions) and self.random.random() < 0.6:
            form = {
                "changed_since": self.random.choice([one for kind, one in self.executions if kind == "run"])
            }
        sent = [("files", (path, text.encode())) for path, text in sorted(self.inputs.items())]
        answer = await self.ph.http.post("/api/v1/configs/docs/run", files=sent, data=form)
        assert answer.status_code == 202, answer.text
        execution = answer.json()["execution_id"]
        await self.ph.work(execution)
        self.executions.append(("run", execution))

    async def _replay(self) -> None:
        if not self.executions:
            return
        source = self.random.choice(self.executions[-4:])[1]
        if self.contents and self.random.random() < 0.4:
            source = str((await self.ph.get("executions/current:docs"))["execution_id"])
        stage = self.random.choice(list(ROUTES))
        found = await self.ph.items("storage/objects", execution_id=source, stage=stage)
        if not found:
            return
        body: dict[str, Any] = {"from_execution_id": source, "from_stage": stage}
        body["to_route"] = self.random.choice(ROUTES[stage])
        if self.random.random() < 0.4:
            body["paths"] = sorted({self.random.choice(found)["path"] for _ in range(2)})
        execution = (await self.ph.post("replay", body))["execution_id"]
        await self.ph.work(execution)
        self.executions.append(("replay", execution))

    async def _resend(self) -> None:
        dead = await self.ph.items("dead-letters")
        if dead:
            letter = self.random.choice(dead)
            await self.ph.post(f"dead-letters/{letter['correlation_id']}/resend", {}, 202)
            await self.ph.work(letter["execution_id"])

    async def _rollback(self) -> None:
        if kept := sorted(self.contents):
            await self.ph.rt.services.publish.roll_back("docs", self.random.choice(kept))

    async def _publish(self) -> None:
        dataset = await self.ph.rt.services.publish.dataset("docs")
        runs = [one for kind, one in self.executions if kind == "run"]
        replays = [one for kind, one in self.executions if kind == "replay"]
        base = (
            self.random.choice(runs[-2:])
            if runs and (not dataset.current or self.random.random() < 0.4)
            else None
        )
        layers = self.random.sample(replays[-5:], min(len(replays[-5:]), self.random.choice([0, 1, 1, 2])))
        if base is None and (not layers or not dataset.current):
            return
        allow = ["older"] if self.random.random() < 0.6 else []
        request = PublishRequest(
            [UUID(one) for one in (*([base] if base else []), *layers)],
            on_failure=self.random.choice(["keep_last", "keep_last", "leave_out", "refuse"]),
            skip_superseded=self.random.random() < 0.5,
            allow=["empty", *allow],  # type: ignore[list-item]
        )
        order = [one for _, one in self.executions if one in layers]
        wanted = await self.definition(dataset.current, base, order, request)
        service = self.ph.rt.services.publish
        preview = await _or_refusal(service.preview("docs", request))
        made = await _or_refusal(service.publish("docs", request))
        if isinstance(made, Conflict):
            assert isinstance(preview, Conflict)
            assert preview.code == made.code
            if made.code == "older_results" and base and "older" not in allow:
                return  # the base is older than the published one
            assert wanted is None, f"refused ({made.code}), but the definition allows it"
            return
        assert wanted is not None, "published, but the definition refuses it"
        assert (preview.counts, preview.units) == (made.counts, made.units)
        self.contents[made.n] = wanted

    # -- the definition ----------------------------------------------------------------------------

    async def definition(
        self, current: int | None, base: str | None, layers: list[str], request: PublishRequest
    ) -> dict[str, Tree] | None:
        order = [*([base] if base else []), *layers]
        trees = [await self._trees(one) for one in order]
        allows_older = "older" in request.allow

        def comes(k: int, slot: tuple[str, ...]) -> bool:
            return any(slot in trees[j] and fine(trees[j][slot], j) for j in range(k + 1, len(order)))

        def fine(tree: Tree, k: int) -> bool:
            if not tree["good"]:
                return False
            return all(
                comes(k, (route, *one["object"])) or fine(below, k)
                for one in tree["objects"]
                for route, below in one["below"].items()
            )

        def cut(tree: Tree, k: int) -> Tree:
            for one in tree["objects"]:
                one["below"] = {
                    route: cut(below, k)
                    for route, below in one["below"].items()
                    if not comes(k, (route, *one["object"]))
                }
            return tree

        top = copy.deepcopy(self.contents[current]) if current else {}
        for k, execution in enumerate(order):
            units = copy.deepcopy(trees[k])
            is_base = execution == base
            outcomes = set()
            for slot, tree in units.items():
                route, stage, path, digest = slot
                if comes(k, slot) and not is_base:
                    outcomes.add("covered")
                    continue
                if is_base:
                    there: list[Tree] = [{"object": (stage, path, digest), "below": {}}]
                    covered = comes(k, slot)
                else:
                    there = [
                        one
                        for root in top.values()
                        for one in _objects(root)
                        if one["object"][:2] == (stage, path)
                    ]
                    covered = False
                if not there:
                    outcomes.add("removed")
                    continue
                same = [one for one in there if one["object"][2] == digest]
                if not same:
                    outcomes.add("superseded")
                    if request.skip_superseded:
                        continue
                    outcomes.add("refused")
                    continue
                earlier = same[0]["below"].get(route)
                if not is_base and earlier and earlier["message"] > tree["message"] and not allows_older:
                    outcomes.add("refused")
                    continue
                outcomes.add("applied")
                if covered or fine(tree, k):
                    if is_base:
                        below = {} if covered else {route: cut(tree, k)}
                        top[path] = {"object": (stage, path, digest), "below": below}
                    else:
                        same[0]["below"][route] = cut(tree, k)
                elif request.on_failure == "refuse":
                    outcomes.add("refused")
                elif request.on_failure == "leave_out":
                    if is_base:
                        top.pop(path, None)
                    else:
                        same[0]["below"].pop(route, None)
            if "refused" in outcomes or outcomes == {"removed"}:
                return None
            if is_base:
                listed = {slot[2] for slot in units}
                top = {path: one for path, one in top.items() if path in listed}
            places = [one["object"][:2] for root in top.values() for one in _objects(root)]
            if len(places) != len(set(places)):
                return None
        return top

    async def _trees(self, execution: str) -> dict[tuple[str, ...], Tree]:
        """Return the trees of the roots of an execution by route and object."""
        messages = await self.ph.messages(execution)
        below: dict[str | None, list[Any]] = {}
        for one in messages:
            below.setdefault(one["parent_correlation_id"], []).append(one)

        async def tree(one: Any) -> Tree:
            objects = []
            for key in one["output_keys"]:
                children = [
                    child for child in below.get(one["correlation_id"], ()) if child["input_key"] == key
                ]
                objects.append(
                    {
                        "object": await self._object(key),
                        "below": {child["route"]: await tree(child) for child in children},
                    }
                )
            good = one["status"] in ("completed", "taken_over")
            message = one["taken_over_from"] or one["correlation_id"]
            return {"message": message, "good": good, "objects": objects}

        return {
            (root["route"], *await self._object(root["input_key"])): await tree(root)
            for root in below.get(None, ())
            if root["status"] != "cancelled"
        }

    async def _object(self, key: str) -> tuple[str, str, str]:
        _, stage, path = key.split("/", 2)
        answer = await self.ph.http.get("/api/v1/storage/objects/content", params={"key": key})
        assert answer.status_code == 200, answer.text
        return stage, path, sha256(answer.content).hexdigest()

    # -- the check ---------------------------------------------------------------------------------

    async def check(self) -> None:
        """Compare each publication with its definition."""
        for n, top in self.contents.items():
            listed = await self.ph.items("storage/objects", execution_id=f"current:docs@{n}", limit=3)
            found = {await self._object(one["key"]) for one in listed}
            assert len(found) == len(listed)
            wanted = {one["object"] for root in top.values() for one in _objects(root)}
            assert found == wanted, f"publication {n}"


async def _or_refusal(call: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a call, or why it was refused."""
    try:
        return await call
    except Conflict as exc:
        return exc


def _objects(one: Tree) -> list[Tree]:
    """Return an object and all below it."""
    found = [one]
    for below in one["below"].values():
        for made in below["objects"]:
            found += _objects(made)
    return found


async def _check_history(ph: Playhead, seed: int) -> None:
    await ph.apply(DOCS)
    world = World(ph, seed)
    await world._run()
    for _ in range(STEPS):
        await world.act()
        await world.check()


@pytest.mark.parametrize("seed", range(HISTORIES))
async def test_each_publication_is_what_its_definition_says(tmp_path: Path, seed: int):
    async with opened(tmp_path / "home") as ph:
        await _check_history(ph, seed)


@pytest.mark.parametrize("seed", range(HISTORIES // 4))
async def test_each_publication_is_what_its_definition_says_on_postgresql(tmp_path: Path, seed: int):
    async with emptied_schema() as url, opened(tmp_path / "home", catalog=url) as ph:
        await _check_history(ph, seed)
