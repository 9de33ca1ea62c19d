"""Control of replays in real processes that are killed or frozen at the worst moment.

Every test ends with the same count: each object that the answer counted as published was started once, and no
other one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from tests.acceptance.deployments import KINDS, Urls, open_server_deployment
from tests.acceptance.processes import DEADLINE_SECONDS, LIVE, Deployment, Process, client, open_deployment

pytestmark = pytest.mark.slow

CONFIG: Final = """
version: "1.0"
name: bulk
entry: shout
routes:
  shout:
    adapters: [{type: shout}]
    outbound: {stage: loud}
"""
COUNT: Final = 30
RATE: Final = 10


class Stand:
    """A deployment with the source of all replays. Each test starts its own servers and workers."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        server, worker = deployment.serve(), deployment.worker()
        deployment.apply(CONFIG)
        self.source = deployment.run("bulk", {f"{n:03}.txt": b"text" for n in range(COUNT)})
        deployment.ended(self.source)
        server.stop()
        worker.stop()

    def stop_all(self) -> None:
        self.deployment.close()
        self.deployment.forget()

    @property
    def body(self) -> dict[str, Any]:
        return {
            "from_execution_id": self.source,
            "from_stage": "input",
            "to_route": "shout",
            "pace": {"rate": RATE},
        }

    def start(self, server: Process, **headers: str) -> Any:
        """Start a replay without waiting for it."""
        return self.ask(
            server, "POST", "replay", json=self.body, headers={"Prefer": "respond-async"} | headers
        )

    def ask(self, server: Process, method: str, path: str, **request: Any) -> Any:
        with client(f"{server.url}/api/v1/") as http:
            answer = http.request(method, path, **request)
        assert answer.is_success, answer.text
        return answer.json()

    def published(self, server: Process, replay: Any, count: int) -> Any:
        """Wait until some messages are published."""

        def look() -> Any:
            found = self.ask(server, "GET", f"replays/{replay['replay_batch_id']}")
            return found if found["objects_published"] >= count else None

        return self.deployment.until(look, f"{count} messages to be published")

    def processed(self, server: Process, replay: Any) -> Any:
        """Wait until the execution of a replay has ended, and return the replay."""

        def look() -> Any:
            found = self.ask(server, "GET", f"executions/{replay['execution_id']}")
            return found["status"] != "running"

        self.deployment.until(look, "the replay to end")
        return self.ask(server, "GET", f"replays/{replay['replay_batch_id']}")

    def starts(self, replay: Any) -> Counter[str]:
        """How often each message of a replay was started."""
        lines = self.deployment.noted(replay["execution_id"])
        return Counter(line.split()[2] for line in lines if line.startswith("started"))

    def check_all(self, server: Process, replay: Any) -> None:
        """Every object was published and processed once."""
        ended = self.processed(server, replay)
        assert (ended["state"], ended["objects_published"]) == ("publishing_complete", COUNT)
        starts = self.starts(replay)
        assert (len(starts), set(starts.values())) == (COUNT, {1})


ON_SERVERS: Final = ("nats", "rabbitmq", "postgres")
"""For tests whose processes die or sleep while they publish. The other tests are about the catalog."""


@pytest.fixture(scope="module", params=["sqlite"])
def whole_stand(request: pytest.FixtureRequest) -> Iterator[Stand]:
    if request.param == "sqlite":
        with open_deployment(**LIVE) as deployment:
            yield Stand(deployment)
    else:
        with open_server_deployment(Urls.shared(KINDS[request.param]), **LIVE) as on_servers:
            yield Stand(on_servers)


@pytest.fixture
def stand(whole_stand: Stand) -> Iterator[Stand]:
    yield whole_stand
    whole_stand.stop_all()


CONTROLS: Final[dict[str, tuple[str, str, Any]]] = {
    "pause": ("POST", "pause", None),
    "resume": ("POST", "resume", None),
    "cancel": ("POST", "cancel", {"withdraw": False}),
    "withdraw": ("POST", "cancel", {"withdraw": True}),
    # Slower than before, because the replay must not end before the request is repeated.
    "pace": ("PUT", "pace", {"rate": RATE / 2}),
    "retry": ("POST", "retry", None),
}
FAST: Final = ("pause", "resume", "withdraw")
"""`tests/contract/test_catalog_control.py` has what each control does when it is repeated."""


@pytest.mark.parametrize(
    "control",
    [*FAST, *(pytest.param(control, marks=pytest.mark.full) for control in CONTROLS if control not in FAST)],
)
def test_a_control_whose_answer_is_lost_can_be_repeated(stand: Stand, control: str):
    """The server dies after the commit. Another one drives the replay."""
    driver = stand.deployment.serve()
    dying = stand.deployment.serve(fault="control.committed")
    replay = stand.start(driver)
    stand.published(driver, replay, 3)
    path = f"replays/{replay['replay_batch_id']}"
    if control == "resume":
        stand.ask(driver, "POST", f"{path}/pause")
    method, verb, body = CONTROLS[control]

    with pytest.raises(httpx.TransportError):
        stand.ask(dying, method, f"{path}/{verb}", json=body)
    stand.deployment.struck(dying)
    again = stand.ask(driver, method, f"{path}/{verb}", json=body)

    stand.deployment.worker()
    if control in ("cancel", "withdraw"):
        ended = stand.processed(driver, replay)
        assert ended["state"] == "cancelled"
        assert ended["objects_published"] == again["objects_published"]
        started = again["objects_published"] if control == "cancel" else 0
        assert stand.starts(replay).total() == started
        return
    if control == "pause":
        assert again["state"] == "paused"
        stand.ask(driver, "POST", f"{path}/resume")
    stand.check_all(driver, replay)


@pytest.mark.parametrize("whole_stand", ["sqlite", *ON_SERVERS], indirect=True, scope="module")
def test_a_paced_replay_whose_publisher_is_killed_is_continued_by_another(stand: Stand):
    dying = stand.deployment.serve(fault="replay.published:2")
    replay = stand.start(dying)
    stand.deployment.struck(dying)

    heir = stand.deployment.serve()
    stand.deployment.worker()

    stand.check_all(heir, replay)


@pytest.mark.parametrize("point", ["replay.created", "replay.admitted"])
def test_a_request_with_a_key_that_is_repeated_after_a_kill_starts_one_replay(stand: Stand, point: str):
    dying = stand.deployment.serve(fault=point)
    key = {"Idempotency-Key": f"after-{point}-{stand.source}"}
    with pytest.raises(httpx.TransportError):
        stand.start(dying, **key)
    heir = stand.deployment.serve()
    before = stand.ask(heir, "GET", "replays", params={"limit": 1})["items"][0]

    replay = stand.start(heir, **key)

    assert replay["replay_batch_id"] == before["replay_batch_id"]
    stand.deployment.worker()
    stand.check_all(heir, replay)


def _frozen(stand: Stand) -> tuple[Process, Process, Any]:
    """A replay whose publisher is frozen in the middle (SIGSTOP), and a server that can be asked."""
    publisher = stand.deployment.serve()
    replay = stand.start(publisher)
    stand.published(publisher, replay, 3)
    publisher.pause()
    return publisher, stand.deployment.serve(), replay


@pytest.mark.parametrize(
    "whole_stand",
    ["sqlite", *(pytest.param(kind, marks=pytest.mark.full) for kind in ON_SERVERS)],
    indirect=True,
    scope="module",
)
def test_after_a_cancel_a_publisher_that_wakes_up_starts_nothing(stand: Stand):
    publisher, server, replay = _frozen(stand)
    path = f"replays/{replay['replay_batch_id']}"

    cancelled = stand.ask(server, "POST", f"{path}/cancel", json={"withdraw": True})
    publisher.resume()
    stand.deployment.worker()

    ended = stand.processed(server, replay)
    assert ended["objects_published"] == cancelled["objects_published"]
    assert stand.starts(replay).total() == 0


def test_in_a_pause_a_publisher_that_wakes_up_starts_nothing_that_was_not_named(stand: Stand):
    publisher, server, replay = _frozen(stand)
    path = f"replays/{replay['replay_batch_id']}"

    paused = stand.ask(server, "POST", f"{path}/pause")
    publisher.resume()
    worker = stand.deployment.worker("--until-idle")

    assert worker.popen.wait(DEADLINE_SECONDS) == 0
    started = stand.starts(replay)
    assert paused["objects_published"] <= started.total()
    assert started.total() <= paused["objects_published"] + paused["objects_uncertain"]
    stand.ask(server, "POST", f"{path}/resume")
    stand.deployment.worker()
    stand.check_all(server, replay)
