"""After a `kill -9` at any point of a plan or of its replay, the plan's set is published, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.acceptance.pipelines import BULK
from tests.acceptance.processes import Deployment
from tests.acceptance.stand import Job, Stand, Who, open_stand
from tests.stored import put

pytestmark = pytest.mark.slow

COUNT: Final = len(BULK.inputs)
"""Objects of the stage `loud`: with their sidecars more than a page of a listing."""
CASES: Final[list[tuple[str, Who]]] = [
    ("plan.paged", "cli"),
    ("plan.paged", "serve"),
    ("plan.ready", "cli"),
    ("plan.ready", "serve"),
    ("replay.compared", "heir"),
    ("replay.checked", "cli"),
    ("replay.checked", "serve"),
    ("replay.checked", "heir"),
]


@dataclass
class Planned:
    """A stand with a finished run, and what is planned."""

    stand: Stand
    deployment: Deployment
    run: str

    @property
    def planning(self) -> Job:
        body = {"from_execution_id": self.run, "from_stage": "loud", "to_route": "shout"}
        return Job(("plan", self.run, "loud", "shout"), "/replay/plan", body)

    def plan(self) -> Any:
        return self.deployment.post(self.planning.path, json=self.planning.body)

    def write(self, text: str) -> None:
        """Store an object of another program in the stage."""
        put(self.deployment.objects, f"{self.run}/loud/external.txt", text.encode())

    def newest(self, what: str) -> Any:
        return next(self.deployment.items(what))

    def kill_replayer(self, point: str, who: Who, plan: str) -> None:
        """Let the process die that replays a plan, while no other process runs."""
        replaying = Job(("replay", "--plan", plan), "/replay", {"plan_id": plan}, begun="replay.admitted")
        self.stand.strike(who, point, replaying)

    def check_complete(self, keys: list[str]) -> None:
        """Check that the newest replay has processed each of these objects once, and no other one."""
        replay = self.newest("/replays")
        self.deployment.ended(replay["execution_id"])
        ended = self.deployment.get(f"/replays/{replay['replay_batch_id']}")
        assert (ended["state"], ended["objects_found"]) == ("publishing_complete", len(keys))
        messages = list(self.deployment.items(f"/executions/{replay['execution_id']}/lineage"))
        assert sorted(one["input_key"] for one in messages) == keys
        assert {one["status"] for one in messages} == {"completed"}

    def keys(self, plan: str) -> list[str]:
        return [one["key"] for one in self.deployment.items(f"/replay/plans/{plan}/objects")]


@pytest.fixture(scope="module")
def whole() -> Iterator[Planned]:
    with open_stand(BULK.source) as stand:
        yield Planned(stand, stand.deployment, stand.finished("bulk", BULK.inputs))


@pytest.fixture
def planned(whole: Planned) -> Iterator[Planned]:
    yield whole
    (whole.deployment.objects / whole.run / "loud" / "external.txt").unlink(missing_ok=True)


@pytest.mark.parametrize(("point", "who"), [case for case in CASES if case[0] == "plan.paged"])
def test_a_plan_whose_process_was_killed_fails_and_another_one_is_made(
    planned: Planned, point: str, who: Who
) -> None:
    deployment, digest = planned.deployment, planned.plan()["digest"]
    planned.stand.strike(who, point, planned.planning)
    planned.stand.start()

    path = f"/replay/plans/{planned.newest('/replay/plans')['plan_id']}"
    deployment.until(lambda: deployment.get(path)["state"] == "failed", "the plan to be failed")
    assert "ended" in deployment.get(path)["error"]
    pages = "SELECT 1 FROM plan_pages g JOIN plans p ON p.n = g.plan WHERE p.state = 'failed'"
    deployment.until(lambda: not deployment.rows(pages), "its pages to be deleted")
    assert planned.plan()["digest"] == digest


@pytest.mark.parametrize(("point", "who"), [case for case in CASES if case[0] == "plan.ready"])
def test_a_plan_that_was_complete_before_the_kill_can_be_replayed(
    planned: Planned, point: str, who: Who
) -> None:
    digest = planned.plan()["digest"]
    planned.stand.strike(who, point, planned.planning)
    planned.stand.start()

    plan = planned.newest("/replay/plans")
    assert (plan["state"], plan["objects"], plan["digest"]) == ("ready", COUNT, digest)
    replay = planned.deployment.post("/replay", json={"plan_id": plan["plan_id"]})
    assert replay["objects_published"] == COUNT
    planned.check_complete(planned.keys(plan["plan_id"]))


@pytest.mark.parametrize(("point", "who"), [case for case in CASES if case[0] == "replay.checked"])
def test_a_replay_that_was_killed_after_the_check_publishes_the_set_of_the_plan(
    planned: Planned, point: str, who: Who
) -> None:
    plan = planned.plan()["plan_id"]
    keys = planned.keys(plan)

    planned.kill_replayer(point, who, plan)
    planned.write("it appears after the check, so it is not part of the plan")
    planned.stand.start()

    assert planned.newest("/replays")["plan_id"] == plan
    planned.check_complete(keys)


@pytest.mark.parametrize(("point", "who"), [case for case in CASES if case[0] == "replay.compared"])
def test_a_check_that_was_killed_continues_where_it_was(planned: Planned, point: str, who: Who) -> None:
    plan = planned.plan()["plan_id"]
    keys = planned.keys(plan)

    planned.kill_replayer(point, who, plan)

    job = "SELECT state, checked, idle_takeovers FROM jobs ORDER BY execution DESC LIMIT 1"
    [job] = planned.deployment.rows(job)
    assert (job["state"], job["idle_takeovers"]) == ("checking", 0)
    assert job["checked"] > keys[0]
    planned.stand.start()
    planned.check_complete(keys)


@pytest.mark.parametrize("changes", [False, True])
def test_a_check_that_was_interrupted_is_repeated_by_another_process(planned: Planned, changes: bool) -> None:
    planned.write("one")
    plan = planned.plan()["plan_id"]
    keys = planned.keys(plan)
    assert len(keys) == COUNT + 1

    planned.kill_replayer("replay.admitted", "serve", plan)
    [state] = planned.deployment.rows("SELECT state FROM jobs ORDER BY execution DESC LIMIT 1")
    assert state["state"] == "checking"
    if changes:
        planned.write("two")
    planned.stand.start()

    if not changes:
        planned.check_complete(keys)
    else:
        execution = planned.newest("/replays")["execution_id"]
        planned.deployment.ended(execution)
        refused = planned.newest("/replays")
        assert (refused["state"], refused["objects_found"], refused["plan_id"]) == ("refused", 0, plan)
        assert list(planned.deployment.items(f"/executions/{execution}/lineage")) == []
