"""After a `kill -9` at any point of a plan or of its replay, the plan's set is published, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import httpx
import pytest

from playhead import faults
from tests.acceptance.kills import PIPELINES
from tests.acceptance.processes import Deployment, open_deployment

pytestmark = pytest.mark.slow

BULK: Final = PIPELINES["bulk"]
"""520 objects in the stage `loud`: with their sidecars more than a page of a listing."""
COUNT: Final = len(BULK.inputs)
WHO: Final = ("cli", "serve", "heir")
"""Who dies. `heir`: a worker that took the replay over from a server that was killed."""
CASES: Final = [
    ("plan.paged", "cli"),
    ("plan.paged", "serve"),
    ("plan.ready", "cli"),
    ("plan.ready", "serve"),
    ("replay.compared", "heir"),
    ("replay.checked", "cli"),
    ("replay.checked", "serve"),
    ("replay.checked", "heir"),
]


def test_every_point_of_a_plan_has_a_case() -> None:
    points = {point for point in faults.POINTS if point.startswith("plan.")}
    points |= {"replay.checked", "replay.compared"}
    assert {point for point, _ in CASES} == points


class Stand:
    """A deployment with a finished run. Each case starts its own processes."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.start()
        deployment.apply(BULK.source)
        self.run = deployment.run("bulk", BULK.inputs)
        deployment.ended(self.run)
        self.request = {"from_execution_id": self.run, "from_stage": "loud", "to_route": "shout"}
        self.digest = self.plan()["digest"]

    def plan(self) -> Any:
        return self.deployment.post("/replay/plan", json=self.request)

    def write(self, text: str) -> None:
        """Store an object of another program in the stage."""
        (self.deployment.objects / self.run / "loud" / "external.txt").write_text(text)

    def start(self) -> None:
        # Not a worker of the server: it would outlive the server for a moment.
        self.deployment.serve()
        self.deployment.worker()

    def restart(self) -> None:
        self.deployment.close()
        self.deployment.forget()
        self.start()

    def newest_plan(self) -> Any:
        return next(iter(self.deployment.items("/replay/plans")))

    def newest_replay(self) -> Any:
        return next(iter(self.deployment.items("/replays")))

    def kill_planner(self, point: str, who: str) -> Any:
        """Let the process die that makes a plan. Return the plan, as other processes see it."""
        if who == "cli":
            command = self.deployment.start("plan", self.run, "loud", "shout", fault=point)
            self.deployment.struck(command)
        else:
            self.deployment.close()
            armed = self.deployment.serve(fault=point)
            with suppress(httpx.TransportError):
                self.plan()
            self.deployment.struck(armed)
            self.restart()
        return self.newest_plan()

    def kill_replayer(self, point: str, who: str, plan: str) -> None:
        """Let the process die that replays a plan, while no other process runs."""
        self.deployment.close()
        if who == "cli":
            self.deployment.struck(self.deployment.start("replay", "--plan", plan, fault=point))
            return
        armed = self.deployment.serve(fault=point if who == "serve" else "replay.admitted")
        with suppress(httpx.TransportError):
            self.deployment.post("/replay", json={"plan_id": plan})
        self.deployment.struck(armed)
        if who == "heir":
            self.deployment.struck(self.deployment.worker(fault=point))

    def check_complete(self, replay: Any, keys: list[str]) -> None:
        """Check that each of these objects was processed once, and no other one."""
        self.deployment.ended(replay["execution_id"])
        ended = self.deployment.get(f"/replays/{replay['replay_batch_id']}")
        assert (ended["state"], ended["objects_found"]) == ("publishing_complete", len(keys))
        messages = list(self.deployment.items(f"/executions/{replay['execution_id']}/lineage"))
        assert sorted(one["input_key"] for one in messages) == keys
        assert {one["status"] for one in messages} == {"completed"}

    def keys(self, plan: str) -> list[str]:
        return [one["key"] for one in self.deployment.items(f"/replay/plans/{plan}/objects")]


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    with open_deployment() as deployment:
        yield Stand(deployment)


@pytest.mark.parametrize(("point", "who"), [case for case in CASES if case[0] == "plan.paged"])
def test_a_plan_whose_process_was_killed_fails_and_another_one_is_made(
    stand: Stand, point: str, who: str
) -> None:
    plan = stand.kill_planner(point, who)

    path = f"/replay/plans/{plan['plan_id']}"
    stand.deployment.until(lambda: stand.deployment.get(path)["state"] == "failed", "the plan to be failed")
    assert "ended" in stand.deployment.get(path)["error"]
    pages = "SELECT 1 FROM plan_pages g JOIN plans p ON p.n = g.plan WHERE p.state = 'failed'"
    stand.deployment.until(lambda: not stand.deployment.rows(pages), "its pages to be deleted")
    assert stand.plan()["digest"] == stand.digest


@pytest.mark.parametrize(("point", "who"), [case for case in CASES if case[0] == "plan.ready"])
def test_a_plan_that_was_complete_before_the_kill_can_be_replayed(stand: Stand, point: str, who: str) -> None:
    plan = stand.kill_planner(point, who)

    assert (plan["state"], plan["objects"], plan["digest"]) == ("ready", COUNT, stand.digest)
    keys = stand.keys(plan["plan_id"])
    replay = stand.deployment.post("/replay", json={"plan_id": plan["plan_id"]})
    assert replay["objects_published"] == COUNT
    stand.check_complete(replay, keys)


@pytest.mark.parametrize(("point", "who"), [case for case in CASES if case[0] == "replay.checked"])
def test_a_replay_that_was_killed_after_the_check_publishes_the_set_of_the_plan(
    stand: Stand, point: str, who: str
) -> None:
    plan = stand.plan()["plan_id"]
    keys = stand.keys(plan)

    stand.kill_replayer(point, who, plan)
    stand.write("it appears after the check, so it is not part of the plan")
    stand.restart()

    replay = stand.newest_replay()
    assert replay["plan_id"] == plan
    stand.check_complete(replay, keys)
    (stand.deployment.objects / stand.run / "loud" / "external.txt").unlink()


@pytest.mark.parametrize(("point", "who"), [case for case in CASES if case[0] == "replay.compared"])
def test_a_check_that_was_killed_continues_where_it_was(stand: Stand, point: str, who: str) -> None:
    plan = stand.plan()["plan_id"]
    keys = stand.keys(plan)

    stand.kill_replayer(point, who, plan)

    job = "SELECT state, checked, idle_takeovers FROM jobs ORDER BY execution DESC LIMIT 1"
    [job] = stand.deployment.rows(job)
    assert (job["state"], job["idle_takeovers"]) == ("checking", 0)
    assert job["checked"] > keys[0]
    stand.restart()
    stand.check_complete(stand.newest_replay(), keys)


@pytest.mark.parametrize("changes", [False, True])
def test_a_check_that_was_interrupted_is_repeated_by_another_process(stand: Stand, changes: bool) -> None:
    stand.write("one")
    plan = stand.plan()["plan_id"]
    keys = stand.keys(plan)
    assert len(keys) == COUNT + 1

    stand.kill_replayer("replay.admitted", "serve", plan)
    [state] = stand.deployment.rows("SELECT state FROM jobs ORDER BY execution DESC LIMIT 1")
    assert state["state"] == "checking"
    if changes:
        stand.write("two")
    stand.restart()

    replay = stand.newest_replay()
    if not changes:
        stand.check_complete(replay, keys)
    else:
        stand.deployment.ended(replay["execution_id"])
        refused = stand.newest_replay()
        assert (refused["state"], refused["objects_found"], refused["plan_id"]) == ("refused", 0, plan)
        assert list(stand.deployment.items(f"/executions/{replay['execution_id']}/lineage")) == []
    (stand.deployment.objects / stand.run / "loud" / "external.txt").unlink()
